"""What each value of an option means: once for `--help`, topics, completion and the manual."""

from __future__ import annotations

from collections.abc import Mapping

VALUES: Mapping[str, Mapping[str, str]] = {
    "kinds": {
        "dense": "Dense and EinsumDense",
        "conv": "convolutions of 1 to 3 dimensions, transposed, depthwise, separable",
        "attention": "the projections of MultiHeadAttention and GroupQueryAttention",
        "recurrent": "LSTM, GRU, SimpleRNN, their cells, and ConvLSTM",
        "embedding": "Embedding and ReversibleEmbedding",
        "all": "all of these",
    },
    "mode": {
        "hard": "the norm becomes the bound: W * bound / sigma (default; for GANs)",
        "cap": "a norm above the bound becomes the bound, times min(1, bound / sigma) (SNGP)",
        "gain": "the norm is trained and starts as it is: no output changes (transformers)",
    },
    "norm": {
        "matrix": "that of the kernel as a matrix, as in Keras and PyTorch (default)",
        "operator": "that of the layer as a linear map: larger for convolutions, and slower",
    },
    "target": {
        "layer": "a layer of this package, such as SpectralDense (default)",
        "keras": "Keras' own SpectralNormalization, which loads without snconvert; hard, bound 1",
        "constraint": "the same layer with a kernel_constraint; hard or cap",
    },
}
"""Option -> value -> what it means, in words that go behind a colon."""


def described(option: str) -> str:
    """Returns the values of an option with their meanings, a paragraph each."""
    return "\n\n".join(f"{value}: {meaning}." for value, meaning in VALUES[option].items())
