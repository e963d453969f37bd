"""What was done to each layer, in numbers, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

NO_KERNEL = "no kernel"
"""The reason of layers that nobody expects to be converted."""
BOUNDED = "its input size is unknown or too large: sigma bounds the norm at every size"
"""What is special about a layer whose operator norm cannot be taken at one input size."""
NOT_FINITE = "its kernel cannot be normalised: NaN, infinity, or a norm that float32 cannot hold"
"""Why a layer stays as it is where one only looks; a conversion refuses it."""
UNPROVED = "no proof: its sigma is the norm of an operator"
"""What is special about such a layer where proofs were asked for."""


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer.

    Attributes:
        path: The layer's names from the root, joined by `/`.
        class_name: Its class before.
        kernel: The kernel's shape, or `None` without a kernel.
        status: `converted`, `skipped`, `spectral` (it was before) or `convertible` (nothing was
            written).
        reason: Why it was skipped, or what is special.
        new_class: Its class after, where it changes.
        sigma: The largest singular value of the raw kernel.
        sigma_after: That of the effective kernel.
        residual: `max(|W u - sigma v|, |W' v - sigma u|) / sigma`.
        certified: Between what sigma was proved to be, if that was asked for.
        operator_range: Between which numbers the norm of a convolution as a map lies, whatever its
            input size: `R` and `sqrt(prod ceil(k / stride)) * R`, with `R` the norm of its matrix.
            `None` for layers that have one norm only, and where it is not known.
        norm: Which norm sigma is: `matrix` or `operator`.
    """

    path: str
    class_name: str
    kernel: tuple[int, ...] | None
    status: str
    reason: str | None = None
    new_class: str | None = None
    sigma: float | None = None
    sigma_after: float | None = None
    residual: float | None = None
    certified: tuple[float, float] | None = None
    operator_range: tuple[float, float] | None = None
    norm: str = "matrix"

    def as_json(self) -> dict[str, Any]:
        """Returns the layer as `--json` prints it; `certified` where it was asked for only."""
        fields = asdict(self)
        fields["class"] = fields.pop("class_name")
        fields["kernel"] = None if self.kernel is None else list(self.kernel)
        order = ("path", "class", "kernel", "status", "reason", "new_class")
        shape = {name: fields[name] for name in (*order, "sigma", "sigma_after", "residual")}
        return shape if self.certified is None else {**shape, "certified": list(self.certified)}


def stay_plain(unchosen: Mapping[str, int]) -> str:
    """Returns how many kernels stay plain, of which kinds.

    Example:
        >>> stay_plain({"conv": 2, "recurrent": 1})
        '3 kernels stay plain: 2 conv, 1 recurrent'
    """
    count = sum(unchosen.values())
    kinds = ", ".join(f"{number} {kind}" for kind, number in unchosen.items())
    return f"{count} {'kernel stays' if count == 1 else 'kernels stay'} plain: {kinds}"


def common(values: Iterable[str]) -> str:
    """Returns what all of one or more values are, or `mixed`.

    Example:
        >>> common(["hard", "hard"]), common(["hard", "cap"])
        ('hard', 'mixed')
    """
    found = set(values)
    return found.pop() if len(found) == 1 else "mixed"


def norm_of(layers: Sequence[LayerReport], usual: str) -> str:
    """Returns which norm the layers show that have two, or `mixed`.

    Args:
        layers: Any layers.
        usual: What it is where there are none.
    """
    return common([x.norm for x in layers if x.operator_range is not None] or [usual])


@dataclass(frozen=True, slots=True)
class Report:
    """One conversion, dry run or inspection.

    Attributes:
        source: The input.
        output: The output, or `None` when nothing was written.
        target: What converted layers become.
        mode: How they are normalised.
        bound: The bound.
        norm: Which norm.
        layers: The layers in the order of the model.
        bytes: Size of the output, or of the input when nothing was written.
        seconds: Wall time, and of it in `seconds_sigma` what finding `u` took.
        warnings: What the user should know.
        verb: What was asked for: `apply`, `bake`, `remove` or `inspect`.
        unchosen: How many kernels stay plain because nobody has chosen their kind, by kind.
    """

    source: str
    output: str | None
    target: str
    mode: str
    bound: float
    norm: str
    layers: tuple[LayerReport, ...]
    bytes: int
    seconds: float
    seconds_sigma: float = 0.0
    warnings: tuple[str, ...] = ()
    verb: str = "apply"
    unchosen: Mapping[str, int] = field(default_factory=dict)

    @property
    def converted(self) -> int:
        """How many layers were converted (in a dry run: would be)."""
        return sum(layer.status in {"converted", "convertible"} for layer in self.layers)

    @property
    def skipped(self) -> int:
        """How many layers stay as they are."""
        return sum(layer.status == "skipped" for layer in self.layers)

    def as_json(self) -> dict[str, Any]:
        """Returns the one shape that `--json` prints."""
        return {
            "source": self.source,
            "output": self.output,
            "target": self.target,
            "mode": self.mode,
            "bound": self.bound,
            "norm": self.norm,
            "converted": self.converted,
            "skipped": self.skipped,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "layers": [layer.as_json() for layer in self.layers],
        }


class Progress(NamedTuple):
    """How far a conversion is.

    Attributes:
        stage: `reading`, `sigma` or `writing`.
        what: The layer just finished, or empty.
        done: Bytes of the stage that are done.
        total: Bytes of the stage in all.
    """

    stage: str
    what: str
    done: int
    total: int


Tell = Callable[[Progress], None] | None
"""Who is told how far it is, if anybody."""


def adding_up(progress: Tell, stage: str, total: int) -> Callable[[tuple[str, int]], None]:
    """Returns what to call with the name and the bytes of each thing that is done.

    Args:
        progress: Told how far it is.
        stage: As in `Progress`.
        total: Bytes of the stage in all.
    """
    done = 0

    def tell(message: tuple[str, int]) -> None:
        nonlocal done
        done += message[1]
        if progress is not None:
            progress(Progress(stage, message[0], done, total))

    return tell
