"""The certified bounds of networks beside lower bounds, network by network.

    python benchmarks/lipschitz.py [--only NAME] [--samples N] [--applications | --chains]

Small networks are built and trained here on drawn digits, moved and noisy; with `--applications`
those of keras.applications follow, with random weights and the statistics of one batch of noise,
with `--chains` chains of Dense and ReLU with random kernels. Each is saved, and `snconvert.inspect`
bounds the file. `lower` is the largest norm of a Jacobian that is found on the true model, at N
points and at some that an ascent of the Jacobian of a smooth copy leads to, `product` the bound by
the rules of the graph with each layer's own norm, `norms` the product of the kernels' matrix norms,
which is no bound. The exit code is 1 if a bound is below the lower bound, or further above it than
`LIMITS`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

import snconvert

Array = np.ndarray[Any, Any]

GLYPHS = (
    "0E11131519110E 040C040404040E 0E11010204081F 1F02040201110E 02060A121F0202"
    " 1F101E0101110E 0608101E11110E 1F010204080808 0E11110E11110E 0E11110F01020C"
)
"""Ten digits of 7 rows of 5 bits, in hexadecimal, two figures a row."""

LIMITS = {
    "mlp": 1.15,
    "cnn": 23 * 1.1,
    "resnet": 270 * 1.1,
    "unet": 13 * 1.1,
    "densenet": 45 * 1.1,
    "nested": 3.9 * 1.1,
}
"""By how much the bound may be above the lower bound."""


def digits(count: int, size: int, seed: int = 0) -> tuple[Array, Array]:
    """Returns drawn digits, `(count, size, size, 1)` from 0 to 1 with noise, and their labels."""
    rng = np.random.default_rng(seed)
    rows = [[int(text[k : k + 2], 16) for k in range(0, 14, 2)] for text in GLYPHS.split()]
    glyphs = np.array([[[row >> (4 - bit) & 1 for bit in range(5)] for row in g] for g in rows])
    labels = rng.integers(0, 10, count)
    images = np.zeros((count, size, size))
    zoom = size // 8
    for image, label in zip(images, labels, strict=True):
        glyph = np.kron(glyphs[label], np.ones((zoom, zoom)))
        top, left = (rng.integers(0, size - side + 1) for side in glyph.shape)
        image[top : top + glyph.shape[0], left : left + glyph.shape[1]] = glyph
    images += 0.2 * rng.normal(size=images.shape)
    return images[..., None].astype(np.float32), labels


def mlp() -> keras.Model:
    """64-128-64-32-10, trained."""
    x, y = digits(4000, 8)
    sizes = [128, 64, 32]
    model = keras.Sequential(
        [keras.Input((64,)), *(layers.Dense(n, "relu") for n in sizes), layers.Dense(10)]
    )
    return trained(model, x.reshape(-1, 64), y)


def cnn() -> keras.Model:
    """Three Conv, BN and ReLU, then a pool and a Dense, trained."""
    x, y = digits(4000, 8)
    model = keras.Sequential([keras.Input((8, 8, 1))])
    for filters in (8, 16, 16):
        model.add(layers.Conv2D(filters, 3, padding="same", use_bias=False))
        model.add(layers.BatchNormalization())
        model.add(layers.ReLU())
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(10))
    return trained(model, x, y)


def resnet() -> keras.Model:
    """Three residual blocks with BN, trained."""
    x, y = digits(4000, 8)
    inputs = keras.Input((8, 8, 1))
    t = layers.Conv2D(16, 3, padding="same")(inputs)
    for _ in range(3):
        branch = layers.Conv2D(16, 3, padding="same", use_bias=False)(t)
        branch = layers.ReLU()(layers.BatchNormalization()(branch))
        branch = layers.Conv2D(16, 3, padding="same", use_bias=False)(branch)
        t = layers.ReLU()(layers.Add()([t, layers.BatchNormalization()(branch)]))
    outputs = layers.Dense(10)(layers.GlobalAveragePooling2D()(t))
    return trained(keras.Model(inputs, outputs), x, y)


def unet() -> keras.Model:
    """A U-Net with Concatenate that takes noise away, trained with weight decay."""
    x, _ = digits(4000, 8)
    inputs = keras.Input((8, 8, 1))

    def conv(filters: int, tensor: Any) -> Any:
        decay = keras.regularizers.L2(1e-4)
        options = {"padding": "same", "activation": "relu", "kernel_regularizer": decay}
        return layers.Conv2D(filters, 3, **options)(tensor)

    one = conv(8, inputs)
    two = conv(16, layers.AveragePooling2D(2)(one))
    low = conv(16, layers.AveragePooling2D(2)(two))
    up = conv(16, layers.Concatenate()([layers.UpSampling2D()(low), two]))
    up = conv(8, layers.Concatenate()([layers.UpSampling2D()(up), one]))
    model = keras.Model(inputs, layers.Conv2D(1, 1)(up))
    return trained(model, x, np.clip(np.round(x), 0, 1), loss="mse")


def densenet() -> keras.Model:
    """A dense block of four layers (BN, ReLU, Conv), trained with weight decay on the scales."""
    x, y = digits(4000, 8)

    def active(tensor: Any) -> Any:
        decay = keras.regularizers.L2(3e-3)
        return layers.ReLU()(
            layers.BatchNormalization(momentum=0.9, gamma_regularizer=decay)(tensor)
        )

    inputs = keras.Input((8, 8, 1))
    t = layers.Conv2D(8, 3, padding="same")(inputs)
    for _ in range(4):
        t = layers.Concatenate()([t, layers.Conv2D(8, 3, padding="same")(active(t))])
    outputs = layers.Dense(10)(layers.GlobalAveragePooling2D()(active(t)))
    return trained(keras.Model(inputs, outputs), x, y, epochs=3)


def nested() -> keras.Model:
    """A nested encoder that two inputs share, LayerNormalization, two Dense in a row, trained."""
    x, y = digits(2000, 8)
    encoder = keras.Sequential(
        [keras.Input((64,)), layers.Dense(32, "relu"), layers.Dense(32), layers.Dense(16, "tanh")],
        name="encoder",
    )
    left, right = keras.Input((64,)), keras.Input((64,))
    both = layers.Concatenate()([encoder(left), encoder(right)])
    outputs = layers.Dense(10)(layers.Dense(16)(layers.LayerNormalization(epsilon=1.0)(both)))
    flat = x.reshape(-1, 64)
    return trained(keras.Model([left, right], outputs), [flat, flat[::-1]], y)


def trained(model: keras.Model, x: Any, y: Array, loss: str = "", epochs: int = 10) -> keras.Model:
    """Returns the model after some epochs."""
    loss_of = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss_of, jit_compile=False)
    model.fit(x, y, epochs=epochs, batch_size=64, verbose=0)
    return model


def starting_points(model: keras.Model, count: int = 48) -> list[Array]:
    """Returns points to look from, an array each input: drawn digits, and noise of any size."""
    images, _ = digits(count // 2, 8, seed=1)
    rng = np.random.default_rng(1)
    points = []
    for tensor in model.inputs:
        noise = rng.normal(size=(count // 2, *tensor.shape[1:]))
        noise *= rng.choice([0.3, 1.0, 4.0], (len(noise), *[1] * (noise.ndim - 1)))
        points.append(np.concatenate([images.reshape(noise.shape), noise]).astype(np.float32))
    return points


def ascended(model: keras.Model, points: list[Array], steps: int) -> list[list[Array]]:
    """Returns points at which the Jacobian is larger, one after another, with one sample each.

    With ReLU as `softplus(b x) / b` the Jacobian has slopes: `|J v|` rises in the point and, by
    power iteration, in `v`, while `b` grows.

    Args:
        model: A network with ReLU.
        points: Where to start, an array each input.
        steps: How many.
    """
    import tensorflow as tf  # noqa: PLC0415

    sharpness = tf.Variable(1.0)

    def soft(x: Any) -> Any:
        return tf.nn.softplus(sharpness * x) / sharpness

    def copied(layer: layers.Layer) -> layers.Layer:
        if isinstance(layer, layers.ReLU):
            return layers.Activation(soft, name=layer.name)
        if isinstance(layer, keras.Model):
            return keras.models.clone_model(layer, clone_function=copied)
        copy = type(layer).from_config(layer.get_config())
        if getattr(copy, "activation", None) is keras.activations.relu:
            copy.activation = soft
        return copy

    smooth = keras.models.clone_model(model, clone_function=copied)
    smooth.set_weights(model.get_weights())
    x = [tf.Variable(each) for each in points]
    v = [tf.Variable(tf.random.normal(each.shape)) for each in points]
    axes = [tuple(range(1, each.ndim)) for each in points]
    optimizer = keras.optimizers.Adam(0.03)
    optimizer.build(x)

    @tf.function(reduce_retracing=True)
    def step() -> None:
        with tf.GradientTape() as tape:
            values, ways = [tf.identity(each) for each in x], [tf.identity(each) for each in v]
            tape.watch([values, ways])
            with tf.autodiff.ForwardAccumulator(values, ways) as forward:
                y = smooth(values if len(values) > 1 else values[0], training=False)
            image = forward.jvp(y)
            squares = tf.reduce_sum(tf.square(image), tuple(range(1, len(y.shape))))
            risen = tf.reduce_sum(tf.math.log(squares + 1e-30)) / 2
        slopes, back = tape.gradient(risen, [values, ways])
        optimizer.apply_gradients([(-slope, each) for slope, each in zip(slopes, x, strict=True)])
        squares = sum(tf.reduce_sum(b * b, axis) for b, axis in zip(back, axes, strict=True))
        for each, b, axis in zip(v, back, axes, strict=True):
            length = tf.reshape(tf.sqrt(squares), (-1, *[1] * len(axis)))
            each.assign(b / (length + 1e-30))

    found = []
    for index in range(steps):
        sharpness.assign(64.0 ** (index / steps))
        step()
        if index > steps // 2 and index % (steps // 8) == steps // 8 - 1:
            arrays = [np.asarray(each) for each in x]
            found += [[a[k : k + 1] for a in arrays] for k in range(len(arrays[0]))]
    return found


def application(name: str) -> Callable[[], keras.Model]:
    """Returns what builds a network of keras.applications with random weights."""

    def build() -> keras.Model:
        rng = np.random.default_rng(0)
        model = getattr(keras.applications, name)(weights=None, input_shape=(96, 96, 3))
        for layer in model.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.gamma.assign(np.exp(0.3 * rng.normal(size=layer.gamma.shape)))
                layer.momentum = 0.0
        model(rng.normal(size=(8, 96, 96, 3)).astype("float32"), training=True)
        return model

    return build


NETWORKS: dict[str, Callable[[], keras.Model]] = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "unet": unet,
    "densenet": densenet,
    "nested": nested,
}
APPLICATIONS = ("MobileNetV2", "DenseNet121", "ResNet50", "EfficientNetB0")


def print_chains() -> None:
    """Prints the bounds of random ReLU networks, of 10 inputs and outputs."""
    from snconvert.lipschitz.multipliers.chain import chain_bound  # noqa: PLC0415

    print("{:14}{:>10}{:>10}{:>10}{:>9}{:>9}".format("chain", "product", "fast", "best", "s", "s"))
    for width, depth in ((16, 3), (32, 3), (32, 6), (64, 5), (64, 10), (256, 5)):
        rng = np.random.default_rng(0)
        sizes = itertools.pairwise([10, *[width] * (depth - 1), 10])
        kernels = [rng.standard_normal((m, n)) * np.sqrt(2 / m) for m, n in sizes]
        cells: list[float] = [float(np.prod([np.linalg.norm(kernel, 2) for kernel in kernels]))]
        times = []
        for seconds in (0.0, 10.0):
            started = time.process_time()
            cells.append(
                chain_bound(kernels, [(0.0, 1.0)] * (depth - 1), seconds=seconds).value or 0.0
            )
            times.append(time.process_time() - started)
        print(
            f"{f'{width} x {depth}':14}"
            + "".join(f"{cell:10.4g}" for cell in cells)
            + "".join(f"{t:9.2g}" for t in times)
        )


def main() -> int:
    """Prints a line for each network."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--only", action="append")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--applications", action="store_true")
    parser.add_argument("--chains", action="store_true")
    arguments = parser.parse_args()
    if arguments.chains:
        print_chains()
        return 0
    chosen = dict(NETWORKS)
    if arguments.applications:
        chosen = {name: application(name) for name in APPLICATIONS}
    if arguments.only:
        chosen = {name: build for name, build in chosen.items() if name in arguments.only}
    heads = ("network", "lower", "norms", "product", "bound", "bound/lower", "seconds", "method")
    print("{:14}{:>10}{:>10}{:>10}{:>10}{:>12}{:>9}  {}".format(*heads))
    bad = 0
    for name, build in chosen.items():
        keras.utils.set_random_seed(0)
        bad += not printed(name, build(), arguments.samples)
    return bool(bad)


