"""The configuration of a model that an older Keras saved -> the configuration of Keras 3.

What the keys say decides, not the version, except for `hard_sigmoid` and what a missing key means.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from snconvert.config.versions import is_keras_2, keras_version
from snconvert.errors import SourceError
from snconvert.legacy import objects
from snconvert.legacy import training as compiled
from snconvert.legacy.models import DAMAGED, REPAIR, Translator, damaged, output_count
from snconvert.legacy.objects import Author, Entry

_IN_TENSORFLOW = (2, 4)
"""From this version on, all Keras was part of TensorFlow."""


class Translated(NamedTuple):
    """A configuration in the words of Keras 3.

    Attributes:
        config: The root entry of a `config.json` of Keras 3, with its `compile_config`.
        notes: What the user should know: what means something else now, or does not go over.
    """

    config: dict[str, Any]
    notes: tuple[str, ...] = ()


def translate(config: Any, training: Any = None, version: str | None = None) -> Translated:
    """Translates the configuration of a model.

    Args:
        config: The model's configuration: `model_config` of an HDF5 file, `config.json`, or what
            `model.to_json()` returns; one of Keras 3 passes unchanged.
        training: How it was compiled: `training_config` of an HDF5 file.
        version: The version of Keras that wrote it, where the file says it.

    Raises:
        SourceError: It holds what Keras 3 has no word for, or is damaged.
    """
    try:
        if not isinstance(config, dict):
            raise SourceError(f"the configuration is a {type(config).__name__}", REPAIR)
        author = _author(config, version)
        if not author.keras_2 and "module" in config:
            return Translated(config)
        translator = Translator(author)
        root = translator.root(objects.plain(config))
        notes = translator.notes()
        training = objects.plain(training or config.get("compile_config"))
        if training:
            compile_config, more = compiled.translate(
                training, author, translator.renamed, output_count(root)
            )
            notes += more
            if compile_config is not None:
                root["compile_config"] = compile_config
    except RecursionError as error:
        raise SourceError("the configuration nests too deep", REPAIR) from error
    except DAMAGED as error:
        raise damaged(error) from error
    return Translated(root, tuple(notes))


def _author(config: Entry, version: str | None) -> Author:
    """Returns which Keras wrote a configuration."""
    text = version or config.get("keras_version")
    known = keras_version({"keras_version": text})
    standalone = known is not None and known < _IN_TENSORFLOW and "tf" not in str(text)
    return Author(is_keras_2(version, config), known if standalone else None)
