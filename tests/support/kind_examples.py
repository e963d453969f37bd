"""A configuration, an input shape and the expected stack of each row of `snconvert.rules.RULES`."""

from __future__ import annotations

from typing import Any

Shape = tuple[int | None, ...]
Stack = Any
"""`(b, m, n)`, or one for each kernel by path."""


def _cell(features: int, states: int, gates: int, group: str = "") -> dict[str, Any]:
    """Returns the stacks of a recurrent layer or cell."""
    kernels = {"kernel": (1, features, gates), "recurrent_kernel": (1, states, gates)}
    return {group + name: stack for name, stack in kernels.items()}


EXAMPLES: dict[str, list[tuple[dict[str, Any], Shape, Stack]]] = {
    "Dense": [
        ({"units": 4}, (None, 5), (1, 5, 4)),
        ({"units": 1, "use_bias": False}, (None, 3, 2), (1, 2, 1)),
    ],
    "EinsumDense": [
        ({"equation": "ab,bc->ac", "output_shape": 4}, (None, 3), (1, 3, 4)),
        (
            {"equation": "abc,cde->abde", "output_shape": (None, 2, 3), "bias_axes": "de"},
            (None, 7, 6),
            (1, 6, 6),
        ),
        (
            {"equation": "abc,cd->abd", "output_shape": (None, 4), "bias_axes": "d"},
            (None, None, 6),
            (1, 6, 4),
        ),
        ({"equation": "...x,xy->...y", "output_shape": 5}, (None, 2, 3), (1, 3, 5)),
        ({"equation": "abc,bcd->abd", "output_shape": (7, 3)}, (None, 7, 2), (7, 2, 3)),
        ({"equation": "abc,dc->abd", "output_shape": (7, 3)}, (None, 7, 2), (1, 2, 3)),
        ({"equation": "ab...,bc->ac...", "output_shape": 3}, (None, 4, 6), (1, 4, 3)),
        ({"equation": "abc,dcb->abd", "output_shape": (3, 4)}, (None, 3, 2), (3, 2, 4)),
        ({"equation": "abcd,bdce->acbe", "output_shape": (4, 2, 5)}, (None, 2, 4, 3), (8, 3, 5)),
        ({"equation": "abcd,dec->abe", "output_shape": (2, 5)}, (None, 2, 3, 4), (1, 12, 5)),
        ({"equation": "abc,bcde->adeb", "output_shape": (2, 3, 4)}, (None, 4, 2), (4, 2, 6)),
        ({"equation": "...bc,bcd->...bd", "output_shape": (3, 4)}, (None, 3, 2), (3, 2, 4)),
    ],
    "Conv1D": [({"filters": 4, "kernel_size": 3}, (None, 9, 2), (1, 6, 4))],
    "Conv2D": [
        ({"filters": 4, "kernel_size": (3, 2)}, (None, 9, 9, 2), (1, 12, 4)),
        ({"filters": 6, "kernel_size": 3, "groups": 3}, (None, 9, 9, 9), (3, 27, 2)),
        (
            {"filters": 4, "kernel_size": 3, "data_format": "channels_first", "use_bias": False},
            (None, 2, 9, 8),
            (1, 18, 4),
        ),
    ],
    "Conv3D": [({"filters": 2, "kernel_size": 2}, (None, 4, 4, 4, 3), (1, 24, 2))],
    "Conv1DTranspose": [({"filters": 4, "kernel_size": 3, "strides": 2}, (None, 5, 2), (1, 12, 2))],
    "Conv2DTranspose": [
        ({"filters": 4, "kernel_size": (3, 2)}, (None, 5, 5, 2), (1, 24, 2)),
        (
            {"filters": 2, "kernel_size": 2, "data_format": "channels_first", "use_bias": False},
            (None, 3, 4, 5),
            (1, 8, 3),
        ),
    ],
    "Conv3DTranspose": [({"filters": 2, "kernel_size": 2}, (None, 3, 3, 3, 4), (1, 16, 4))],
    "DepthwiseConv1D": [
        ({"kernel_size": 3, "depth_multiplier": 2}, (None, 7, 4), (4, 3, 2)),
        ({"kernel_size": 4, "use_bias": False}, (None, 7, 3), (3, 4, 1)),
    ],
    "DepthwiseConv2D": [
        ({"kernel_size": (3, 2), "depth_multiplier": 2}, (None, 7, 7, 3), (3, 6, 2)),
        ({"kernel_size": 2, "data_format": "channels_first"}, (None, 3, 5, 4), (3, 4, 1)),
    ],
    "SeparableConv1D": [
        (
            {"filters": 4, "kernel_size": 3, "depth_multiplier": 2},
            (None, 7, 3),
            {"depthwise_kernel": (3, 3, 2), "pointwise_kernel": (1, 6, 4)},
        )
    ],
    "SeparableConv2D": [
        (
            {"filters": 2, "kernel_size": 2, "use_bias": False},
            (None, 5, 5, 3),
            {"depthwise_kernel": (3, 4, 1), "pointwise_kernel": (1, 3, 2)},
        )
    ],
    "Embedding": [({"input_dim": 9, "output_dim": 4}, (None, 5), (1, 9, 4))],
    "ReversibleEmbedding": [
        ({"input_dim": 7, "output_dim": 3}, (None, 4), (1, 7, 3)),
        (
            {"input_dim": 7, "output_dim": 3, "tie_weights": False},
            (None, 4),
            {"embeddings": (1, 7, 3), "reverse_embeddings": (1, 3, 7)},
        ),
    ],
    "MultiHeadAttention": [
        (
            {"num_heads": 2, "key_dim": 3, "value_dim": 2, "output_shape": 4},
            (None, 5, 6),
            {
                "query_dense/kernel": (1, 6, 6),
                "key_dense/kernel": (1, 6, 6),
                "value_dense/kernel": (1, 6, 4),
                "output_dense/kernel": (1, 4, 4),
            },
        ),
        (
            {"num_heads": 2, "key_dim": 2, "use_bias": False, "use_gate": True},
            (None, 3, 4, 5),
            {
                "query_dense/kernel": (1, 5, 4),
                "key_dense/kernel": (1, 5, 4),
                "_gate_dense/kernel": (1, 5, 4),
                "value_dense/kernel": (1, 5, 4),
                "output_dense/kernel": (1, 4, 5),
            },
        ),
    ],
    "GroupQueryAttention": [
        (
            {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2},
            (None, 5, 6),
            {
                "_query_dense/kernel": (1, 6, 12),
                "_key_dense/kernel": (1, 6, 6),
                "_value_dense/kernel": (1, 6, 6),
                "_output_dense/kernel": (1, 12, 6),
            },
        )
    ],
    "SimpleRNN": [({"units": 4}, (None, 5, 3), _cell(3, 4, 4, "cell/"))],
    "SimpleRNNCell": [({"units": 4, "use_bias": False}, (None, 3), _cell(3, 4, 4))],
    "LSTM": [
        ({"units": 3}, (None, 4, 5), _cell(5, 3, 12, "cell/")),
        ({"units": 2, "return_sequences": True}, (None, None, 3), _cell(3, 2, 8, "cell/")),
    ],
    "LSTMCell": [({"units": 3}, (None, 5), _cell(5, 3, 12))],
    "GRU": [
        ({"units": 3}, (None, 4, 5), _cell(5, 3, 9, "cell/")),
        ({"units": 3, "reset_after": False}, (None, 4, 2), _cell(2, 3, 9, "cell/")),
    ],
    "GRUCell": [({"units": 3}, (None, 5), _cell(5, 3, 9))],
    "ConvLSTM1D": [({"filters": 2, "kernel_size": 3}, (None, 3, 5, 2), _cell(6, 6, 8, "cell/"))],
    "ConvLSTM2D": [
        ({"filters": 2, "kernel_size": 2}, (None, 3, 4, 4, 3), _cell(12, 8, 8, "cell/")),
        (
            {"filters": 1, "kernel_size": 2, "data_format": "channels_first"},
            (None, 3, 2, 4, 5),
            _cell(8, 4, 4, "cell/"),
        ),
    ],
    "ConvLSTM3D": [
        (
            {"filters": 1, "kernel_size": 2, "use_bias": False},
            (None, 2, 3, 3, 3, 2),
            _cell(16, 8, 4, "cell/"),
        )
    ],
}
"""Configuration, input shape and the stacks of the kernels; a single one stands for itself."""


def examples_of(name: str) -> list[tuple[dict[str, Any], Shape, Stack]]:
    """Returns the examples of a row; none where there should be some, as a test says by name."""
    return EXAMPLES.get(name, [])
