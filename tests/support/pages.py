"""Reports made by hand, for the page that shows them."""

from __future__ import annotations

import math

import numpy as np

from snconvert.core.graph import Graph
from snconvert.core.magnitude import Magnitude
from snconvert.core.network_bound import NetworkBound, OutputBound, Stage
from snconvert.core.report import NO_KERNEL, KernelReport, LayerReport, Report
from snconvert.core.spectrum import Spectrum

HOSTILE = (
    "</script><script>hacked()</script>",
    "<img src=x onerror=hacked()>",
    "\"><svg onload='hacked()'>",
    "' onclick=hacked() x='",
    "]]><!--<script>hacked()",
    "{{ 7*7 }}{% for x in y %}",
    "a\u202egpj.exe\u2066b\u200f",
    "nul\0bell\x07esc\x1b[31mline\nreturn\r\u2028\u2029",
    "lone \ud800 surrogate \udfff",
    "javascript:hacked()",
    "expression(hacked()); } * { display: none",
    "&lt;b&gt; &#x3c;b> %3Cscript%3E #layer=x",
    "__proto__",
    "constructor",
)
"""Names that try to be more than names."""


def spectrum_of(matrix: np.ndarray) -> Spectrum:
    values = np.linalg.svd(matrix, compute_uv=False)
    parts = values / values.sum()
    chosen = np.unique(np.linspace(0, len(values) - 1, 64).round().astype(int))
    return Spectrum(
        float(values[0]),
        float(values[-1]),
        float((values**2).sum() / values[0] ** 2),
        float(math.exp(-(parts * np.log(parts)).sum())),
        float(values[0] / values[-1]),
        tuple(map(float, values[chosen])),
        len(values),
    )


def convolution(path: str, sigma: float, shape: tuple[int, ...], **fields: object) -> LayerReport:
    """A convolution that was converted, with its spectrum."""
    random = np.random.default_rng(len(path))
    matrix = random.normal(size=(min(96, math.prod(shape[:-1])), min(48, shape[-1])))
    spectrum = spectrum_of(sigma * matrix / np.linalg.norm(matrix, 2))
    kernel = KernelReport(
        "kernel", shape, sigma, 1.0, 2e-7, None, None, (sigma, 3 * sigma), spectrum
    )
    return LayerReport(
        path,
        "Conv2D",
        shape,
        "converted",
        new_class="SpectralConv2D",
        sigma=sigma,
        sigma_after=1.0,
        residual=2e-7,
        operator_range=(sigma, 3 * sigma),
        bound=1.0,
        kernels=(kernel,),
        **fields,
    )


def plain(path: str, class_name: str) -> LayerReport:
    return LayerReport(path, class_name, None, "skipped", NO_KERNEL)


def resnet(blocks: int = 8) -> Report:
    """A network of residual blocks: four layers with a kernel, ten in all, in each."""
    random = np.random.default_rng(0)
    nodes = [("image", "InputLayer", "input")]
    edges: list[tuple[int, int]] = []
    layers = [plain("image", "InputLayer")]
    stages: list[Stage] = []

    def add(path: str, class_name: str, *inputs: int) -> int:
        if class_name == "Conv2D":
            layers.append(convolution(path, float(random.uniform(0.6, 9.0)), (3, 3, 32, 32)))
        elif class_name == "Dense":
            layers.append(
                LayerReport(path, "Dense", (32, 10), "convertible", "with --kinds dense", sigma=1.7)
            )
        elif class_name != "Add" or "/" not in path:
            layers.append(plain(path, class_name))
        nodes.append((path, class_name, "operation" if class_name == "Add" else "layer"))
        edges.extend((source, len(nodes) - 1) for source in inputs)
        constant = Magnitude.of(float(random.uniform(0.8, 3.0)))
        before = stages[-1].bound if stages else Magnitude.of(1.0)
        bound = Magnitude.of(
            before.mantissa * constant.mantissa, before.exponent + constant.exponent
        )
        stages.append(
            Stage(
                path,
                class_name,
                (len(stages) - 1,) if stages else (),
                constant,
                constant if class_name == "Conv2D" else None,
                bound,
                float(random.uniform(0.1, 1.0)),
                "shortcut" not in path,
            )
        )
        return len(nodes) - 1

    last = add("stem_conv", "Conv2D", 0)
    last = add("stem_bn", "BatchNormalization", last)
    for block in range(1, blocks + 1):
        start, name = last, f"stage_{(block + 1) // 2}_block_{block}"
        for part in (1, 2, 3):
            last = add(f"{name}_conv_{part}", "Conv2D", last)
            last = add(f"{name}_bn_{part}", "BatchNormalization", last)
            if part < 3:
                last = add(f"{name}_relu_{part}", "ReLU", last)
        if block % 2:
            start = add(f"{name}_shortcut", "Conv2D", start)
        last = add(f"{name}_add", "Add", start, last)
        last = add(f"{name}_out", "ReLU", last)
    last = add("avg_pool", "GlobalAveragePooling2D", last)
    add("predictions", "Dense", last)
    network = NetworkBound(
        stages[-1].bound,
        (OutputBound("predictions", stages[-1].bound, (), Magnitude.of(40.2)),),
        Magnitude.of(4.0, 90),
        tuple(stages),
        method="graph + folding + multipliers",
        lower=26.0,
        samples=64,
        notes=("A network with batch normalisation and many layers gets an astronomical bound.",),
    )
    return Report(
        "models/resnet.keras",
        "models/resnet-sn.keras",
        "layer",
        "hard",
        1.0,
        "matrix",
        tuple(layers),
        1234567,
        1.0,
        warnings=(
            "stem_bn: its statistics are those of a new layer, so that folding changes little.",
        ),
        needs=("`import snconvert`",),
        lipschitz=network,
        graph=Graph(tuple(nodes), tuple(edges)),
        source_sha256="9f" * 32,
    )
