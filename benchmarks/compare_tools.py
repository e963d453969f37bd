"""What tools for spectral norms do with the same kernels, checked against float64 arithmetic.

    python benchmarks/compare_tools.py [TOOL ...]

`TOOL` is `snconvert`, `keras`, `torch`, `deel-lip` or `weightwatcher`; by default all five. A tool
that is not installed says so: deel-lip and weightwatcher are best given an environment each, and
deel-lip 1.5 builds its layers with `tf-keras` and `TF_USE_LEGACY_KERAS=1` only. Every check prints
a line, with the numbers that it compares:

- `first predict`: sigma of the kernel in use before any training, of a Dense kernel with sigma 5.
- `gradient`: of a loss with respect to the raw kernel, beside finite differences of the true
  `W / sigma(W)`; the relative error. `second order`: the same of the squared norm of the gradient
  with respect to the input, as a gradient penalty has it.
- `convolution`: the norm of a normalised 3x3 convolution on 8x8 pixels as the linear map it is.
- `raw kernel`: whether a training call leaves the stored kernel as it is.
- `saved model`, `undo`, `network bound`: what the tool has for it, tried.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)
KERNEL: Array = RNG.normal(size=(12, 8))
KERNEL *= 5.0 / np.linalg.norm(KERNEL, 2)
X, C = RNG.normal(size=(4, 12)), RNG.normal(size=(4, 8))
FILTER: Array = RNG.normal(size=(3, 3, 3, 4))
FILTER = FILTER + np.abs(FILTER)  # of one sign: the map's norm is far above the matrix's
MOONS = Path(__file__).parent.parent / "samples" / "moons.keras"
TRAINING_CALLS = 50  # enough for one round a call to find sigma to float rounding


def loss(kernel: Array) -> float:
    """Returns the loss of a normalised Dense layer without bias."""
    return float(np.sum(C * np.tanh(X @ kernel / np.linalg.norm(kernel, 2))))


def penalty(kernel: Array) -> float:
    """Returns the squared norm of the loss's gradient with respect to the input."""
    normal = kernel / np.linalg.norm(kernel, 2)
    return float(np.sum(((C * (1 - np.tanh(X @ normal) ** 2)) @ normal.T) ** 2))


def slopes(function: Callable[[Array], float], kernel: Array, step: float = 1e-5) -> Array:
    """Returns the gradient of a function of the kernel by central differences."""
    found = np.zeros_like(kernel)
    for index in np.ndindex(*kernel.shape):
        change = np.zeros_like(kernel)
        change[index] = step
        found[index] = (function(kernel + change) - function(kernel - change)) / (2 * step)
    return found


def off(found: Any, kernel: Array, function: Callable[[Array], float]) -> str:
    """Returns the relative error of a gradient, as text."""
    true = slopes(function, kernel)
    return f"off by {np.linalg.norm(np.asarray(found) - true) / np.linalg.norm(true):.1e}"


def map_norm(apply: Callable[[Array], Any], pixels: int = 8) -> float:
    """Returns the norm of a convolution of 3 channels as a map, from its explicit matrix."""
    basis = np.eye(pixels * pixels * 3).reshape(-1, pixels, pixels, 3).astype("float32")
    images = np.asarray(apply(basis), "float64")
    return float(np.linalg.norm(images.reshape(len(basis), -1), 2))


def say(what: str, answer: object) -> None:
    """Prints one line."""
    print(f"  {what:14} {answer}")


def keras_checks(
    wrap: Callable[[Any], Any], raw: Callable[[Any], Any], normal: Callable[[Any], Any]
) -> None:
    """Checks a Dense layer in Keras.

    Args:
        wrap: Returns the tool's layer for a plain, built one, with the same kernel.
        raw: Returns its stored kernel, a variable.
        normal: Returns the kernel that it uses at inference, an array.
    """
    import tensorflow as tf  # noqa: PLC0415

    layer = wrap(KERNEL)
    say("first predict", f"sigma {np.linalg.norm(normal(layer), 2):.4f}")
    x, c = (tf.constant(array, tf.float32) for array in (X, C))
    for _ in range(TRAINING_CALLS):
        layer(x, training=True)
    same = np.array_equal(raw(layer), KERNEL.astype("float32"))
    say("raw kernel", "stays" if same else "is overwritten by a training call")
    with tf.GradientTape(persistent=True) as outer:
        with tf.GradientTape() as inner:
            inner.watch(x)
            value = tf.reduce_sum(c * tf.tanh(layer(x, training=True)))
        squares = tf.reduce_sum(inner.gradient(value, x) ** 2)
    stored = np.asarray(raw(layer), "float64")
    variable = raw(layer).value
    say("gradient", off(outer.gradient(value, variable), stored, loss))
    say("second order", off(outer.gradient(squares, variable), stored, penalty))


