"""Precision and time of spectral layers on an accelerator, on JAX and PyTorch.

    KERAS_BACKEND=jax python benchmarks/accelerator.py [--rounds N] [CASE ...]

First, for kernels of random numbers, how far the sigma that the layers compute is from the float64
SVD (of the operator norm: from the search at conversion), and how far a trained model's outputs are
from those after a conversion with `gain`: float32 products of an accelerator may be those of a
shorter format, unless `JAX_DEFAULT_MATMUL_PRECISION=highest` or `NVIDIA_TF32_OVERRIDE=0` is set.
Then a training step (forward, backward, SGD) as a ratio to that of the plain layer in the same
round, in turns, medians with quartiles; on JAX compiled, on PyTorch op by op. `control` is the
plain layer a second time; `torch` is PyTorch's own spectral norm, beside PyTorch's own plain layer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from rounds import head, in_turns, ratios, row, shown

import snconvert

Step = Callable[[], Any]
SECONDS = 0.05  # of steps in a row, at least, that one time is taken of
RATE = 1e-4
BACKEND = keras.backend.backend()


def sequential(shape: tuple[int, ...], layer: Callable[[], Any]) -> Callable[..., Any]:
    """Returns a builder of a model of one layer, given what the layer is passed through."""
    return lambda wrap: keras.Sequential([keras.Input(shape[1:], shape[0]), wrap(layer())])


def transformer(_: Any) -> Any:
    """Returns a transformer block: attention and two Dense layers, pre-norm."""
    inputs = keras.Input((256, 1024), 16)
    x = keras.layers.LayerNormalization()(inputs)
    x = inputs + keras.layers.MultiHeadAttention(16, 64)(x, x)
    y = keras.layers.LayerNormalization()(x)
    y = keras.layers.Dense(4096, activation="gelu")(y)
    return keras.Model(inputs, x + keras.layers.Dense(1024)(y))


CASES: dict[str, tuple[tuple[int, ...], Callable[..., Any], bool]] = {
    **{
        f"dense-{n}-{batch}": (
            (batch, n),
            sequential((batch, n), lambda n=n: keras.layers.Dense(n)),
            True,
        )
        for n in (1024, 4096)
        for batch in (32, 256, 4096)
    },
    "conv2d": (
        (64, 56, 56, 64),
        sequential((64, 56, 56, 64), lambda: keras.layers.Conv2D(64, 3, padding="same")),
        True,
    ),
    "lstm": (
        (64, 50, 512),
        sequential((64, 50, 512), lambda: keras.layers.LSTM(512)),
        False,
    ),
    "transformer": ((16, 256, 1024), transformer, False),
    "resnet50": (
        (32, 224, 224, 3),
        lambda _: keras.applications.ResNet50(weights=None, input_shape=(224, 224, 3)),
        False,
    ),
}


def precision() -> None:
    """Prints how far sigma is off, relatively, at inference and after a training step."""
    print(f"\nsigma on {BACKEND}: relative error at inference, and in a training step\n")
    rng = np.random.default_rng(0)
    for name, layer, shape in (
        ("Dense 1024", snconvert.SpectralDense(1024), (None, 1024)),
        ("Conv2D 3x3x64x64", snconvert.SpectralConv2D(64, 3), (None, 16, 16, 64)),
        ("its operator norm", snconvert.SpectralConv2D(64, 3, norm="operator"), (2, 16, 16, 64)),
        ("LSTM 256", snconvert.SpectralLSTM(256), (2, 5, 256)),
    ):
        layer.build(shape)
        for variable in layer.trainable_weights:
            variable.assign(rng.normal(0, 0.05, variable.shape))
        for part in layer._flatten_layers():  # noqa: SLF001 - an LSTM's cell holds the kernels
            if hasattr(part, "converge"):
                part.converge()
        owner = getattr(layer, "cell", layer)
        kernel = np.asarray(keras.ops.convert_to_numpy(owner.kernel), "float64")
        if "operator" in name:
            from snconvert.linalg.convolution_norm import operator_triplet  # noqa: PLC0415

            owned = owner._kernel_view, owner._kernel_map  # noqa: SLF001
            exact = operator_triplet(kernel.astype("float32"), *owned).sigma
        else:
            exact = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        still, scale = (
            float(keras.ops.convert_to_numpy(value))
            for value in (
                owner.spectral_norms()["kernel"],
                owner.kernel_scale("kernel", training=True),
            )
        )
        print(f"{name}: {abs(still / exact - 1):.1e}, {abs(1 / scale / exact - 1):.1e}")


def agreement() -> None:
    """Prints how far outputs before and after `gain` are apart, to the largest of them."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.SeparableConv2D(16, 3)(x)
    x = keras.layers.Reshape((196, 16))(x)
    x = keras.layers.MultiHeadAttention(2, 8)(x, x)
    x = keras.layers.LSTM(24)(x[:, ::14])
    x = keras.layers.Dense(32, activation="relu")(x)
    model = keras.Model(inputs, keras.layers.Dense(4)(x))
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    data = rng.normal(size=(64, 16, 16, 3)).astype("float32")
    model.fit(data, rng.normal(size=(64, 4)), batch_size=16, verbose=0)
    before = model.predict(data, verbose=0)
    after = snconvert.apply(model, kinds="all", mode="gain").predict(data, verbose=0)
    print(
        f"outputs before and after gain: {np.abs(after - before).max() / np.abs(before).max():.1e}"
    )


