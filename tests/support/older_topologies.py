"""Models of every topology that older versions of Keras save, as functions of the library.

Runs in Python 3.6 and any Keras before 3; what a version does not have fails by its name.
"""

import numpy as np

TOPOLOGIES = {}


def topology(function):
    TOPOLOGIES[function.__name__] = function
    return function


@topology
def sequential(keras):
    """The first layer says the shape."""
    k = keras.layers
    return keras.models.Sequential(
        [k.Dense(6, input_shape=(5,), activation="tanh"), k.Dropout(0.2), k.Dense(3)]
    )


@topology
def sequential_late(keras):
    """A Sequential without a shape, built by its first call."""
    model = keras.models.Sequential([keras.layers.Dense(4), keras.layers.Dense(2)])
    model(np.ones((3, 5), "float32"))
    return model


@topology
def sequential_built(keras):
    model = keras.models.Sequential([keras.layers.Dense(4), keras.layers.Dense(2)])
    model.build((None, 5))
    return model


@topology
def fixed_batch(keras):
    k = keras.layers
    return keras.models.Sequential(
        [k.LSTM(4, stateful=True, batch_input_shape=(3, 4, 2)), k.Dense(2)]
    )


@topology
def any_length(keras):
    k = keras.layers
    return keras.models.Sequential([k.Conv1D(4, 3, input_shape=(None, 2)), k.GRU(3), k.Dense(2)])


@topology
def embedding_first(keras):
    """A first layer that is told its length."""
    k = keras.layers
    return keras.models.Sequential(
        [k.Embedding(9, 4, input_length=6, name="tokens"), k.LSTM(3), k.Dense(2)]
    )


@topology
def functional(keras):
    """Two inputs, two outputs, a layer used twice, every merge."""
    k = keras.layers
    a, b = k.Input((6,), name="zz_first"), k.Input((6,), name="aa_second")
    shared = k.Dense(5, name="shared", activation="tanh")
    x, y = shared(a), shared(b)
    merged = [
        k.Add()([x, y]),
        k.Subtract()([x, y]),
        k.Multiply()([x, y]),
        k.Average()([x, y]),
        k.Maximum()([x, y]),
        k.Minimum()([x, y]),
        k.Dot(axes=-1, normalize=True)([x, y]),
    ]
    z = k.Concatenate(axis=-1)([*merged, a])
    heads = [k.Dense(2, name="zz")(z), k.Dense(3, name="aa")(x)]
    return keras.models.Model([a, b], heads, name="two_heads")


@topology
def out_of_order(keras):
    """Layers made in another order than they are used."""
    k = keras.layers
    last, first, middle = k.Dense(2), k.Dense(5), k.Dense(4)
    inputs = k.Input((6,))
    x = first(inputs)
    return keras.models.Model(inputs, last(k.Concatenate()([middle(x), x])))


@topology
def residual(keras):
    k = keras.layers
    inputs = k.Input((8, 8, 3))
    x = k.Conv2D(4, 3, padding="same", use_bias=False)(inputs)
    x = k.BatchNormalization()(x)
    x = k.Activation("relu")(x)
    y = k.Conv2D(4, 3, padding="same", use_bias=False)(x)
    y = k.BatchNormalization()(y)
    x = k.GlobalAveragePooling2D()(k.Activation("relu")(k.Add()([x, y])))
    return keras.models.Model(inputs, k.Dense(2, activation="softmax")(x))


def _inner(keras, name, features=6):
    """A nested model whose weights are partly not trainable."""
    k = keras.layers
    return keras.models.Sequential(
        [
            k.Dense(5, input_shape=(features,), use_bias=False, name=name + "_a"),
            k.BatchNormalization(name=name + "_b"),
            k.Dense(features, name=name + "_c"),
        ],
        name=name,
    )


def _inner_functional(keras, name, features=6):
    k = keras.layers
    inputs = k.Input((features,), name=name + "_in")
    x = k.Dense(5, use_bias=False, name=name + "_a")(inputs)
    x = k.BatchNormalization(name=name + "_b")(x)
    x = k.Add(name=name + "_d")([k.Dense(features, name=name + "_c")(x), inputs])
    return keras.models.Model(inputs, x, name=name)


@topology
def sequential_in_functional(keras):
    k = keras.layers
    inputs = k.Input((6,))
    return keras.models.Model(inputs, k.Dense(2)(_inner(keras, "inner")(inputs)))


@topology
def functional_in_sequential(keras):
    return keras.models.Sequential(
        [_inner_functional(keras, "inner"), _inner(keras, "other"), keras.layers.Dense(2)]
    )


