"""The spectrally normalised embeddings."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from snconvert.compat.calls import set_mask
from snconvert.compat.layers import has_layer
from snconvert.kinds.table import RULES
from snconvert.layers.base import Spectral
from snconvert.layers.power_iteration import times
from snconvert.layers.register import register


class SpectralTable(Spectral):
    """The base of the embeddings; listed before the Keras class.

    `sigma` is the largest singular value of the table `W` of shape `(vocabulary, dim)`.
    """

    def build(self, input_shape: Any = None) -> None:
        """Creates the table, then `gamma` and `u`; the shape of the ids does not matter."""
        if not self.built:
            super().build(input_shape)

    def _rows(self, ids: Any, training: bool | None) -> Any:
        """Looks up and scales the rows, which are fewer than those of the table."""
        if keras.backend.standardize_dtype(ids.dtype) not in {"int32", "int64"}:
            ids = ops.cast(ids, "int32")
        rows = ops.take(self.embeddings, ids, axis=0)
        rows = times(rows, self.kernel_scale("embeddings", training))
        return ops.cast(rows, self.compute_dtype)


@register
class SpectralEmbedding(SpectralTable, keras.layers.Embedding):  # type: ignore[misc] # keras has no types
    """A `keras.layers.Embedding` whose table is spectrally normalised.

    Looks up rows of `s(sigma) * W`. `u` has shape `(1, dim)`. Ids stay integers, and masks are
    those of the Keras layer.

    Example:
        >>> import numpy as np
        >>> layer = SpectralEmbedding(100, 8, mask_zero=True)
        >>> tuple(layer(np.array([[3, 7, 0]])).shape), tuple(layer.u.shape)
        ((1, 3, 8), (1, 8))
    """

    rule = RULES["Embedding"]

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Looks up ids of any shape, and returns `(*ids, dim)`."""
        return self._rows(inputs, training)

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:  # noqa: ARG002
        """Returns the output of the Keras layer, whose method takes no `training`."""
        return super().compute_output_spec(inputs)


if has_layer("ReversibleEmbedding"):

    @register
    class SpectralReversibleEmbedding(SpectralTable, keras.layers.ReversibleEmbedding):  # type: ignore[misc] # keras has no types
        """A `keras.layers.ReversibleEmbedding` whose table is spectrally normalised.

        Both directions use `s(sigma) * W`: rows of it are looked up, and `reverse=True` multiplies
        by its transpose; a step that uses both moves `u` twice. `embeddings_u` has shape `(1,
        dim)`. With `tie_weights=False` the table of the reverse direction has its own sigma and
        `reverse_embeddings_u`.

        Example:
            >>> import numpy as np
            >>> layer = SpectralReversibleEmbedding(100, 8)
            >>> hidden = layer(np.array([[3, 7]]))
            >>> tuple(hidden.shape), tuple(layer(hidden, reverse=True).shape)
            ((1, 2, 8), (1, 2, 100))
        """

        rule = RULES["ReversibleEmbedding"]

        def call(self, inputs: Any, reverse: bool = False, training: bool | None = None) -> Any:
            """Looks up ids, or maps `(..., dim)` to `(..., vocabulary)` if `reverse`."""
            if not reverse:
                outputs = self._rows(inputs, training)
                mask = keras.layers.Embedding.compute_mask(self, inputs)
                if mask is not None:
                    set_mask(outputs, mask)
                return outputs
            name = "embeddings" if self.tie_weights else "reverse_embeddings"
            kernel = ops.transpose(self.embeddings) if self.tie_weights else self.reverse_embeddings
            if self.reverse_dtype is not None:
                inputs = ops.cast(inputs, self.reverse_dtype)
                kernel = ops.cast(kernel, self.reverse_dtype)
            logits = times(ops.matmul(inputs, kernel), self.kernel_scale(name, training))
            if self.logit_soft_cap is None:
                return logits
            return ops.multiply(
                ops.tanh(ops.divide(logits, self.logit_soft_cap)), self.logit_soft_cap
            )

        def compute_output_spec(
            self,
            inputs: Any,
            reverse: bool = False,
            training: bool | None = None,  # noqa: ARG002
        ) -> Any:
            """Returns the output of the Keras layer, whose method takes no `training`."""
            return super().compute_output_spec(inputs, reverse=reverse)