def jax_step(model: Any, x: np.ndarray) -> Step:
    """Returns a compiled step of training."""
    import jax  # noqa: PLC0415 - one backend at a time

    def loss(trained: Any, others: Any, inputs: Any) -> Any:
        outputs, others = model.stateless_call(trained, others, inputs, training=True)
        return (outputs**2).mean(), others

    @jax.jit
    def step(trained: Any, others: Any, inputs: Any) -> Any:
        gradient = jax.value_and_grad(loss, (0, 2), has_aux=True)
        (value, others), (changes, change) = gradient(trained, others, inputs)
        trained = [old - RATE * by for old, by in zip(trained, changes, strict=True)]
        return trained, others, value + change.ravel()[0]

    held: dict[str, Any] = {
        "trained": [variable.value for variable in model.trainable_variables],
        "others": [variable.value for variable in model.non_trainable_variables],
        "inputs": jax.device_put(x),
    }

    def run() -> None:
        held["trained"], held["others"], held["value"] = step(
            held["trained"], held["others"], held["inputs"]
        )

    run.wait = lambda: jax.block_until_ready(held)  # type: ignore[attr-defined]
    return run


def torch_step(module: Any, parameters: list[Any], x: np.ndarray) -> Step:
    """Returns a step of training, op by op."""
    import torch  # noqa: PLC0415 - one backend at a time

    device = "cuda" if torch.cuda.is_available() else "cpu"
    given = torch.tensor(x, device=device, requires_grad=True)

    def run() -> None:
        outputs = module(given)
        outputs.square().mean().backward()
        with torch.no_grad():
            for parameter in parameters:
                parameter.sub_(RATE * parameter.grad)
                parameter.grad = None
        given.grad = None

    run.wait = torch.cuda.synchronize if device == "cuda" else lambda: None  # type: ignore[attr-defined]
    return run


def keras_step(model: Any, x: np.ndarray) -> Step:
    """Returns a step of a Keras model on the backend in use."""
    if BACKEND == "jax":
        return jax_step(model, x)
    parameters = [variable.value for variable in model.trainable_variables]
    return torch_step(lambda inputs: model(inputs, training=True), parameters, x)


def peers(name: str, x: np.ndarray) -> dict[str, Step]:
    """Returns the steps of PyTorch's own layers, plain and with its spectral norm."""
    if BACKEND != "torch" or not name.startswith("dense"):
        return {}
    import torch  # noqa: PLC0415 - as above

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = x.shape[-1]
    plain = torch.nn.Linear(size, size).to(device)
    normed = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(size, size)).to(device)
    return {
        "torch plain": torch_step(plain, list(plain.parameters()), x),
        "torch": torch_step(normed, list(normed.parameters()), x),
    }


def timed(step: Step, count: int) -> float:
    """Returns the seconds that one of some steps takes until the accelerator has done it."""
    step.wait()  # type: ignore[attr-defined]
    started = time.perf_counter()
    for _ in range(count):
        step()
    step.wait()  # type: ignore[attr-defined]
    return (time.perf_counter() - started) / count


def measure(name: str, rounds: int) -> str:
    """Measures one case; returns the row of the table."""
    shape, make, wraps = CASES[name]
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    plain = make(lambda layer: layer)
    steps = {
        "plain": keras_step(plain, x),
        "control": keras_step(make(lambda layer: layer), x),
        "snconvert": keras_step(snconvert.apply(plain, kinds="all"), x),
    }
    if wraps:
        steps["built-in"] = keras_step(make(keras.layers.SpectralNormalization), x)
    steps |= peers(name, x)
    for step in steps.values():
        timed(step, 3)
    count = max(1, round(SECONDS / timed(steps["plain"], 5)))
    taken = in_turns({k: lambda s=s: timed(s, count) for k, s in steps.items()}, rounds)
    bases = {"control": "plain", "snconvert": "plain", "built-in": "plain", "torch": "torch plain"}
    once = f"{1e3 * statistics.median(taken['plain']):.2f}"
    cells = [
        shown(ratios(taken, key, base)) if key in taken else "-" for key, base in bases.items()
    ]
    return row([name, once, *cells])


def main() -> None:
    """Prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    precision()
    agreement()
    print(f"\n{head(BACKEND, 'plain ms', 'control', 'snconvert', 'built-in', 'torch')}")
    for name in options.cases or CASES:
        print(measure(name, options.rounds), flush=True)


if __name__ == "__main__":
    main()