def snconvert_checks() -> None:
    """Checks this package."""
    import keras  # noqa: PLC0415

    import snconvert  # noqa: PLC0415

    def dense(kernel: Array) -> Any:
        plain = keras.Sequential([keras.Input((12,)), keras.layers.Dense(8, use_bias=False)])
        plain.layers[0].kernel.assign(kernel)
        return snconvert.apply(plain).layers[0]

    keras_checks(dense, lambda x: x.kernel, lambda x: np.asarray(x.effective_kernel()))
    for norm in ("matrix", "operator"):
        conv = snconvert.apply(keras_convolution(), conv=True, norm=norm)
        say("convolution", f"norm={norm!r}: norm of the map {map_norm(conv):.4f}")
    with tempfile.TemporaryDirectory() as folder:
        out, back = os.path.join(folder, "sn.keras"), os.path.join(folder, "plain.keras")
        report = snconvert.apply_file(MOONS, out)
        snconvert.remove_file(out, back)
        old, new = (keras.saving.load_model(path).get_weights() for path in (MOONS, back))
        same = all(np.array_equal(a, b) for a, b in zip(old, new, strict=True))
        bound = snconvert.inspect(out, lipschitz=True).lipschitz
    say("saved model", f"apply_file converts {report.converted} layers, file to file")
    say("undo", f"remove: the weights are {'the same bits' if same else 'others'}")
    say("network bound", bound and bound.bound)


def keras_convolution() -> Any:
    """Returns a model of one plain convolution."""
    import keras  # noqa: PLC0415

    layer = keras.layers.Conv2D(4, 3, padding="same", use_bias=False)
    model = keras.Sequential([keras.Input((8, 8, 3)), layer])
    layer.kernel.assign(FILTER)
    return model


def wrapper_checks() -> None:
    """Checks `keras.layers.SpectralNormalization`."""
    import keras  # noqa: PLC0415

    def dense(kernel: Array) -> Any:
        layer = keras.layers.SpectralNormalization(keras.layers.Dense(8, use_bias=False))
        layer.build((None, 12))
        layer.layer.kernel.assign(kernel)
        return layer

    keras_checks(dense, lambda x: x.layer.kernel, lambda x: np.asarray(x.layer.kernel))
    plain = keras_convolution().layers[0]
    conv = keras.layers.SpectralNormalization(plain)
    conv.build((None, 8, 8, 3))
    for _ in range(TRAINING_CALLS):
        conv(np.zeros((1, 8, 8, 3), "float32"), training=True)
    say("convolution", f"norm of the map {map_norm(conv):.4f}")
    say("saved model", "no function; benchmarks/peer.py is the script one writes")
    say("undo", "remove" if hasattr(conv, "remove") else "no function")
    say("network bound", "no function")


