"""What TensorFlow keeps of Keras' objects; tests/system/test_backends.py has PyTorch."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from snconvert.compat import backends


def test_wrappers() -> None:
    """TensorFlow wraps lists and dicts that are set on an object, and keeps books of them."""
    module = tf.Module()
    module.plain = [1]
    module.names = {"a": 2}
    assert backends.is_wrapper(module.plain)
    assert backends.is_wrapper(module.names)
    assert not backends.is_wrapper([1])
    for value in (module.plain, module.names):
        assert any(name.startswith(backends.BOOKS) for name in backends.attributes_of(value))
        assert "a" not in backends.attributes_of(value)


def test_tables() -> None:
    """A copied lookup table has the same rows, and changes by itself."""
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, default_value=-1)
    table.insert(tf.constant(["a"]), tf.constant([1], tf.int64))
    assert backends.is_table(table)
    assert not backends.is_table(tf.Variable(1.0))
    copy = backends.copy_table(table)
    table.insert(tf.constant(["a"]), tf.constant([2], tf.int64))
    assert copy.lookup(tf.constant(["a"])).numpy().tolist() == [1]


def test_checkpoints_hold_what_is_attached() -> None:
    """A variable that is attached to another one is in its checkpoint, until it is forgotten."""
    kernel, u = (keras.Variable(np.ones(2, "float32"), name=name) for name in ("kernel", "u"))
    backends.attach(kernel, "u", u)
    assert "u" in [reference.name for reference in getattr(kernel, backends.BOOKED_REFERENCES)]
    assert "u" in getattr(kernel, backends.BOOKED_NAMES)
    backends.forget(kernel, "u")
    backends.forget(kernel, "nothing")
    assert "u" not in getattr(kernel, backends.BOOKED_NAMES)
