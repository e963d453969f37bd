"""What the page tells of one layer: pairs of names and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snconvert.core.network_bound import Stage
from snconvert.core.report import KernelReport, LayerReport
from snconvert.core.spectrum import Spectrum
from snconvert.errors import escaped
from snconvert.page.axis import Axis
from snconvert.page.numbers import NONE, between, number, percent, proved, rank, shape

Facts = list[tuple[str, str]]
"""Names and values, in their order; both are safe to show."""

CURVE = (120, 44)
"""Width and height of the drawing of a spectrum, in units of its own."""

_MOST_CALLS = 8


def layer_facts(layer: LayerReport, stages: Sequence[Stage]) -> Facts:
    """Returns what is told of a layer.

    Args:
        layer: The layer.
        stages: Its calls, where the network's bound was asked for.
    """
    became = layer.new_class
    classes = [layer.class_name, *([became] if became not in (None, layer.class_name) else [])]
    facts = [("Class", " → ".join(map(escaped, classes)))]
    facts.append(("Result", "; ".join(filter(None, (layer.status, layer.reason)))))
    if layer.kernel is not None:
        facts.append(("Kernel", shape(layer.kernel)))
        facts += _norms(layer)
    if layer.bound is not None:
        facts.append(("Bound", number(layer.bound)))
    for call, stage in enumerate(stages[:_MOST_CALLS], 1):
        which = f", call {call}" if len(stages) > 1 else ""
        facts += [(f"{name}{which}", text) for name, text in _constants(stage)]
    return [(name, escaped(text)) for name, text in facts]


def _norms(measured: LayerReport | KernelReport) -> Facts:
    facts = [
        ("σ, largest singular value", number(measured.sigma)),
        ("σ after", number(measured.sigma_after)),
        ("σ is proved to be", proved(measured.certified)),
        ("σ after is proved to be", proved(measured.certified_after)),
        ("Residual of u", number(measured.residual)),
        ("Norm as a map", between(measured.operator_range)),
    ]
    return [(name, text) for name, text in facts if text != NONE]


def _constants(stage: Stage) -> Facts:
    facts = [
        ("Lipschitz constant", "none" if stage.constant is None else number(stage.constant)),
        ("Proved norm of its kernel", number(stage.norm)),
        ("Bound of its output", number(stage.bound)),
        ("Share of the network's bound", percent(stage.share)),
    ]
    return [(name, text) for name, text in facts if text != NONE]


def kernel_facts(kernel: KernelReport, *, alone: bool) -> dict[str, Any]:
    """Returns what is told of a kernel: `name`, `facts`, `curve` and `summary` of its spectrum.

    Args:
        kernel: The kernel.
        alone: Whether its layer has no other one, so that the layer's facts are those of it.
    """
    facts: Facts = [] if alone else [("Kernel", shape(kernel.shape)), *_norms(kernel)]
    spectrum = kernel.spectrum
    return {
        "name": escaped(kernel.name),
        "facts": facts + (spectrum_facts(spectrum) if spectrum else []),
        "curve": curve(spectrum) if spectrum else None,
        "summary": _summary(spectrum) if spectrum else "",
    }


def spectrum_facts(spectrum: Spectrum) -> Facts:
    """Returns what is told of the singular values of a kernel."""
    return [
        ("Singular values", str(spectrum.total)),
        ("Largest", number(spectrum.largest)),
        ("Smallest", number(spectrum.smallest)),
        ("Stable rank", number(spectrum.stable_rank)),
        ("Effective rank", number(spectrum.effective_rank)),
        ("Condition", number(spectrum.condition)),
    ]


def _summary(spectrum: Spectrum) -> str:
    return f"stable rank {number(spectrum.stable_rank)} of {spectrum.total}"


def curve(spectrum: Spectrum) -> str:
    """Returns the singular values over their ranks as the points of an SVG polyline.

    Example:
        >>> curve(Spectrum(2.0, 1.0, 1.25, 1.9, 2.0, (2.0, 1.0), 2))
        '0,0 120,22'
    """
    width, height = CURVE
    logarithms = [x for x in map(rank, spectrum.values) if x is not None]
    axis = Axis.of(logarithms)
    if len(logarithms) == 1:
        logarithms *= 2
    return " ".join(
        f"{round(width * place / (len(logarithms) - 1))},{round(height * (1 - axis.place(value)))}"
        for place, value in enumerate(logarithms)
    )