def torch_checks() -> None:
    """Checks `torch.nn.utils.parametrizations.spectral_norm`."""
    import torch  # noqa: PLC0415
    from torch.nn.utils import parametrizations, parametrize  # noqa: PLC0415

    torch.manual_seed(0)
    plain = torch.nn.Linear(12, 8, bias=False)
    plain.weight.data = torch.tensor(KERNEL.T, dtype=torch.float32).contiguous()
    before = plain.weight.detach().clone()
    layer = parametrizations.spectral_norm(plain)
    layer.eval()
    say("first predict", f"sigma {np.linalg.norm(layer.weight.detach().numpy(), 2):.4f}")
    layer.train()
    x, c = torch.tensor(X, dtype=torch.float32), torch.tensor(C, dtype=torch.float32)
    for _ in range(TRAINING_CALLS):
        layer(x)
    raw = layer.parametrizations.weight.original
    same = torch.equal(raw, before)
    say("raw kernel", "stays" if same else "is overwritten by a training call")
    x.requires_grad_(True)
    value = (c * torch.tanh(layer(x))).sum()
    (by_x,) = torch.autograd.grad(value, x, create_graph=True)
    kernel = raw.detach().numpy().T.astype("float64")
    (slope,) = torch.autograd.grad(value, raw, retain_graph=True)
    (second,) = torch.autograd.grad((by_x**2).sum(), raw)
    say("gradient", off(slope.T, kernel, loss))
    say("second order", off(second.T, kernel, penalty))
    conv = torch.nn.Conv2d(3, 4, 3, padding="same", bias=False)
    conv.weight.data = torch.tensor(FILTER.transpose(3, 2, 0, 1), dtype=torch.float32).contiguous()
    parametrizations.spectral_norm(conv)
    with torch.no_grad():
        for _ in range(TRAINING_CALLS):
            conv(torch.zeros(1, 3, 8, 8))
        conv.eval()
        norm = map_norm(lambda basis: conv(torch.tensor(basis.transpose(0, 3, 1, 2))))
    say("convolution", f"norm of the map {norm:.4f}")
    say("saved model", "module by module, in place; the weights stay")
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    same = torch.equal(layer.weight, before)
    say("undo", f"remove_parametrizations: the weights are {'the same bits' if same else 'others'}")
    say("network bound", "no function")


def deel_checks() -> None:
    """Checks layers of deel-lip, in the Keras that TensorFlow has."""
    import tensorflow as tf  # noqa: PLC0415
    from deel.lip import layers, model  # noqa: PLC0415

    keras = tf.keras
    legacy = os.environ.get("TF_USE_LEGACY_KERAS") == "1"
    print("  with", "tf-keras" if legacy else f"Keras {importlib.metadata.version('keras')}")
    dense, conv = layers.SpectralDense(8), layers.SpectralConv2D(4, 3, use_bias=False)
    try:
        dense(keras.Input((12,)))
        conv(keras.Input((8, 8, 3)))
        sequential = model.Sequential([keras.Input((12,)), dense])
    except (AttributeError, TypeError, ValueError) as error:
        say("builds", f"no: {type(error).__name__}: {error}")
        return
    outputs = np.asarray(sequential(np.eye(12, dtype="float32")))
    values = np.linalg.svd(outputs, compute_uv=False)
    say("first predict", f"all singular values from {values.min():.4f} to {values.max():.4f}")
    conv.kernel.assign(FILTER)
    for _ in range(TRAINING_CALLS):
        conv(np.zeros((1, 8, 8, 3), "float32"), training=True)
    say("convolution", f"norm of the map {map_norm(conv):.4f}")
    exported = sequential.vanilla_export()
    same = np.array_equal(outputs, np.asarray(exported(np.eye(12, dtype="float32"))))
    say("export", f"{type(exported.layers[-1]).__name__}, outputs {'equal' if same else 'others'}")


def weightwatcher_checks() -> None:
    """Checks what WeightWatcher says of the norms of a Keras model."""
    import keras  # noqa: PLC0415
    import weightwatcher  # noqa: PLC0415

    model = keras.saving.load_model(MOONS)
    found = weightwatcher.WeightWatcher(model=model).analyze(min_evals=1)
    kernels = {layer.name: np.asarray(layer.kernel) for layer in model.layers if layer.weights}
    for row in found.to_dict("records"):
        name = row.get("longname") or row.get("name")
        true = {k: float(np.linalg.norm(v, 2)) for k, v in kernels.items() if k in str(name)}
        say(str(name), f"spectral norm {row.get('spectral_norm')}, sigma {true}")


TOOLS = {
    "snconvert": snconvert_checks,
    "keras": wrapper_checks,
    "torch": torch_checks,
    "deel-lip": deel_checks,
    "weightwatcher": weightwatcher_checks,
}


def main(names: list[str]) -> None:
    """Prints what each tool does."""
    for name in names or TOOLS:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            print(f"{name} is not installed")
            continue
        print(name, version)
        TOOLS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
