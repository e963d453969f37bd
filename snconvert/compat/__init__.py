"""What is private to Keras, and to the backends below it: a function or a name each.

No other module names a private module or attribute of Keras, so that a new version of it is a
matter of this package. The docstrings say where versions differ; `docs/versions.md` says what
was run. What a version lacks is left out with it, by looking for it, not at the version's number.
"""

from importlib import import_module

import keras

from snconvert.errors import UnsupportedError


class KerasVersionError(UnsupportedError, ImportError):
    """The Keras that is installed is too old for the layers; callers catch `ImportError`."""


try:
    import_module("keras.src.backend.common.masking")  # the last of what is needed to come
except ImportError as error:
    raise KerasVersionError(
        f"the layers and live models need Keras 3.6 or newer, and Keras {keras.__version__} is"
        " installed",
        "Install it with `pip install --upgrade keras`; files are converted with any Keras or none",
    ) from error
