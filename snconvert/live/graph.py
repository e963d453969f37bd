"""The graph of a live model, for the report page."""

from __future__ import annotations

import json

from snconvert.config.parsing import parse
from snconvert.core.graph import Graph
from snconvert.errors import SourceError
from snconvert.live.internals.walk import Layer, has_graph
from snconvert.page import model_graph


def graph_of(model: Layer) -> Graph | None:
    """Returns the layers of a Functional or Sequential model and which feeds which.

    Args:
        model: A live model.

    Returns:
        The graph; `None` of a model without one, or one that Keras cannot serialise.
    """
    if not has_graph(model):
        return None
    try:
        return model_graph.graph_of(parse(json.loads(model.to_json())))
    except SourceError:
        return None
    except Exception:  # noqa: BLE001 - `get_config` is code of other people; the page does without
        return None
