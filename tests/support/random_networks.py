"""Random Keras models from a seed, and the largest norm of their Jacobians that is found.

A model grows from a pool of tensors: a random layer or operation reads one or some of them, and
what Keras refuses is drawn again. Weights are random, too: batch normalisation with gammas of both
signs and variances from tiny to large, `PReLU` with steep negative sides.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

import snconvert

Rng = np.random.Generator
Array = np.ndarray[Any, Any]
Make = Callable[[Rng, Any], Any]

SLOPED = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "hard_silu", "tanh"),
    *("hard_tanh", "tanh_shrink", "soft_shrink", "softplus", "softsign", "squareplus"),
    *("sparse_plus", "log_sigmoid", "sigmoid", "hard_sigmoid", "sparse_sigmoid", "linear"),
)
"""Activations by name; `celu` is left out, of which TensorFlow calls the slope at 0 two."""

_REFUSED = (ValueError, TypeError, IndexError, AttributeError)


class Network(NamedTuple):
    """A model, and where to look at it.

    Attributes:
        model: The model, as it is saved.
        reference: The same function in float32.
        sizes: The sizes of each input of one sample, with numbers for those that are not known.
    """

    model: keras.Model
    reference: keras.Model
    sizes: list[tuple[int, ...]]


def choice(rng: Rng, options: Any) -> Any:
    """Returns one of some objects."""
    return options[int(rng.integers(len(options)))]


def _activation(rng: Rng) -> str | None:
    return choice(rng, [None, *SLOPED]) if rng.random() < 0.6 else None


def _window(rng: Rng) -> dict[str, Any]:
    """Returns the padding, and either strides or a dilation."""
    options: dict[str, Any] = {"padding": choice(rng, ["valid", "same"])}
    if rng.random() < 0.3:
        options["strides"] = 2
    elif rng.random() < 0.3:
        options["dilation_rate"] = 2
    return options


def _convolution(rng: Rng, x: Any) -> Any:
    rank = len(x.shape) - 2
    options = _window(rng) | {"activation": _activation(rng)}
    if rank == 1 and rng.random() < 0.3:
        options["padding"] = "causal"
    groups = 2 if x.shape[-1] % 2 == 0 and rng.random() < 0.3 else 1
    layer = getattr(layers, f"Conv{rank}D")
    filters = 2 * int(rng.integers(1, 3))
    return layer(filters, int(rng.integers(1, 4)), groups=groups, **options)(x)


def _transposed(rng: Rng, x: Any) -> Any:
    layer = getattr(layers, f"Conv{len(x.shape) - 2}DTranspose")
    options: dict[str, Any] = {"padding": choice(rng, ["valid", "same"])}
    return layer(2, int(rng.integers(1, 4)), strides=int(rng.integers(1, 3)), **options)(x)


def _depthwise(rng: Rng, x: Any) -> Any:
    layer = getattr(layers, f"DepthwiseConv{len(x.shape) - 2}D")
    return layer(3, depth_multiplier=int(rng.integers(1, 3)), **_window(rng))(x)


def _separable(rng: Rng, x: Any) -> Any:
    layer = getattr(layers, f"SeparableConv{len(x.shape) - 2}D")
    return layer(3, 3, activation=_activation(rng), **_window(rng))(x)


def _pool(rng: Rng, x: Any) -> Any:
    kind, rank = choice(rng, ["Max", "Average"]), len(x.shape) - 2
    layer = getattr(layers, f"{kind}Pooling{rank}D")
    return layer(
        int(rng.integers(2, 4)), int(rng.integers(1, 4)), padding=choice(rng, ["valid", "same"])
    )(x)


def _adaptive(rng: Rng, x: Any) -> Any:
    # Those by maxima end TensorFlow by a division by zero at some sizes.
    outputs = int(rng.integers(1, 1 + min(size or 1 for size in x.shape[1:-1])))
    return getattr(layers, f"AdaptiveAveragePooling{len(x.shape) - 2}D")(outputs)(x)


def _global(rng: Rng, x: Any) -> Any:
    kind, rank = choice(rng, ["Max", "Average"]), len(x.shape) - 2
    return getattr(layers, f"Global{kind}Pooling{rank}D")(keepdims=rng.random() < 0.3)(x)


def _enlarged(rng: Rng, x: Any) -> Any:
    rank = len(x.shape) - 2
    if rank == 2 and rng.random() < 0.5:
        kind = choice(rng, ["bilinear", "bicubic", "nearest"])
        if rng.random() < 0.5:
            return layers.UpSampling2D(2, interpolation=kind)(x)
        return layers.Resizing(int(rng.integers(3, 8)), 5, interpolation=kind)(x)
    return getattr(layers, f"UpSampling{rank}D")(int(rng.integers(1, 3)))(x)


def _cut(rng: Rng, x: Any) -> Any:
    rank = len(x.shape) - 2
    if rng.random() < 0.5:
        return getattr(layers, f"ZeroPadding{rank}D")(int(rng.integers(1, 3)))(x)
    return getattr(layers, f"Cropping{rank}D")(1)(x)


def _dense(rng: Rng, x: Any) -> Any:
    return layers.Dense(int(rng.integers(2, 7)), activation=_activation(rng))(x)


def _einsum(rng: Rng, x: Any) -> Any:
    if len(x.shape) == 2:
        return layers.EinsumDense("ab,bc->ac", 4)(x)
    if len(x.shape) == 4:
        equation = choice(rng, ["abcd,de->acbe", "abcd,de->abce"])
        return layers.EinsumDense(equation, (None, None, 4))(x)
    equation, shape = choice(
        rng,
        [
            ("abc,cd->abd", (None, 4)),
            ("abc,cd->adb", (4, x.shape[1])),
            ("abc,bd->adc", (x.shape[1], x.shape[2])),
            ("abc,bcd->abd", (x.shape[1], 3)),
            ("abc,cde->abde", (None, 2, 3)),
        ],
    )
    return layers.EinsumDense(equation, shape, activation=_activation(rng))(x)


def _normalisation(rng: Rng, x: Any) -> Any:
    kind = choice(rng, ["batch"] * 4 + ["axis", "layer", "group", "rms", "fixed", "rescaling"])
    if kind == "batch":
        return layers.BatchNormalization(
            epsilon=choice(rng, [1e-3, 1e-5]), scale=rng.random() < 0.8
        )(x)
    if kind == "axis":
        return layers.BatchNormalization(axis=1)(x)
    if kind == "layer":
        return layers.LayerNormalization(epsilon=choice(rng, [1e-3, 1.0]))(x)
    if kind == "group":
        return layers.GroupNormalization(-1 if rng.random() < 0.5 else 1, epsilon=0.1)(x)
    if kind == "rms":
        return layers.RMSNormalization(epsilon=0.01)(x)
    if kind == "fixed":
        return layers.Normalization(mean=0.5, variance=float(np.exp(rng.normal())))(x)
    return layers.Rescaling(float(rng.normal()), 0.5)(x)


def _sloped(rng: Rng, x: Any) -> Any:
    made: list[Callable[[], Any]] = [
        lambda: layers.Activation(choice(rng, SLOPED)),
        lambda: layers.ReLU(max_value=2.0, negative_slope=float(rng.choice([0, 0.5, 3.0]))),
        lambda: layers.LeakyReLU(negative_slope=float(abs(2 * rng.normal()))),
        layers.PReLU,
        lambda: layers.ELU(alpha=2.0),
        lambda: layers.Softmax(axis=choice(rng, [-1, 1])),
        lambda: layers.Activation("log_softmax"),
    ]
    return choice(rng, made)()(x)


def _kept(rng: Rng, x: Any) -> Any:
    made = [layers.Dropout(0.5), layers.GaussianNoise(0.1), layers.ActivityRegularization(0.1)]
    return choice(rng, made)(x)


def _moved(rng: Rng, x: Any) -> Any:
    rank = len(x.shape) - 1
    if rank == 1:
        return layers.RepeatVector(3)(x) if rng.random() < 0.5 else layers.Reshape((-1, 2))(x)
    if rng.random() < 0.4:
        return layers.Permute(tuple(int(a) + 1 for a in rng.permutation(rank)))(x)
    return layers.Flatten()(x) if rng.random() < 0.6 else layers.Reshape((-1, x.shape[-1]))(x)


def _operation(rng: Rng, x: Any) -> Any:
    rank = len(x.shape)
    made: list[Callable[[], Any]] = [
        lambda: 2.0 * x,
        lambda: x / 3.0,
        lambda: -x,
        lambda: 1.0 - x,
        lambda: ops.relu(x),
        lambda: ops.gelu(x, approximate=False),
        lambda: ops.abs(x),
        lambda: ops.sin(x),
        lambda: ops.clip(x, -1.0, 1.0),
        lambda: ops.maximum(x, 0.1),
        lambda: ops.minimum(0.2, x),
        lambda: ops.logsumexp(x, axis=-1, keepdims=True),
        lambda: ops.mean(x, axis=1),
        lambda: ops.sum(x, axis=-1, keepdims=True),
        lambda: ops.max(x, axis=1, keepdims=True),
        lambda: x[:, 1:],
        lambda: x[..., 0],
        lambda: x[:, ::-1],
        lambda: ops.expand_dims(x, -1),
        lambda: ops.repeat(x, 2, axis=1),
        lambda: ops.concatenate(ops.split(x, 2, axis=-1), axis=1),
        lambda: ops.stack([x, ops.tanh(x)], axis=1),
        lambda: ops.transpose(x, (0, *range(rank - 1, 0, -1))),
        lambda: x + ops.mean(x, axis=1, keepdims=True),
        lambda: x - ops.max(x, axis=-1, keepdims=True),
        lambda: ops.matmul(x, np.arange(2.0 * x.shape[-1]).reshape(-1, 2).astype("float32") - 3),
    ]
    return choice(rng, made)()


def _sequence(rng: Rng, x: Any) -> Any:
    kind = choice(rng, ["SimpleRNN", "LSTM", "GRU"])
    options: dict[str, Any] = {"return_sequences": rng.random() < 0.7}
    if kind == "GRU":
        options["reset_after"] = rng.random() < 0.5
    layer = getattr(layers, kind)(int(rng.integers(1, 4)), **options)
    if rng.random() < 0.4:
        return layers.Bidirectional(layer, merge_mode=choice(rng, ["concat", "sum", "ave"]))(x)
    return layer(x)


def _distributed(rng: Rng, x: Any) -> Any:
    inner = choice(rng, [layers.Dense(3, activation="relu"), layers.BatchNormalization()])
    if len(x.shape) > 3:
        inner = choice(rng, [inner, layers.Flatten(), layers.Conv1D(3, 2, padding="same")])
    return layers.TimeDistributed(inner)(x)


def _wrapped(rng: Rng, x: Any) -> Any:
    del rng
    if len(x.shape) == 4:
        return layers.SpectralNormalization(layers.Conv2D(3, 2))(x)
    return layers.SpectralNormalization(layers.Dense(4))(x)


def _residual(rng: Rng, x: Any) -> Any:
    """A branch of two kernels beside `x` itself, or beside a kernel of its own."""
    rank, channels = len(x.shape) - 2, x.shape[-1]
    if rank == 0 or rng.random() < 0.3:
        make = layers.Dense
    else:

        def make(filters: int) -> Any:
            size, padding = int(rng.integers(1, 4)), "causal" if rank == 1 else "same"
            return getattr(layers, f"Conv{rank}D")(filters, size, padding=padding)

    branch = x
    if rng.random() < 0.5:
        branch = layers.Activation(choice(rng, SLOPED))(layers.BatchNormalization()(branch))
    branch = layers.Activation(choice(rng, SLOPED))(make(4)(branch))
    branch = make(channels)(branch)
    if rng.random() < 0.5:
        branch = layers.BatchNormalization()(branch)
    if rng.random() < 0.3:
        branch = layers.Activation(choice(rng, SLOPED))(branch)
    if rng.random() < 0.3:
        x = make(channels)(x)
    return choice(rng, [lambda: x + branch, lambda: x - branch, lambda: branch - x])()


def _chain(rng: Rng, x: Any) -> Any:
    """Kernels of one kind in a row, with activations, some of them with batch normalisation."""
    rank = len(x.shape) - 2
    for _ in range(int(rng.integers(2, 5))):
        if rank:
            padding = choice(rng, ["same", "valid"])
            options: dict[str, Any] = {"strides": 2} if rng.random() < 0.2 else {}
            x = getattr(layers, f"Conv{rank}D")(4, int(rng.integers(1, 4)), padding, **options)(x)
        else:
            x = layers.Dense(int(rng.integers(2, 9)))(x)
        if rng.random() < 0.4:
            x = layers.BatchNormalization()(x)
        if rng.random() < 0.8:
            x = layers.Activation(choice(rng, SLOPED))(x)
    return x


def _dense_block(rng: Rng, x: Any) -> Any:
    """Concatenations that the next kernel reads, with batch normalisation between."""
    rank = len(x.shape) - 2
    for _ in range(int(rng.integers(1, 4))):
        new = layers.Activation(choice(rng, SLOPED))(layers.BatchNormalization()(x))
        new = (
            getattr(layers, f"Conv{rank}D")(2, 2, padding="same")(new)
            if rank
            else layers.Dense(3)(new)
        )
        x = layers.Concatenate()([x, new])
    return x


def _nested(rng: Rng, x: Any) -> Any:
    """A model that is called twice, on a tensor and on what it makes of another one."""
    inputs = keras.Input(x.shape[1:])
    inner = layers.Dense(x.shape[-1], activation=_activation(rng))(inputs)
    if rng.random() < 0.5:
        model = keras.Model(inputs, inner + inputs)
    else:
        model = keras.Sequential([keras.Input(x.shape[1:]), layers.Dense(x.shape[-1], "tanh")])
    return layers.Concatenate()([model(x), model(model(2.0 * x))])


def _shared(rng: Rng, x: Any) -> Any:
    layer = layers.Dense(x.shape[-1], activation=_activation(rng))
    return layers.Average()([layer(x), layer(layer(x)), x])


def _joined(rng: Rng, x: Any, y: Any) -> Any:
    if len(x.shape) != len(y.shape):
        raise ValueError(x.shape, y.shape)  # the batch would meet another axis
    if rng.random() < 0.4:
        same = [a for a in range(1, len(x.shape)) if x.shape[a] != y.shape[a]]
        if len(same) <= 1:
            return layers.Concatenate(axis=same[0] if same else -1)([x, y])
    kinds = ["Add", "Subtract", "Average", "Maximum", "Minimum"]
    if rng.random() < 0.4:
        return choice(rng, [lambda: x + y, lambda: x - y, lambda: ops.maximum(x, y)])()
    return getattr(layers, choice(rng, kinds))()([x, y])


EVERY = (_dense, _normalisation, _sloped, _operation, _moved, _residual, _shared, _nested, _kept)
SPATIAL = (_convolution, _transposed, _pool, _adaptive, _global, _enlarged, _cut, _chain)
BY_RANK: dict[int, tuple[Make, ...]] = {
    2: (*EVERY, _chain, _chain, _dense_block, _einsum, _wrapped),
    3: (
        *(*EVERY, *SPATIAL, _depthwise, _separable, _sequence, _einsum),
        *(_dense_block, _residual, _distributed),
    ),
    4: (
        *(*EVERY, *SPATIAL, _depthwise, _separable, _dense_block, _residual),
        *(_wrapped, _distributed, _einsum),
    ),
    5: (*SPATIAL, _normalisation, _sloped, _residual, _operation, _dense),
}
"""Rank of a tensor, with the batch -> what may read it."""

_SIZES: dict[int, tuple[int, ...]] = {2: (5,), 3: (6, 4), 4: (5, 6, 2), 5: (3, 4, 3, 2)}
_LARGEST = 400  # numbers of a tensor


def random_network(seed: int) -> Network:
    """Returns a random model with one to three inputs and outputs, which can be computed."""
    import tensorflow as tf

    for attempt in itertools.count():
        rng = np.random.default_rng([seed, attempt])
        keras.utils.set_random_seed(seed)
        keras.backend.clear_session(free_memory=False)
        network = _network(rng, unknown=seed % 7 == 3)
        try:
            for point in points(network, 1):
                values = network.reference(_packed([x[None] for x in point]), training=False)
        except (*_REFUSED, tf.errors.OpError):
            continue  # sizes that are not known do not fit
        if all(np.isfinite(y).all() for y in keras.tree.flatten(values)):
            return network
    raise AssertionError


def _network(rng: Rng, *, unknown: bool) -> Network:
    inputs, sizes = [], []
    for index in range(choice(rng, [1, 1, 1, 2, 2, 3])):
        rank = choice(rng, [2, 2, 3, 3, 4, 4, 4, 5])
        size = _SIZES[rank]
        known = tuple(None if axis < rank - 2 and unknown else n for axis, n in enumerate(size))
        inputs.append(keras.Input(known, name=f"in_{index}"))
        sizes.append(size)
    pool = [_started(rng, x) for x in inputs]
    fresh = list(pool)
    for _ in range(int(rng.integers(3, 9))):
        fresh = [*fresh[-5:], *_grown(rng, pool, fresh)]
        pool += fresh[-1:]
    return _finished(rng, inputs, fresh, sizes)


def _started(rng: Rng, x: Any) -> Any:
    """Returns an input, or what reads it where the number of its axes is to be another one."""
    return layers.Activation(choice(rng, SLOPED))(x) if rng.random() < 0.2 else x


def _grown(rng: Rng, pool: list[Any], fresh: list[Any]) -> Iterator[Any]:
    """Yields what a random layer makes of one or two of the tensors."""
    for _ in range(40):
        x = fresh[-1] if rng.random() < 0.75 else choice(rng, pool)
        try:
            if rng.random() < 0.25:
                y = _joined(rng, x, choice(rng, pool))
            else:
                y = choice(rng, BY_RANK[len(x.shape)])(rng, x)
        except _REFUSED:
            continue
        count = np.prod([size or 8 for size in y.shape[1:]])
        if 2 <= len(y.shape) <= 5 and 0 < count <= _LARGEST:
            yield y
            return


def _finished(
    rng: Rng, inputs: list[Any], fresh: list[Any], sizes: list[tuple[int, ...]]
) -> Network:
    """Returns the model with random weights, some of it in 16 bits."""
    names = {x.name for x in inputs}
    made = [x for x in fresh if x.name not in names] or [layers.Dense(2)(inputs[0])]
    outputs: Any = made[-1]
    if rng.random() < 0.4:
        outputs = {f"out_{k}": x for k, x in enumerate(made[-3:])}
    elif rng.random() < 0.3 and len(made) > 1:
        outputs = made[-2:]
    whole = keras.Model(inputs, outputs)
    read = {
        tensor.name
        for operation in whole.operations
        for node in operation._inbound_nodes
        for tensor in node.input_tensors
    }
    model = keras.Model(_packed([x for x in inputs if x.name in read]), outputs)
    _draw(rng, model)
    reference = model
    kind = rng.random()
    if kind < 0.1:
        half = _with_16_bits(rng, model)
        reference.set_weights([np.asarray(w, "float32") for w in half.get_weights()])
        model = half
    elif kind < 0.4:
        model = reference = _normalised(rng, model)
    held = [size for x, size in zip(inputs, sizes, strict=True) if x.name in read]
    return Network(model, reference, held)


def _with_16_bits(rng: Rng, model: keras.Model) -> keras.Model:
    config = json.dumps(keras.saving.serialize_keras_object(model))
    kind = choice(rng, ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
    halved = json.loads(config, object_hook=lambda found: _with_policy(found, kind))
    half = keras.saving.deserialize_keras_object(halved)
    half.set_weights(model.get_weights())
    return half


def _normalised(rng: Rng, model: keras.Model) -> keras.Model:
    """Returns the model with spectral layers of which `u` follows kernels that have moved on."""
    options: dict[str, Any] = {"mode": choice(rng, ["hard", "cap", "gain"])}
    if options["mode"] != "gain":
        options["bound"] = choice(rng, [0.5, 1.0, 2.0])
    if rng.random() < 0.2:
        options = {"target": choice(rng, ["constraint", "keras"])}
    elif rng.random() < 0.6:
        options["norm"] = "operator"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = snconvert.apply(model, conv=True, **options)
        except snconvert.SnconvertError:
            return model
    for variable in model.trainable_weights:
        if len(variable.shape) > 1:
            noise = rng.normal(size=variable.shape) * choice(rng, [0.0, 0.1])
            variable.assign_add(noise.astype("float32"))
    if rng.random() < 0.5:
        sample = [
            np.zeros((2, *[size or 8 for size in x.shape[1:]]), "float32") for x in model.inputs
        ]
        model(_packed(sample), training=True)
        _draw(rng, model, only="moving_variance")
    return model


def _with_policy(found: dict[str, Any], name: str) -> dict[str, Any]:
    if found.get("class_name") == "DTypePolicy":
        return found | {"config": {"name": name}}
    return found


def _draw(rng: Rng, model: keras.Model, only: str = "") -> None:
    """Gives a model random weights, or those of a name."""
    for variable in model.weights:
        shape, name = variable.shape, variable.name
        if only not in name:
            continue
        if name in {"moving_variance", "variance"}:
            value = np.exp(rng.normal(size=shape) * choice(rng, [0.5, 2.0]))
        elif "seed" in name or "vector_u" in name or name in {"u", "count"} or not shape:
            continue
        elif len(shape) > 1 and name != "alpha":
            value = rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))
            value *= choice(rng, [0.5, 1.0, 2.0])
        else:
            value = rng.normal(size=shape)
        variable.assign(value.astype("float32"))


def jacobian(model: keras.Model, point: list[Array]) -> tuple[Array, list[int], list[int]]:
    """Returns the Jacobian of all outputs by all inputs at a point, and where its blocks end.

    Args:
        model: The model.
        point: A sample of each input, without the axis of the batch.

    Returns:
        float32 `(outputs, inputs)`, and how many of its rows and columns each output and input has.
    """
    import tensorflow as tf

    once = keras.tree.flatten(model(_packed([x[None] for x in point]), training=False))
    rows = [int(np.prod(y.shape)) for y in once]
    count = sum(rows)
    tiled = [tf.constant(np.repeat(x[None], count, axis=0)) for x in point]
    with tf.GradientTape() as tape:
        tape.watch(tiled)
        outputs = keras.tree.flatten(model(_packed(tiled), training=False))
        flat = tf.concat([tf.reshape(tf.cast(y, "float32"), (count, -1)) for y in outputs], 1)
        picked = tf.reduce_sum(flat * tf.eye(count))
    slopes = tape.gradient(picked, tiled, unconnected_gradients="zero")
    blocks = [np.asarray(tf.convert_to_tensor(slope)).reshape(count, -1) for slope in slopes]
    return np.concatenate(blocks, axis=1), rows, [block.shape[1] for block in blocks]


def _packed(values: list[Any]) -> Any:
    return values if len(values) > 1 else values[0]


def points(network: Network, count: int, seed: int = 0) -> Iterator[list[Array]]:
    """Yields random points of several scales."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        scale = (1.0, 0.1, 4.0, 0.01, 20.0)[index % 5]
        yield [(rng.normal(size=size) * scale).astype("float32") for size in network.sizes]
