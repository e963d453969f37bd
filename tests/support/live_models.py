"""Live models of the topologies that a configuration does not describe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers
from steps import train as take_steps

X = np.random.default_rng(5).normal(size=(8, 6)).astype("float32")

register = keras.saving.register_keras_serializable("live_models")


@register
class Block(layers.Layer):
    """Layers in a list, a dict and a list in a tuple, made in `__init__`."""

    def __init__(self, units: int = 6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.stack = [layers.Dense(units, activation="tanh")]
        self.heads = {"b": layers.Dense(units), "a": layers.Dense(units)}
        self.pair = (layers.Dropout(0.1), [layers.Dense(units)])

    def order(self):
        return [*self.stack, *self.heads.values(), self.pair[1][0]]

    def build(self, input_shape):
        for layer in self.order():
            layer.build(input_shape)

    def call(self, inputs):
        x = inputs
        for layer in self.order():
            x = layer(x)
        return x + inputs

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@register
class Lazy(layers.Layer):
    """Layers that `build` makes, one of them an owner whose own `build` makes more."""

    def __init__(self, depth: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.depth = depth

    def build(self, input_shape):
        self.dense = layers.Dense(input_shape[-1])
        self.dense.build(input_shape)
        if self.depth:
            self.inner = Lazy(self.depth - 1)
            self.inner.build(input_shape)

    def call(self, inputs):
        x = self.dense(inputs)
        return self.inner(x) if self.depth else x

    def get_config(self):
        return {**super().get_config(), "depth": self.depth}


@register
class Residual(layers.Layer):
    """A custom wrapper whose configuration holds its layer."""

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape):
        if not self.layer.built:
            self.layer.build(input_shape)

    def call(self, inputs):
        return inputs + self.layer(inputs)

    def get_config(self):
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config.pop("layer")), **config)


@register
class Careless(layers.Layer):
    """Calls `get_config` and `from_config` of its layers itself, around Keras' serialisation."""

    def __init__(self, block: Any = None, dense: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block = Block.from_config(block) if block else Block(6)
        self.dense = layers.Dense.from_config(dense) if dense else layers.Dense(6)

    def build(self, input_shape):
        self.block.build(input_shape)
        self.dense.build(input_shape)

    def call(self, inputs):
        return self.dense(self.block(inputs))

    def get_config(self):
        own = {"block": self.block.get_config(), "dense": self.dense.get_config()}
        return {**super().get_config(), **own}


@register
class Subclassed(keras.Model):
    """A subclassed model with blocks, a graph of its own and an argument `training`."""

    def __init__(self, units: int = 6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.blocks = [Block(units, name=f"block_{i}") for i in range(2)]
        self.tower = keras.Sequential([layers.Dense(8), layers.Dense(units)])
        self.dropout = layers.Dropout(0.0)
        self.top = layers.Dense(3)

    def call(self, inputs, training=False):
        x = inputs
        for block in self.blocks:
            x = block(x)
        return self.top(self.dropout(self.tower(x), training=training))

    def generate(self, inputs):
        return keras.ops.argmax(self(inputs), axis=-1)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@register
class Backbone(keras.Model):
    """A subclassed Functional model, as in keras-hub: the graph is made from the arguments."""

    def __init__(self, units: int = 6, depth: int = 2, **kwargs: Any) -> None:
        inputs = keras.Input((units,), name="features")
        embedding = layers.Dense(units, name="embedding")
        x = embedding(inputs)
        blocks = [Block(units, name=f"transformer_{i}") for i in range(depth)]
        for block in blocks:
            x = block(x)
        super().__init__(inputs, layers.LayerNormalization(name="norm")(x), **kwargs)
        self.embedding, self.blocks = embedding, blocks
        self.units, self.depth = units, depth

    def get_config(self):
        config = {"name": self.name, "trainable": self.trainable}
        return {**config, "units": self.units, "depth": self.depth}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@register
class Task(keras.Model):
    """A subclassed Functional model around a backbone that its configuration holds."""

    def __init__(self, backbone: Any, classes: int = 3, **kwargs: Any) -> None:
        head = layers.Dense(classes, name="head")
        super().__init__(backbone.input, head(backbone(backbone.input)), **kwargs)
        self.backbone, self.head, self.classes = backbone, head, classes

    def get_config(self):
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return {"name": self.name, "backbone": backbone, "classes": self.classes}

    @classmethod
    def from_config(cls, config):
        backbone = keras.saving.deserialize_keras_object(config.pop("backbone"))
        return cls(backbone, **config)


@register
class Graph(keras.Model):
    """A subclass that takes a graph, and whose configuration is that of the graph."""


def _functional(*stack: Any) -> keras.Model:
    inputs = x = keras.Input((6,))
    for layer in stack:
        x = layer(x)
    return keras.Model(inputs, layers.Dense(3, name="out")(x))


def in_functional() -> keras.Model:
    return _functional(Block(6, name="block"), layers.Dense(6, name="mid"), Lazy(2, name="lazy"))


def in_sequential() -> keras.Model:
    return keras.Sequential([keras.Input((6,)), Block(6), layers.Dense(3)])


def residual() -> keras.Model:
    return _functional(Residual(layers.Dense(6)), Residual(Block(6)), Careless())


def shared() -> keras.Model:
    block = Block(6, name="twice")
    return _functional(block, layers.Dense(6), block)


def subclassed() -> keras.Model:
    model = Subclassed(6)
    model(X)
    return model


def nested_subclassed() -> keras.Model:
    return _functional(Backbone(6, 1, name="body"), keras.Sequential([Block(6)], name="tail"))


def backbone() -> keras.Model:
    return Backbone(6, 1, name="backbone")


def task() -> keras.Model:
    return Task(Backbone(6, 1, name="backbone"), name="task")


def graph() -> keras.Model:
    inputs = keras.Input((6,))
    return Graph(inputs, layers.Dense(3)(Block(6)(inputs)), name="graph")


@register
class Attention(layers.MultiHeadAttention):
    """A subclass, as keras-hub has them."""


def attention() -> keras.Model:
    inputs = keras.Input((6,))
    x = layers.Reshape((3, 2))(inputs)
    x = layers.MultiHeadAttention(2, 3, name="mha")(x, x)
    x = layers.GroupQueryAttention(4, 4, 2, name="gqa")(x, x)
    x = Attention(2, 2, name="mine")(x, x)
    return keras.Model(inputs, layers.Dense(3, name="out")(layers.Flatten()(x)))


@register
class Reader(layers.Layer):
    """Recurrent layers and an embedding in a custom layer."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = layers.Embedding(5, 4)
        self.lstm = layers.LSTM(3, return_sequences=True)
        self.rnn = layers.RNN([layers.GRUCell(4), layers.SimpleRNNCell(3)])

    def build(self, input_shape):
        self.table.build(input_shape)
        self.lstm.build((*input_shape, 4))
        self.rnn.build((*input_shape, 3))

    def call(self, inputs):
        ids = keras.ops.cast(keras.ops.abs(inputs), "int32") % 5
        return self.rnn(self.lstm(self.table(ids)))


def recurrent() -> keras.Model:
    return _functional(Reader(name="reader"))


TOPOLOGIES: dict[str, Callable[[], keras.Model]] = {
    build.__name__: build
    for build in (
        in_functional,
        in_sequential,
        residual,
        shared,
        subclassed,
        nested_subclassed,
        backbone,
        task,
        graph,
        attention,
        recurrent,
    )
}
"""Every model takes inputs of shape `(batch, 6)`."""


def outputs(model: keras.Model) -> np.ndarray:
    values: np.ndarray = keras.ops.convert_to_numpy(model(X, training=False))
    return values


def targets(model: keras.Model) -> np.ndarray:
    return np.random.default_rng(6).normal(size=outputs(model).shape).astype("float32")


def train(model: keras.Model, steps: int = 2) -> list[float]:
    """Takes steps on the whole of the data, in order, and returns the losses."""
    return take_steps(model, X, targets(model), steps)


class Once(keras.callbacks.Callback):
    """Does something with the model that is trained, after its first batch or its first epoch."""

    def __init__(self, action: Callable[[keras.Model], Any], *, batch: bool) -> None:
        super().__init__()
        self.action: Callable[[keras.Model], Any] | None = action
        self.batch = batch

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        if self.batch:
            self._act()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self._act()

    def _act(self) -> None:
        if self.action is not None:
            self.action(self.model)
        self.action = None


def within_and_between(
    start: Callable[[], keras.Model], action: Callable[[keras.Model], Any], *, eager: bool
) -> list[list[np.ndarray]]:
    """Returns the weights after two epochs of one batch: with an action in a callback after a
    batch, after an epoch, and between two calls of `fit`."""
    found = []
    for batch in (True, False, None):
        keras.utils.set_random_seed(3)
        model = start()
        model.compile(keras.optimizers.Adam(0.01), "mse", run_eagerly=eager)
        data = {"x": X, "y": X, "batch_size": len(X), "shuffle": False, "verbose": 0}
        if batch is None:
            model.fit(**data, epochs=1)
            action(model)
            model.fit(**data, epochs=2, initial_epoch=1)
        else:
            model.fit(**data, epochs=2, callbacks=[Once(action, batch=batch)])
        values = [*model.variables, *model.optimizer.variables]
        found.append([np.array(keras.ops.convert_to_numpy(each.value)) for each in values])
    return found


def model_of_all_kinds() -> keras.Model:
    """Strided, dilated, grouped, depthwise, transposed, separable, pointwise, ConvLSTM, Dense."""
    inputs = keras.Input((8, 7, 4))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same")(x)
    x = layers.SeparableConv2D(6, 3, depth_multiplier=2)(x)
    x = layers.Conv2D(4, 2, groups=2)(layers.Conv2D(4, 1)(x))
    x = layers.TimeDistributed(layers.Conv1D(3, 3, padding="causal", dilation_rate=2))(x)
    x = layers.ConvLSTM1D(2, 3, padding="same")(layers.Reshape((5, 5, 3))(x))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def spectral_layers(model: keras.Model) -> list[Any]:
    """The layers that own normalised kernels."""
    return [
        x for x in model._flatten_layers() if hasattr(x, "effective_kernel") and x._own_kernels()
    ]
