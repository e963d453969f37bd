"""Reports made by hand, for the page that shows them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from snconvert.core.graph import Graph
from snconvert.core.magnitude import Magnitude
from snconvert.core.network_bound import NetworkBound, OutputBound, Stage, Unbounded
from snconvert.core.report import NO_KERNEL, KernelReport, LayerReport, Report
from snconvert.core.spectrum import Spectrum

HOSTILE = (
    "</script><script>hacked()</script>",
    "<img src=x onerror=hacked()>",
    "\"><svg onload='hacked()'>",
    "' onclick=hacked() x='",
    "]]>--><!--<script>hacked()",
    "{{ 7*7 }}{% for x in y %}",
    "a\u202egpj.exe\u2066b\u200f",
    "nul\0bell\x07esc\x1b[31mline\nreturn\r\u2028\u2029\x85",
    "lone \ud800 surrogate \udfff",
    "javascript:hacked()",
    "expression(hacked()); } * { display: none } </style><b>",
    "&lt;b&gt; &#x3c;b> %3Cscript%3E #layer=x %",
    "__proto__",
    "constructor",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u6d4b\u8bd5 \U0001f600",
    "x" * 5000,
)
"""Names that try to be more than names."""


def report(layers: list[LayerReport], **fields: Any) -> Report:
    """A conversion with the default options."""
    usual = {
        "source": "models/net.keras",
        "output": "models/net-sn.keras",
        "target": "layer",
        "mode": "hard",
        "bound": 1.0,
        "norm": "matrix",
        "bytes": 1_234_567,
        "seconds": 1.0,
    }
    return Report(**{**usual, "layers": tuple(layers), **fields})


def plain(path: str, class_name: str = "ReLU") -> LayerReport:
    """A layer without a kernel."""
    return LayerReport(path, class_name, None, "skipped", NO_KERNEL)


def dense(path: str, sigma: float | None = 2.0, **fields: Any) -> LayerReport:
    """A Dense layer that was converted."""
    usual = {"class_name": "Dense", "new_class": "SpectralDense", "sigma_after": 1.0, "bound": 1.0}
    changes = {**usual, "sigma": sigma, **fields}
    return LayerReport(path, kernel=(16, 8), status="converted", **changes)


def convolution(path: str, sigma: float) -> LayerReport:
    """A convolution that was converted, with its spectrum."""
    random = np.random.default_rng(round(1000 * sigma))
    values = np.sort(random.gamma(2.0, size=48))[::-1]
    values *= sigma / values[0]
    parts = values / values.sum()
    spectrum = Spectrum(
        sigma,
        float(values[-1]),
        float((values**2).sum() / sigma**2),
        float(math.exp(-(parts * np.log(parts)).sum())),
        float(sigma / values[-1]),
        tuple(map(float, values)),
        48,
    )
    limits = (sigma, 3 * sigma)
    kernel = KernelReport("kernel", (3, 3, 48, 48), sigma, 1.0, 2e-7, None, None, limits, spectrum)
    return LayerReport(
        path,
        "Conv2D",
        kernel.shape,
        "converted",
        new_class="SpectralConv2D",
        sigma=sigma,
        sigma_after=1.0,
        residual=2e-7,
        operator_range=limits,
        bound=1.0,
        kernels=(kernel,),
    )


class _Network:
    """Collects layers, nodes, edges and stages as a model is put together."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.layers: list[LayerReport] = []
        self.nodes: list[tuple[str, str, str]] = []
        self.edges: list[tuple[int, int]] = []
        self.stages: list[Stage] = []

    def add(self, path: str, class_name: str, *inputs: int) -> int:
        kind = {"InputLayer": "input", "Add": "operation"}.get(class_name, "layer")
        if class_name == "Conv2D":
            self.layers.append(convolution(path, float(self.random.uniform(0.6, 9.0))))
        elif class_name == "Dense":
            self.layers.append(dense(path, 1.7))
        elif kind != "operation":
            self.layers.append(plain(path, class_name))
        self.nodes.append((path, class_name, kind))
        self.edges += [(source, len(self.nodes) - 1) for source in inputs]
        constant = float(self.random.uniform(0.9, 3.0)) if "conv" in path else 1.0
        before = self.stages[inputs[-1]].bound if inputs else Magnitude.of(1.0)
        assert before is not None
        bound = Magnitude.of(before.mantissa * constant, before.exponent)
        norm = Magnitude.of(constant) if class_name == "Conv2D" else None
        share = None if kind == "input" else 0.4 if "shortcut" in path else 0.9
        heavy = "shortcut" not in path
        amount = Magnitude.of(constant)
        self.stages.append(
            Stage(path, class_name, inputs, amount, norm, bound, share, dominates=heavy)
        )
        return len(self.nodes) - 1


