"""The report of a run, layer by layer, and how far a run is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, overload

from snconvert.core.graph import Graph
from snconvert.core.network_bound import NetworkBound
from snconvert.core.spectrum import Spectrum
from snconvert.core.verbs import VERBS
from snconvert.display import SCHEMA, html_of, listed, oriented, present, pretty, text_of
from snconvert.errors import printable
from snconvert.wording import spoken

OPAQUE = "opaque: "
HOLDS = f"{OPAQUE}it holds converted layers that only its code knows"
"""How the reason of a layer of the user's own class begins, which only Python code can open."""
NO_KERNEL = "no kernel"
"""The reason of layers that nobody expects to be converted."""


class KernelReport(NamedTuple):
    """One kernel of a layer; its numbers are as those of a layer.

    Attributes:
        name: Its path below the layer: `kernel`, `cell/recurrent_kernel`.
        shape: Its shape.
        sigma: The largest singular value of the raw kernel.
        sigma_after: That of the kernel that the layer computes with.
        residual: That of the `u` that is stored.
        certified: The least and the greatest that sigma was proved to be.
        certified_after: The same of `sigma_after`.
        operator_range: Between which numbers the norm of its convolution lies, if it makes one.
        spectrum: Its singular values, if they were asked for.
    """

    name: str
    shape: tuple[int, ...]
    sigma: float
    sigma_after: float | None
    residual: float | None
    certified: tuple[float, float] | None = None
    certified_after: tuple[float, float] | None = None
    operator_range: tuple[float, float] | None = None
    spectrum: Spectrum | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns the kernel as `--json` prints it, with what was asked for."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "sigma": self.sigma,
            "sigma_after": self.sigma_after,
            "residual": self.residual,
            **present(proved=listed(self.certified), proved_after=listed(self.certified_after)),
            **present(spectrum=None if self.spectrum is None else self.spectrum.as_json()),
        }


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer.

    Attributes:
        path: The layer's names from the root, joined by `/`.
        class_name: Its class before.
        kernel: The kernel's shape, or `None` without a kernel.
        status: `converted`, `skipped` (it stays as it is), `spectral` (it was before) or
            `convertible` (nothing was written).
        reason: Why it was skipped; or what is special, such as the option that converts it.
        new_class: Its class after, where it changes.
        sigma: The largest singular value of the raw kernel, which the input stores.
        sigma_after: That of the kernel that the layer computes with, measured with the `u` that it
            stores: in the output, if there is one; of a dry run what it would be; of an inspection
            `None`, where the layer is not converted. Up to rounding to half precision, where the
            layer computes in that.
        residual: `max(|W u - sigma v|, |W' v - sigma u|) / sigma` of that `u`; before a conversion,
            of the one that it stores.
        certified: The least and the greatest that sigma was proved to be, if that was asked for.
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

    __str__, _repr_html_, _repr_pretty_ = text_of, html_of, pretty

    def __repr__(self) -> str:
        names = map(printable, filter(None, (self.class_name, self.new_class)))
        return f"<LayerReport: {printable(self.path)} ({' -> '.join(names)}), {self.status}>"

    def as_json(self) -> dict[str, Any]:
        """Returns the layer as `--json` prints it."""
        return {
            "path": self.path,
            "class": self.class_name,
            "kernel": listed(self.kernel),
            "status": self.status,
            "reason": None if self.reason is None else spoken(self.reason),
            "new_class": self.new_class,
            "sigma": self.sigma,
            "sigma_after": self.sigma_after,
            "residual": self.residual,
            "operator_range": listed(self.operator_range),
            "proved": listed(self.certified),
            **present(proved_after=listed(self.certified_after)),
            "kernels": [kernel.as_json() for kernel in self.kernels],
        }

    to_dict = as_json