def printed(name: str, model: keras.Model, samples: int) -> bool:
    """Prints the line of a network, and returns whether its bound is as it should be."""
    from snconvert.live.lower_bound import lower_bound  # noqa: PLC0415 - imports keras

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"{name}.keras")
        model.save(path)
        started = time.perf_counter()
        report = snconvert.inspect(path, lipschitz=True)
        seconds = time.perf_counter() - started
    network = report.lipschitz
    if network is None:
        raise RuntimeError(name)
    norms = float(np.prod([x.sigma for x in report.layers if x.sigma is not None]))
    start = [] if name in APPLICATIONS else ascended(model, starting_points(model), 400)
    samples = 0 if name in APPLICATIONS else samples
    lower = lower_bound(model, samples, start) or float("nan")
    value = network.bound.value if network.bound else None
    ratio = float("nan") if value is None else value / lower
    print(
        f"{name:14}{lower:10.4g}{norms:10.3g}{network.product or 'none'!s:>10}"
        f"{network.bound or 'none'!s:>10}{ratio:12.4g}{seconds:9.1f}  {network.method}"
    )
    for layer in network.unbounded[:3]:
        print(f"    {layer.path} ({layer.class_name}): {layer.reason}")
    return not (ratio < 1 - 1e-5 or ratio > LIMITS.get(name, float("inf")))


if __name__ == "__main__":
    sys.exit(main())