@topology
def sequential_in_sequential(keras):
    return keras.models.Sequential(
        [_inner(keras, "one"), keras.models.Sequential([_inner(keras, "two")], name="deep")]
    )


@topology
def dense_then_nested(keras):
    """A nested model behind a layer that says the shape."""
    k = keras.layers
    return keras.models.Sequential(
        [k.Dense(6, input_shape=(4,)), _inner(keras, "inner"), _inner_functional(keras, "other")]
    )


@topology
def nested_twice(keras):
    """Each nested model is used twice, and a layer as well."""
    k = keras.layers
    a, b = k.Input((6,), name="a"), k.Input((6,), name="b")
    one, two = _inner(keras, "one"), _inner_functional(keras, "two")
    shared = k.Dense(6, name="shared")
    x, y = shared(one(a)), shared(one(b))
    z = k.Concatenate()([two(x), two(y), one(x)])
    return keras.models.Model([a, b], k.Dense(2)(z))


@topology
def nested_outputs(keras):
    """A nested model with two inputs and two outputs, whose outputs are those of the whole."""
    k = keras.layers
    a, b = k.Input((6,)), k.Input((4,))
    inner = keras.models.Model(
        [a, b], [k.Dense(3)(k.Concatenate()([a, b])), k.Dense(2)(b)], name="inner"
    )
    c, d = k.Input((6,), name="c"), k.Input((4,), name="d")
    x, y = inner([c, d])
    last = _inner(keras, "last", 3)
    return keras.models.Model([c, d], [last(x), y, inner([c, k.Dense(4)(d)])[0]])


@topology
def nested_deep(keras):
    k = keras.layers
    inputs = k.Input((6,))
    x = _inner_functional(keras, "innermost")(_inner(keras, "first")(inputs))
    middle = keras.models.Model(inputs, k.Dense(6)(x), name="middle")
    inputs = k.Input((6,))
    outer = keras.models.Model(inputs, middle(middle(inputs)), name="outer")
    return keras.models.Sequential([outer, k.Dense(2)])


@topology
def part_of_model(keras):
    """A model that begins inside another: its layers have more nodes than the file."""
    k = keras.layers
    whole = _inner_functional(keras, "whole")
    x = k.Dense(3, name="head")(whole.get_layer("whole_b").output)
    return keras.models.Model(whole.input, x)


@topology
def called_again(keras):
    """Layers that were used before, outside this model."""
    k = keras.layers
    layer, inner = k.Dense(6, name="again"), _inner(keras, "inner")
    layer(k.Input((6,)))
    inner(k.Input((6,)))
    inputs = k.Input((6,))
    return keras.models.Model(inputs, inner(layer(inputs)))


@topology
def frozen(keras):
    """Layers and nested models that do not train."""
    inner, other = _inner(keras, "inner"), _inner_functional(keras, "other")
    inner.layers[0].trainable = False
    other.trainable = False
    k = keras.layers
    inputs = k.Input((6,))
    x = k.Dense(6, trainable=False)(other(inner(inputs)))
    return keras.models.Model(inputs, k.Dense(2)(k.BatchNormalization(trainable=False)(x)))


@topology
def frozen_inside(keras):
    """Recurrent, wrapped and normalising layers that do not train inside a nested model."""
    k = keras.layers
    inner = keras.models.Sequential(
        [
            k.Bidirectional(k.LSTM(3, return_sequences=True), input_shape=(4, 3)),
            k.BatchNormalization(),
            k.TimeDistributed(k.Dense(3, use_bias=False)),
            k.BatchNormalization(),
            k.GRU(2),
        ],
        name="inner",
    )
    inner.layers[0].trainable = False
    inner.layers[1].trainable = False
    return keras.models.Sequential([inner, k.Dense(2)])


@topology
def all_frozen(keras):
    model = sequential(keras)
    model.trainable = False
    return model


@topology
def wrapped_model(keras):
    """A model inside TimeDistributed."""
    k = keras.layers
    inputs = k.Input((4, 6))
    x = k.TimeDistributed(_inner(keras, "inner"))(inputs)
    x = k.TimeDistributed(_inner_functional(keras, "other"))(x)
    return keras.models.Model(inputs, k.LSTM(3)(x))


