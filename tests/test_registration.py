"""`import snconvert` is light, and yet Keras knows the layers, whichever comes first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from snconvert import layers
from snconvert.layers.constraint import SpectralNorm

# Keras 3.15.1 hands its variables to h5py, which asks numpy 2.4 for them in the new way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def run(script: str, *arguments: object, path: Path | None = None) -> str:
    """Runs a script in a fresh interpreter that fails on warnings; returns what it prints."""
    first = f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else "import sys\n"
    command = [sys.executable, "-c", first + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with a spectral layer and a constraint."""
    path = tmp_path_factory.mktemp("registration") / "model.keras"
    plain = keras.layers.Dense(2, kernel_constraint=SpectralNorm())
    keras.Sequential([keras.Input((3,)), layers.SpectralDense(2), plain]).save(path)
    return path


def test_importing_is_light() -> None:
    """Neither keras nor a backend nor numpy comes with `import snconvert`."""
    run(
        "import snconvert\n"
        "assert not {'keras', 'tensorflow', 'jax', 'torch', 'numpy', 'snconvert.layers'}"
        " & set(sys.modules)\n"
        "import importlib.metadata; assert list(importlib.metadata.distributions())\n"
        "import importlib.util; spec = importlib.util.find_spec('keras')\n"
        "assert spec.origin.endswith('__init__.py') and spec.loader.get_source('keras')\n"
        "assert 'keras' not in sys.modules\n"
    )


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(  # as all tests of layers do
            "import keras, snconvert; load = keras.saving.load_model", marks=pytest.mark.slow
        ),
        pytest.param(
            "import tensorflow as tf, snconvert; load = tf.keras.models.load_model",
            marks=pytest.mark.slow,
        ),
        "import snconvert, tensorflow as tf; load = tf.keras.models.load_model",
    ],
)
def test_a_file_loads(script: str, saved: Path) -> None:
    """A file loads after `import snconvert` in any order with keras and tensorflow, and the finder
    has gone; `import snconvert, keras` is in test_layers."""
    run(
        script + "\n"
        "print(load(sys.argv[1]).layers[0])\n"
        "assert not any(type(f).__module__ == 'snconvert.registration' for f in sys.meta_path)\n"
        "import keras, importlib.resources\n"
        "assert type(keras.__spec__.loader).__module__ != 'snconvert.registration'\n"
        "assert type(keras.__loader__).__module__ != 'snconvert.registration'\n"
        "assert importlib.resources.files('keras').is_dir()\n",
        saved,
    )


FAKE = """
import snconvert
from snconvert import registration
registration._LAYERS, registration._MORE = 'fake_layers', ()
def waiting():
    return any(type(f).__module__ == 'snconvert.registration' for f in sys.meta_path)
"""


def fake(folder: Path, keras_code: str, layers_code: str = "import keras; keras.saw.append(1)\n"):
    """Writes a keras and a module of layers that only leave a trace."""
    (folder / "keras").mkdir()
    (folder / "keras" / "__init__.py").write_text("saw = []\n" + keras_code)
    (folder / "keras" / "part.py").write_text("")
    (folder / "fake_layers.py").write_text(layers_code)
    for i in range(3):
        (folder / f"other_{i}.py").write_text("")


def test_right_after_keras(tmp_path: Path) -> None:
    """The layers are imported once, when keras' own code has run and before `import keras`
    returns; reloading either package changes nothing."""
    fake(tmp_path, "import keras.part\ndone = True\n", "import keras; keras.saw.append(keras.done)")
    script = (
        "assert waiting(); import other_0; assert waiting()\n"
        "import keras.part; assert keras.saw == [True] and not waiting()\n"
        "import importlib; importlib.reload(snconvert); assert not waiting()\n"
        "importlib.reload(keras); import other_1; assert keras.saw == []\n"
    )
    run(FAKE + script, path=tmp_path)


def test_two_finders(tmp_path: Path) -> None:
    """Two copies of the module, each with its finder, do not ask each other for ever."""
    fake(tmp_path, "")
    script = (
        "import importlib\n"
        "importlib.reload(registration)\n"
        "registration._LAYERS, registration._MORE = 'fake_layers', ()\n"
        "registration.install(); registration.install()\n"
        "assert sum('registration' in type(f).__module__ for f in sys.meta_path) == 2\n"
        "import keras, other_0; assert keras.saw == [1] and not waiting()\n"
    )
    run(FAKE + script, path=tmp_path)