@dataclass(frozen=True, slots=True)
class Report:
    """One conversion, dry run or inspection.

    Attributes:
        source: The input.
        output: The output, or `None` when nothing was written.
        target: What converted layers become; `none` of `upgrade`, which converts none.
        mode: How they are normalised; `none` of `upgrade`.
        bound: The bound.
        norm: Which norm.
        layers: The layers in the order of the model.
        bytes: Size of the output, or of the input when nothing was written.
        seconds: Wall time, and of it in `seconds_sigma` what finding `u` took.
        warnings: What the user should know.
        verb: What was asked for: `apply`, `bake`, `remove`, `upgrade` or `inspect`.
        needs: What has to be there before Keras loads the output, in words (`import my_net`).
        loads: Whether Keras then loads it; else a warning says why not.
        holds_code: Whether it does so with `safe_mode=False` only, as the output holds code.
        lipschitz: The network's bound, if it was asked for: of the output, if there is one.
        graph: Which layer feeds which, where a page was asked for and the file says it.
        source_sha256: Of the input, in hexadecimal, where it was computed.
        up_to_date: Whether the output was there already, made of the same bytes with the same
            options, and was left as it is.
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
    holds_code: bool = False
    lipschitz: NetworkBound | None = None
    graph: Graph | None = None
    source_sha256: str | None = None
    up_to_date: bool = False

    __str__, _repr_html_, _repr_pretty_ = text_of, html_of, pretty

    def __repr__(self) -> str:
        paths = " -> ".join(map(printable, filter(None, (self.source, self.output))))
        how = f"layers {'can change' if self.output is None else 'changed'}"
        return f"<Report: {self.verb} {paths}, {self.converted} of {len(self.layers)} {how}>"

    @property
    def converted(self) -> int:
        """How many layers were converted (where nothing was written: would be, by `apply`)."""
        done = {"converted", "convertible"}
        return sum(layer.status in done and layer.missing_kind is None for layer in self.layers)

    @property
    def skipped(self) -> int:
        """How many layers stay as they are."""
        return sum(x.status == "skipped" or x.missing_kind is not None for x in self.layers)

    @overload
    def to_dict(self, orient: Literal["dict"] = "dict") -> dict[str, Any]: ...
    @overload
    def to_dict(self, orient: Literal["records"]) -> list[dict[str, Any]]: ...
    def to_dict(self, orient: str = "dict") -> dict[str, Any] | list[dict[str, Any]]:
        """Returns the shape of `--json`; with `records` its layers, as pandas takes them."""
        return oriented(self.as_json(), orient, "layers")

    def as_json(self) -> dict[str, Any]:
        """Returns the report as `--json` prints it; `snconvert/schema.json` describes the shape."""
        dry_run = self.output is None and VERBS[self.verb].writes
        return {
            "schema": SCHEMA,
            "verb": self.verb,
            "source": self.source,
            "output": self.output,
            "warnings": list(self.warnings),
            "target": self.target,
            "mode": self.mode,
            "bound": self.bound,
            "norm": self.norm,
            "converted": self.converted,
            "skipped": self.skipped,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            **({"dry_run": True} if dry_run else {}),
            **({"up_to_date": True} if self.up_to_date else {}),
            "layers": [
                layer.as_json()
                | ({} if layer.bound in {None, self.bound} else {"bound": layer.bound})
                for layer in self.layers
            ],
            **present(lipschitz=None if self.lipschitz is None else self.lipschitz.as_json()),
        }


class Progress(NamedTuple):
    """How far a conversion is.

    Attributes:
        stage: `sigma`, `spectra`, `lipschitz`, `writing`, `hashing`, `checking`, `flushing`, or of
            `verify` `comparing`; where Python code opens the file, `importing` and `keras`, which
            say no more. Before the first of them the file is read.
        what: The layer just finished, or empty. Before long `spectra`, with nothing done, how long
            they take.
        done: Bytes of the stage that are done; of `lipschitz` operations.
        total: The same of the stage in all; 0 where nobody knows.
    """

    stage: str
    what: str
    done: int
    total: int


OnProgress = Callable[[Progress], None] | None
"""The function that is called with how far a run is; `None` where nobody asks."""


def begin_stage(progress: OnProgress, stage: str, total: int = 0) -> None:
    """Says that a stage begins.

    Args:
        progress: Called with that.
        stage: As in `Progress`.
        total: As in `Progress`.
    """
    if progress is not None:
        progress(Progress(stage, "", 0, total))


def within(progress: OnProgress, stage: str) -> OnProgress:
    """Returns the function to call with how far work is that is a part of a stage.

    Args:
        progress: Called with that, as of the stage.
        stage: As in `Progress`.
    """
    return None if progress is None else lambda part: progress(part._replace(stage=stage))


def cumulative(progress: OnProgress, stage: str, total: int) -> Callable[[tuple[str, int]], None]:
    """Says that a stage begins, and returns what to call with name and bytes of each thing done.

    Args:
        progress: Called with the sum of the bytes.
        stage: As in `Progress`.
        total: Bytes of the stage in all.
    """
    done = 0
    begin_stage(progress, stage, total)

    def add(item: tuple[str, int]) -> None:
        nonlocal done
        name, count = item
        done += count
        if progress is not None:
            progress(Progress(stage, name, done, total))

    return add