def resnet(blocks: int = 8) -> Report:
    """A network of residual blocks, with all that a page can show."""
    network = _Network()
    last = network.add("image", "InputLayer")
    last = network.add("stem_conv", "Conv2D", last)
    for block in range(1, blocks + 1):
        start, name = last, f"stage_{(block + 1) // 2}_block_{block}"
        for part in (1, 2, 3):
            last = network.add(f"{name}_conv_{part}", "Conv2D", last)
            last = network.add(f"{name}_bn_{part}", "BatchNormalization", last)
            if part < 3:
                last = network.add(f"{name}_relu_{part}", "ReLU", last)
        if block % 2:
            start = network.add(f"{name}_shortcut", "Conv2D", start)
        last = network.add(f"{name}_add", "Add", start, last)
        last = network.add(f"{name}_out", "ReLU", last)
    last = network.add("avg_pool", "GlobalAveragePooling2D", last)
    network.add("predictions", "Dense", last)
    bound = network.stages[-1].bound
    assert bound is not None
    return report(
        network.layers,
        source="models/resnet.keras",
        output="models/resnet-sn.keras",
        warnings=("stem_conv: its input size is not known.",),
        needs=("`import snconvert`",),
        lipschitz=NetworkBound(
            bound,
            (OutputBound("predictions", bound, (), Magnitude.of(40.2)),),
            Magnitude(0.5, bound.exponent + 30),
            tuple(network.stages),
            method="graph + folding + multipliers",
            lower=26.04567,
            samples=64,
        ),
        graph=Graph(tuple(network.nodes), tuple(network.edges)),
        source_sha256="9f" * 32,
    )


def chain(count: int, *, spectra: bool = False) -> Report:
    """A network of `count` layers, every third with a kernel."""
    names = [f"block_{number // 30}/layer_{number}" for number in range(count)]
    layers = [
        (convolution if spectra else dense)(name, 1.0 + number % 7)
        if number % 3 == 0
        else plain(name)
        for number, name in enumerate(names)
    ]
    nodes = tuple((layer.path, layer.class_name, "layer") for layer in layers)
    edges = tuple((number, number + 1) for number in range(count - 1))
    return report(layers, graph=Graph(nodes, edges))


def hostile() -> Report:
    """A report of nothing but `HOSTILE` names, wherever a text can stand."""
    one = Magnitude.of(1.0)
    layers = [
        dense(name, class_name=name, new_class=name, reason=name)
        if number % 2
        else LayerReport(name, name, (2, 2), "skipped", name, kernels=(_kernel(name),))
        for number, name in enumerate(HOSTILE)
    ]
    nodes = tuple((name, name, "layer") for name in HOSTILE)
    operations = tuple((f"op {name}", name, "operation") for name in HOSTILE)
    edges = tuple((number, number + 1) for number in range(2 * len(HOSTILE) - 1))
    stages = tuple(
        Stage(name, name, (number - 1,) if number else (), one, one, one, 0.5, dominates=True)
        for number, name in enumerate(HOSTILE)
    )
    text = "".join(HOSTILE[:-1])
    return report(
        layers,
        source=f"folder/{text}.keras",
        output=text,
        mode=text,
        norm=text,
        warnings=HOSTILE,
        needs=HOSTILE,
        graph=Graph(nodes + operations, edges),
        lipschitz=NetworkBound(
            one,
            tuple(OutputBound(name, one, ((name, one),), one) for name in HOSTILE),
            one,
            stages,
            starts=HOSTILE,
            method=text,
            notes=HOSTILE,
        ),
    )


def unbounded() -> Report:
    """A report of a network without a bound, for reasons with `HOSTILE` names."""
    layers = tuple(Unbounded(name, name, name) for name in HOSTILE)
    stages = (Stage("a", "Multiply", (), None),)
    return report([plain("a")], lipschitz=NetworkBound(None, (), None, stages, layers))


def _kernel(name: str) -> KernelReport:
    spectrum = Spectrum(2.0, 1.0, 1.25, 1.9, 2.0, (2.0, 1.0), 2)
    return KernelReport(name, (2, 2), 2.0, 1.0, 0.0, spectrum=spectrum)
