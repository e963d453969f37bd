"""The embeddings: a table of rows that ids look up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snconvert.kinds.kernel_rule import Config, Kernel, KernelRule, positive_integers, usual_view


def _table(config: Config) -> tuple[int, int]:
    (vocabulary,) = positive_integers(config, "input_dim", length=1)
    (dim,) = positive_integers(config, "output_dim", length=1)
    return vocabulary, dim


def _variables(config: Config, _: Any) -> Mapping[str, Any]:
    return {"": (_table(config),)}


def _untied(config: Config) -> bool:
    return not config.get("tie_weights", True)


def _reversible_variables(config: Config, _: Any) -> Mapping[str, Any]:
    table = _table(config)
    return {"": (table, table[::-1]) if _untied(config) else (table,)}


ROWS = (
    KernelRule(
        "Embedding",
        "embedding",
        "SpectralEmbedding",
        (Kernel("embeddings", 0, usual_view),),
        _variables,
        "(1, vocabulary, dim)",
    ),
    KernelRule(
        "ReversibleEmbedding",
        "embedding",
        "SpectralReversibleEmbedding",
        (
            Kernel("embeddings", 0, usual_view),
            Kernel("reverse_embeddings", 1, usual_view, present=_untied),
        ),
        _reversible_variables,
        "(1, vocabulary, dim), for both directions; untied (1, dim, vocabulary) for the reverse",
    ),
)