def test_keras_that_fails(tmp_path: Path) -> None:
    """When keras cannot be imported its own error is seen, and the next attempt registers."""
    fake(tmp_path, "import os\nif 'OK' not in os.environ: raise ImportError('no backend')\n")
    script = (
        "for i in range(2):\n"
        "    try:\n"
        "        import keras\n"
        "    except ImportError as error:\n"
        "        assert 'no backend' in str(error)\n"
        "    assert waiting() and 'fake_layers' not in sys.modules\n"
        "import os; os.environ['OK'] = '1'\n"
        "import keras; assert keras.saw == [1] and not waiting()\n"
    )
    run(FAKE + script, path=tmp_path)


def test_layers_that_fail(tmp_path: Path) -> None:
    """When the layers cannot be imported, as with Keras 2, `import keras` works, with a warning."""
    fake(tmp_path, "", "raise ImportError('an old keras')\n")
    script = (
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    import keras\n"
        "assert 'an old keras' in str(caught[0].message) and not waiting()\n"
    )
    run(FAKE + script, path=tmp_path)


def test_without_keras(tmp_path: Path) -> None:
    """Where there is no keras, importing it fails as it would without snconvert."""
    script = (
        "sys.modules['keras'] = None\n"
        "snconvert.registration.install()\n"
        "try:\n    import keras\nexcept ModuleNotFoundError:\n    pass\n"
        "else:\n    raise SystemExit(1)\n"
        "del sys.modules['keras']; sys.path = []; sys.path_importer_cache.clear()\n"
        "sys.meta_path = [f for f in sys.meta_path if 'ditable' not in str(f)]\n"
        "try:\n    import keras\nexcept ModuleNotFoundError:\n    pass\n"
        "else:\n    raise SystemExit(1)\n"
    )
    run(FAKE + script, path=tmp_path)


def test_keras_half_imported(tmp_path: Path) -> None:
    """snconvert imported by something that keras imports registers at the next import after, and
    the finder behind ours is not passed over then."""
    fake(
        tmp_path,
        "import snconvert; from snconvert import registration\n"
        "registration._LAYERS, registration._MORE = 'fake_layers', ()\n"
        "import keras.part\n",
    )
    script = (
        "import keras; assert keras.saw == []\n"
        "from importlib.machinery import PathFinder\n"
        "sys.meta_path.remove(PathFinder); sys.meta_path.insert(1, PathFinder)\n"
        "import other_0; assert keras.saw == [1]\n"
        "import other_1, select; assert keras.saw == [1]\n"
        "assert not any(type(f).__module__ == 'snconvert.registration' for f in sys.meta_path)\n"
    )
    run(script, path=tmp_path)


def test_threads(tmp_path: Path) -> None:
    """Threads that import keras or use a layer at the same time all find the layers registered."""
    fake(tmp_path, "import time; time.sleep(0.3)\n")
    script = (
        "import threading, warnings\n"
        "warnings.simplefilter('error')\n"
        "seen = []\n"
        "def first():\n    import keras; seen.append(list(keras.saw))\n"
        "def second():\n    seen.append(list(registration.load_layers().keras.saw))\n"
        "threads = [threading.Thread(target=f) for f in (first, second) * 4]\n"
        "for t in threads: t.start()\n"
        "for t in threads: t.join()\n"
        "assert seen == [[1]] * 8, seen\n"
    )
    run(FAKE + script, path=tmp_path)


def test_the_registered_names() -> None:
    """Each exported layer is registered as `snconvert>{name}` and can be pickled by reference."""
    for name in layers.__all__:
        cls = getattr(layers, name)
        if name.startswith("Spectral") and name != "Spectral":
            assert keras.saving.get_registered_object(f"snconvert>{name}") is cls
            assert (cls.__module__, cls.__qualname__) == ("snconvert.layers", name)
    assert np.isfinite(layers.SpectralDense(2)(np.ones((1, 3)))).all()
