"""Registers the layers with Keras as soon as it is there, without importing it.

Keras opens a file's custom class only when it is registered by name. `import snconvert` must be
enough for that, before or after `import keras`, and yet import neither keras nor a backend. So, if
keras is not there yet, a finder waits at the front of `sys.meta_path`; it lets the finders
behind it find keras, has the layers imported right after keras' own code has run, and goes.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader
else:
    Loader = object  # importlib.abc imports a great deal, and adds nothing that is needed here

_LAYERS = "snconvert.layers"
_MORE = (
    "snconvert.activations",  # first, as it does with an older Keras too
    "snconvert.constraints",
    "snconvert.live.internals.saved_owners",  # how owners of converted layers are saved
    "snconvert.live.folders.presets",
)


def install() -> None:
    """Registers the layers now if keras is imported, else as soon as it is."""
    if _is_ready("keras"):
        _register()
    elif _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def load_layers() -> ModuleType:
    """Imports keras, then the layers.

    In this order: a thread that held the layers' import lock while it waits for keras would stop
    another one, which has just imported keras, from registering them.
    """
    importlib.import_module("keras")
    for name in _MORE:
        importlib.import_module(name)
    return importlib.import_module(_LAYERS)


def _is_ready(name: str) -> bool:
    """Whether a module is imported, and not just being imported."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    return module is not None and not getattr(spec, "_initializing", False)


def _register() -> None:
    try:
        for name in (*_MORE, _LAYERS):
            importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 -- `import keras` must not fail for our sake
        warnings.warn(
            "snconvert could not register its layers with keras; see `import snconvert.layers`:"
            f" {type(error).__name__}: {error}",
            RuntimeWarning,
            stacklevel=2,
        )


class Finder:
    """Waits for a module, at the front of the finders.

    Args:
        name: Its name.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def arrived(self) -> None:
        """Is called once, when the module's own code has run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds the module by the finders behind, with a loader that tells when it has run."""
        if _is_ready(self.name):
            # It was being imported already when it began to wait, or came in another way.
            self.leave()
            self.arrived()
        elif fullname == self.name:
            finders = sys.meta_path
            for finder in finders[finders.index(self) + 1 :] if self in finders else ():
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    if spec.loader is not None:
                        spec.loader = _Loader(spec.loader, self)
                    return spec
        return None

    def leave(self) -> None:
        """Takes the finder out of the list of finders.

        The list is replaced, as the import that asks the finder is iterating over the old one.
        """
        sys.meta_path = [finder for finder in sys.meta_path if finder is not self]


class _Loader(Loader):
    """Loads a module with the loader it stands for, then tells the finder."""

    def __init__(self, loader: Any, finder: Finder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        # Whoever asks the module for its loader, as importlib.resources does, gets the real one.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._finder.leave()
        self._finder.arrived()


class _KerasFinder(Finder):
    """Waits for keras."""

    def arrived(self) -> None:
        """Registers the layers."""
        _register()


_FINDER = _KerasFinder("keras")
