"""The Lipschitz bound of live models, by the file that Keras writes of them, and from below."""

from __future__ import annotations

import os
import tempfile

from snconvert.core.network_bound import NetworkBound
from snconvert.errors import SnconvertError, UnsupportedError
from snconvert.files.lipschitz import bound_of
from snconvert.files.model import describe, open_source, open_weights
from snconvert.kinds.table import table
from snconvert.live.internals.saved_owners import holds_its_layers, original_class
from snconvert.live.internals.walk import Layer
from snconvert.live.loading import load, save
from snconvert.live.lower_bound import lower_bound


def bound_of_model(model: Layer, samples: int) -> NetworkBound:
    """Returns the certified bound of a live model.

    Args:
        model: A Functional or Sequential model.
        samples: At how many points a lower bound is looked for; 0: none is.

    Raises:
        UnsupportedError: Its graph stands in code alone.
        SnconvertError: It cannot be saved, or its network is too large.
    """
    if not holds_its_layers(model):
        raise UnsupportedError(
            f"what the network of a {original_class(model).__name__} computes stands in its code"
            " alone, so that it has no bound",
            "Leave out lipschitz, or build the model as a Functional or Sequential one",
        )
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        save(model, path)
        try:
            with open_source("inspect", path, None) as (opened, worker):
                bound = bound_of(open_weights(describe(opened), table(()), worker))
        except SnconvertError as error:
            error.file = None  # a name that nobody knows
            raise
    return with_lower_bound(bound, model, samples)


def with_lower_bound(bound: NetworkBound, model: Layer | str, samples: int) -> NetworkBound:
    """Returns a bound with what is found from below on the true model.

    Args:
        bound: The certified bound.
        model: The model, or its file.
        samples: At how many points to look; 0: none.

    Raises:
        SnconvertError: Keras cannot load the file.
    """
    if not samples:
        return bound
    live = load(model)[0] if isinstance(model, str) else model
    return bound._replace(lower=lower_bound(live, samples), samples=samples)