@topology
def encoder_decoder(keras):
    """Recurrent states from one layer to another."""
    k = keras.layers
    a, b = k.Input((4, 3), name="a"), k.Input((5, 2), name="b")
    _, h, c = k.LSTM(4, return_state=True, name="encoder")(a)
    x = k.LSTM(4, return_sequences=True, name="decoder")(b, initial_state=[h, c])
    _, state = k.GRU(3, return_state=True)(x)
    y = k.GRU(3)(b, initial_state=state)
    _, *states = k.Bidirectional(k.LSTM(2, return_state=True))(a)
    z = k.Bidirectional(k.LSTM(2))(b, initial_state=states)
    return keras.models.Model([a, b], [k.Dense(2)(y), k.Dense(3)(x), z])


@topology
def attention(keras):
    k = keras.layers
    a, b = k.Input((4, 6), name="a"), k.Input((5, 6), name="b")
    x = k.MultiHeadAttention(2, 3)(a, b)
    x = k.LayerNormalization()(k.Add()([a, x]))
    x = k.MultiHeadAttention(2, 3, value_dim=4, output_shape=6, use_bias=False)(x, value=b, key=b)
    x = k.MultiHeadAttention(1, 2, attention_axes=1)(query=x, value=x)
    y = k.Attention(use_scale=True)([x, b])
    z = k.AdditiveAttention()([y, b, b])
    return keras.models.Model([a, b], k.Dense(2)(z))


@topology
def attention_scores(keras):
    k = keras.layers
    a, b = k.Input((4, 6), name="a"), k.Input((5, 6), name="b")
    x, scores = k.MultiHeadAttention(2, 3)(a, b, return_attention_scores=True)
    y = k.Attention(score_mode="concat")([a, b])
    return keras.models.Model([a, b], [x, scores, y])


@topology
def masked(keras):
    """Masks that layers hand on, and one that is given."""
    k = keras.layers
    tokens = k.Input((6,), dtype="int32", name="tokens")
    x = k.Embedding(9, 4, mask_zero=True)(tokens)
    y = k.Bidirectional(k.LSTM(3, return_sequences=True))(x)
    z = k.MultiHeadAttention(2, 2)(y, y)
    return keras.models.Model(tokens, [k.GRU(2)(z), k.GlobalAveragePooling1D()(y)])


@topology
def dictionary(keras):
    """Inputs and outputs by name."""
    k = keras.layers
    inputs = {"b": k.Input((3,), name="b"), "a": k.Input((4,), name="a")}
    x = k.Concatenate()([inputs["b"], inputs["a"]])
    outputs = {"z": k.Dense(2, name="z")(x), "y": k.Dense(3, name="y")(x)}
    return keras.models.Model(inputs, outputs)


@topology
def one_in_lists(keras):
    k = keras.layers
    inputs = k.Input((5,))
    return keras.models.Model([inputs], [k.Dense(2)(inputs)])


@topology
def passed_through(keras):
    """An input that is an output, and an output that is there twice."""
    k = keras.layers
    a, b = k.Input((5,), name="a"), k.Input((3,), name="b")
    x = k.Dense(2)(k.Concatenate()([a, b]))
    return keras.models.Model([a, b], [x, b, x])


@topology
def arithmetic(keras):
    """Operations of TensorFlow on the tensors of Keras."""
    k = keras.layers
    inputs = k.Input((5,))
    x = k.Dense(4)(inputs)
    return keras.models.Model(inputs, x * 2.0 + k.Dense(4)(inputs))


@topology
def double(keras):
    return keras.models.Sequential(
        [
            keras.layers.Dense(4, input_shape=(5,), dtype="float64"),
            keras.layers.BatchNormalization(dtype="float64"),
            keras.layers.Dense(2, dtype="float64"),
        ]
    )


@topology
def mixed(keras):
    """Half precision with a float32 output."""
    policy = keras.mixed_precision.Policy("mixed_float16")
    k = keras.layers
    return keras.models.Sequential(
        [
            k.Dense(6, input_shape=(5,), dtype=policy, activation="relu"),
            k.LayerNormalization(dtype=policy),
            k.Dense(2, dtype=policy),
            k.Activation("linear", dtype="float32"),
        ]
    )


@topology
def odd_names(keras):
    k = keras.layers
    inputs = k.Input((5,), name="in-put 1")
    x = k.Dense(4, name="block/dense.1")(inputs)
    return keras.models.Model(inputs, k.Dense(2, name="Head.2-b")(x), name="a/b c")


@topology
def many(keras):
    """More than ten layers of one class."""
    k = keras.layers
    stack = [k.Dense(5, input_shape=(5,), name="d13")]
    for i in range(12):
        stack += [k.Dense(5, name=f"d{12 - i}"), k.Activation("tanh")]
    return keras.models.Sequential(stack)
