"""What was done to each layer, in numbers, and how far it is."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from snconvert.core.convolution_map import Convolution, joint_range
from snconvert.core.triplet import Triplet, joint_bounds
from snconvert.kinds.kernel_rule import KINDS

NO_KERNEL = "no kernel"
"""The reason of layers that nobody expects to be converted."""
BOUNDED = "its input size is unknown or too large: sigma bounds the norm at every size"
"""What is special about a layer whose operator norm cannot be taken at one input size."""
NOT_FINITE = "its kernel cannot be normalised: NaN, infinity, or a norm that float32 cannot hold"
"""Why a layer stays as it is where one only looks; a conversion refuses it."""
UNPROVED = "no proof: its sigma is the norm of an operator"
"""What is special about such a layer where proofs were asked for."""
ZERO = "a kernel of zeros: it stays zero"
"""What is special about such a layer."""
UNUSABLE = "its u or gamma is not usable: NaN, infinity, or another shape"
"""What is special about a layer that is normalised, but not by what it stores."""


class KernelReport(NamedTuple):
    """One kernel of a layer; its numbers are as those of a layer.

    Attributes:
        name: Its path below the layer: `kernel`, `cell/recurrent_kernel`.
        shape: Its shape.
        sigma: That of the raw kernel.
        sigma_after: That of the kernel that the layer computes with.
        residual: Of the `u` that is stored.
        certified: Between what sigma was proved to be.
        certified_after: The same of `sigma_after`.
        operator_range: Between which numbers the norm of its convolution lies, if it makes one.
    """

    name: str
    shape: tuple[int, ...]
    sigma: float
    sigma_after: float | None
    residual: float | None
    certified: tuple[float, float] | None = None
    certified_after: tuple[float, float] | None = None
    operator_range: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer.

    Attributes:
        path: The layer's names from the root, joined by `/`.
        class_name: Its class before.
        kernel: The kernel's shape, or `None` without a kernel.
        status: `converted`, `skipped`, `spectral` (it was before) or `convertible` (nothing was
            written).
        reason: Why it was skipped; or what is special, such as the option that converts it.
        new_class: Its class after, where it changes.
        sigma: The largest singular value of the raw kernel, which the input stores.
        sigma_after: That of the kernel that the layer computes with, measured with the `u` that it
            stores: in the output, if there is one. Up to rounding to half precision, where the
            layer computes in that.
        residual: `max(|W u - sigma v|, |W' v - sigma u|) / sigma` of that `u`; before a conversion,
            of the one that it stores.
        certified: Between what sigma was proved to be, if that was asked for.
        certified_after: The same of `sigma_after`.
        operator_range: Between which numbers the norm of a convolution as a map lies, whatever its
            input size: `R` and `sqrt(prod ceil(k / stride)) * R`, with `R` the norm of its matrix.
            `None` for layers that have one norm only, and where it is not known.
        norm: Which norm sigma is: `matrix` or `operator`.
        bound: What mode `hard` sets and `cap` allows, of a layer that is normalised.
        missing_kind: The kind that has to be selected for the layer to be converted, where that is
            all that is missing.
        kernels: Its kernels, where they were measured.
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
    certified_after: tuple[float, float] | None = None
    bound: float | None = None
    missing_kind: str | None = None
    kernels: tuple[KernelReport, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Returns the layer as `--json` prints it; what is proved where it was asked for only."""
        fields = asdict(self)
        fields["class"] = fields.pop("class_name")
        fields["kernel"] = None if self.kernel is None else list(self.kernel)
        order = ("path", "class", "kernel", "status", "reason", "new_class")
        numbers = ("sigma", "sigma_after", "residual")
        shape = {name: fields[name] for name in (*order, *numbers)}
        limits = self.operator_range
        shape["operator_range"] = None if limits is None else list(limits)
        shape["kernels"] = [
            {"name": row.name, "shape": list(row.shape)}
            | {name: getattr(row, name) for name in numbers}
            for row in self.kernels
        ]
        proved = {"certified": self.certified, "certified_after": self.certified_after}
        return shape | {name: list(pair) for name, pair in proved.items() if pair is not None}


