"""Lets `from_preset` of keras-hub know the classes of converted backbones and tasks.

It asks for the class that a configuration is registered under before it loads anything, and goes
by it: whether it fits, and which task belongs to it. Of a converted one that is the user's own
class, `keras_hub.models.BertBackbone`, which stands in the configuration (`saved_owners`).
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from snconvert.config.tree import PATCHED
from snconvert.registration import Finder

_MODULE = "keras_hub.src.utils.preset_utils"


def know_presets() -> None:
    """Does so now if keras-hub is imported, else as soon as it is."""
    module = sys.modules.get(_MODULE)
    if module is not None and hasattr(module, "check_config_class"):
        _teach(module)
    else:
        sys.meta_path.insert(0, _PresetFinder(_MODULE))


class _PresetFinder(Finder):
    """Waits for the module of keras-hub that reads presets."""

    def arrived(self) -> None:
        """Changes the module."""
        _teach(sys.modules[_MODULE])


def _teach(module: Any) -> None:
    original = getattr(module, "check_config_class", None)
    if original is None or hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def check_config_class(config: dict[str, Any]) -> Any:
        if config.get("registered_name") == PATCHED:
            config = config["config"]["object"]
        return original(config)

    module.check_config_class = check_config_class


know_presets()