def numbers(
    kernels: Iterable[tuple[str, tuple[int, ...], Convolution | None]],
    triplets: Sequence[Triplet],
    after: Callable[[str, Triplet], float],
) -> dict[str, Any]:
    """Returns what a layer's report says of its kernels, by its attributes.

    Args:
        kernels: Name, shape and, if it makes one, convolution of each kernel.
        triplets: What was measured of each; none where it could not be.
        after: Returns, for the kernel of that name, the norm of the kernel that the layer computes
            with; NaN where it is not known.
    """
    rows: list[KernelReport] = []
    pairs = list(zip(kernels, triplets, strict=True)) if triplets else []
    for (name, shape, conv), triplet in pairs:
        norm = after(name, triplet)
        ratio = norm / triplet.sigma if triplet.sigma else 1.0
        proved, scaled = triplet.bounds, None
        if proved is not None and not math.isnan(ratio):
            scaled = proved[0] * ratio, proved[1] * ratio
        limits = None if conv is None else conv.range(triplet.spectral_norm)
        measured = triplet.sigma, _known(norm), _known(triplet.residual)
        rows.append(KernelReport(name, shape, *measured, proved, scaled, limits))
    return {
        "sigma": _largest([row.sigma for row in rows]),
        "sigma_after": _largest([row.sigma_after for row in rows]),
        "residual": _largest([row.residual for row in rows]),
        "certified": joint_bounds([row.certified for row in rows]),
        "certified_after": joint_bounds([row.certified_after for row in rows]),
        "operator_range": joint_range(
            (conv, triplet.spectral_norm) for (*_, conv), triplet in pairs
        ),
        "kernels": tuple(rows),
    }


def in_use(_: str, triplet: Triplet) -> float:
    """Returns the norm of the kernel that a layer computes with by now; for `numbers`."""
    return triplet.sigma if triplet.after is None else triplet.after


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _largest(values: Sequence[float | None]) -> float | None:
    """Returns the largest of some numbers, `None` if there are none or one is not known."""
    known = [value for value in values if value is not None]
    return max(known, default=None) if len(known) == len(values) else None


def option_for(kinds: Iterable[str]) -> str:
    """Returns the option that selects kinds of layers.

    Example:
        >>> option_for(["conv"]), option_for(["attention", "recurrent"])
        ('--conv', '--kinds attention,recurrent')
    """
    names = list(kinds)
    return "--conv" if names == ["conv"] else f"--kinds {','.join(names)}"


def also(missing_kind: str | None, reason: str | None) -> str | None:
    """Returns the reason of a layer to convert, with the option that has to be given.

    Example:
        >>> also("conv", None)
        'with --conv'
    """
    option = None if missing_kind is None else f"with {option_for([missing_kind])}"
    return "; ".join(filter(None, (option, reason))) or None


def more_with(kinds: Sequence[str], selected: int) -> list[str]:
    """Returns which options convert more, in words.

    Args:
        kinds: The kind of each layer that is not selected.
        selected: How many layers are.

    Example:
        >>> more_with(["conv", "recurrent", "conv"], 1)
        ['2 more with --conv', '1 with --kinds recurrent', 'all 4 with --kinds all']
        >>> more_with(["conv"], 0)
        ['1 with --conv']
    """
    counts = Counter(kinds)
    convolutions = counts.pop("conv", 0)
    more = " more" if selected else ""
    ways = [f"{convolutions}{more} with --conv"] if convolutions else []
    if counts:
        ways.append(f"{counts.total()} with {option_for(k for k in KINDS if k in counts)}")
        if selected or convolutions:
            ways.append(f"all {selected + len(kinds)} with --kinds all")
    return ways


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
        needs: What has to be there before Keras loads the output, in words (`import my_net`).
        loads: Whether Keras loads it as it is; else a warning says why not.
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
    needs: tuple[str, ...] = ()
    loads: bool = True

    @property
    def converted(self) -> int:
        """How many layers were converted (where nothing was written: would be, by `apply`)."""
        done = {"converted", "convertible"}
        return sum(layer.status in done and layer.missing_kind is None for layer in self.layers)

    @property
    def skipped(self) -> int:
        """How many layers stay as they are."""
        return sum(x.status == "skipped" or x.missing_kind is not None for x in self.layers)

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


def keras_opens(output: str) -> bool:
    """Whether Keras opens a result under its name: files end in `.keras`, folders do not."""
    return os.path.isdir(output) != output.endswith(".keras")


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
