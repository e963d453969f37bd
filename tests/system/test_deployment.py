"""Converted and baked models, exported: SavedModel, ONNX, LiteRT, int8."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deployed
import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
import warm
from places import ROOT, SUPPORT

import snconvert

# Warnings of the exporters about themselves; nothing here can change that.
pytestmark = [
    pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning"),
]
X = deployed.inputs()
EXTENTS = pytest.mark.parametrize("extent", ["quick", pytest.param("slow", marks=pytest.mark.slow)])
"""`quick`: layers of every kind, some under the operator norm, and fewer of them where most is the
work of Keras, baked models among them; `slow`: every kind there, too, and all under the operator
norm."""


def variants(
    model: keras.Model, extent: str, **options: Any
) -> Iterator[tuple[keras.Model, list[np.ndarray]]]:
    """Yields a converted model and what baking gives, of a smaller one if it is to be quick, each
    with the outputs of the converted one."""
    yield model, deployed.outputs(model, X)
    source = deployed.patched(few=True, **options) if extent == "quick" else model
    yield snconvert.bake(source), deployed.outputs(source, X)


def in_process(code: str, *arguments: object, **environment: str) -> str:
    """Runs code in a process of its own, and returns what it prints."""
    result = warm.run(
        [sys.executable, "-c", code, *arguments],
        modules=() if environment else warm.TENSORFLOW,
        env=os.environ | environment | {"PYTHONPATH": str(SUPPORT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def onnx(path: Path, x: list[np.ndarray]) -> list[np.ndarray]:
    """Returns what onnxruntime computes."""
    session = onnxruntime.InferenceSession(path)
    found: list[np.ndarray] = session.run(
        None, {value.name: array for value, array in zip(session.get_inputs(), x, strict=True)}
    )
    return found


@EXTENTS
def test_saved_model(extent: str, tmp_path: Path) -> None:
    """SavedModels of converted layers of every kind, under either norm, of the other targets and of
    the baked model give, in a process that knows TensorFlow alone, for another batch size too, what
    the Keras model gives."""
    x = deployed.inputs(3)
    few = extent == "quick"
    made = {
        "patched": deployed.patched(norm=None if few else "operator"),
        "constraint": deployed.stepped(target="constraint", bound=0.5, few=few),
        "keras": deployed.stepped(target="keras", few=few),
    }
    expected = {name: deployed.outputs(model, x) for name, model in made.items()}
    source = deployed.patched(few=True) if few else made["patched"]
    made["baked"], expected["baked"] = snconvert.bake(source), deployed.outputs(source, x)
    for name, model in made.items():
        model.export(tmp_path / name, verbose=False)
    np.savez(tmp_path / "x.npz", *x)
    in_process(
        "import sys\n"
        "sys.modules.update(keras=None, snconvert=None)\n"  # as if they were not installed
        "import numpy as np, tensorflow as tf\n"
        "x = [tf.constant(array) for array in np.load(sys.argv[1] + '/x.npz').values()]\n"
        "for name in sys.argv[2:]:\n"
        "    served = tf.saved_model.load(f'{sys.argv[1]}/{name}')\n"
        "    np.savez(f'{sys.argv[1]}/{name}.npz', *served.serve(x))\n",
        tmp_path,
        *made,
    )
    for name, values in expected.items():
        deployed.check(list(np.load(tmp_path / f"{name}.npz").values()), values)


@EXTENTS
def test_onnx(extent: str, tmp_path: Path) -> None:
    """ONNX files of a converted file with layers of every kind, under either norm, and of the baked
    model give in onnxruntime what the Keras model gives; convolutions in groups are another
    test's."""
    norm = None if extent == "quick" else "operator"
    model = deployed.patched(tmp_path, grouped=False, norm=norm)
    for variant, expected in variants(model, extent, grouped=False):
        path = tmp_path / "model.onnx"
        variant.export(path, format="onnx", verbose=False)
        deployed.check(onnx(path, X), expected)


def test_onnx_of_groups(tmp_path: Path) -> None:
    """On TensorFlow Keras puts convolutions in groups into a function that ONNX has no operator
    for, be they plain or converted; on PyTorch they export, converted and baked, and the
    parameters that PyTorch knows of a model are the variables that Keras knows."""
    plain = keras.Sequential([keras.Input((6, 6, 4)), keras.layers.Conv2D(6, 3, groups=2)])
    for name, model in (("plain", plain), ("patched", snconvert.apply(plain, conv=True))):
        model(X[0])
        model.export(tmp_path / f"{name}.onnx", format="onnx", verbose=False)
        with pytest.raises(Exception, match="PartitionedCall"):
            onnxruntime.InferenceSession(tmp_path / f"{name}.onnx")
    in_process(
        "import sys, warnings, keras, live_models, numpy as np, onnxruntime, snconvert\n"
        "sys.modules['tensorflow'] = None\n"  # Keras would import it, for seconds
        "warnings.simplefilter('ignore')\n"
        "def agree(model):\n"
        "    found = {id(parameter) for parameter in model.parameters()}\n"
        "    assert found == {id(variable.value) for variable in model.variables}\n"
        "x = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype('float32')\n"
        "plain = keras.Sequential([keras.Input((6, 6, 4)),"
        " keras.layers.Conv2D(6, 3, groups=2), keras.layers.Flatten(), keras.layers.Dense(3)])\n"
        "for mode in ('hard', 'cap', 'gain'):\n"
        "    patched = snconvert.apply(plain, conv=True, mode=mode, bound=0.5)\n"
        "    for model in (patched, snconvert.bake(patched))[: 1 + (mode == 'gain')]:\n"
        "        agree(model)\n"
        "        expected = model(x).detach().numpy()\n"
        "        path = sys.argv[1] + '/torch.onnx'\n"
        "        model.export(path, format='onnx', verbose=False)\n"
        "        session = onnxruntime.InferenceSession(path)\n"
        "        (found,) = session.run(None, {session.get_inputs()[0].name: x})\n"
        "        np.testing.assert_allclose(found, expected, atol=2e-6)\n"
        "block = keras.Sequential([keras.Input((6,)), live_models.Block(6)])\n"
        "snconvert.apply(block, mode='gain', in_place=True)\n"
        "agree(block)\n"
        "block.save(sys.argv[1] + '/block.keras')\n"
        "agree(keras.saving.load_model(sys.argv[1] + '/block.keras'))\n",
        tmp_path,
        KERAS_BACKEND="torch",
    )


@EXTENTS
def test_litert(extent: str, tmp_path: Path) -> None:
    """LiteRT files of converted layers of every kind, under either norm, and of the baked model
    give in the interpreter what the Keras model gives, with recurrent layers unrolled."""
    model = deployed.patched(unroll=True, norm=None if extent == "quick" else "operator")
    for variant, expected in variants(model, extent, unroll=True):
        path = str(tmp_path / "model.tflite")
        variant.export(path, format="litert", verbose=False)
        interpreter = tf.lite.Interpreter(model_path=path)
        found = interpreter.get_signature_runner()(**dict(zip(deployed.SHAPES, X, strict=True)))
        deployed.check([found[f"output_{i}"] for i in range(len(found))], expected)


def test_litert_of_loops(tmp_path: Path) -> None:
    """Keras exports the loop of a recurrent layer to LiteRT, plain or converted, with operators of
    TensorFlow that the interpreter has not."""
    plain = keras.Sequential([keras.Input((5, 4)), keras.layers.LSTM(3)])
    for model in (plain, snconvert.apply(plain, kinds="all")):
        model(X[1])
        model.export(str(tmp_path / "loop.tflite"), format="litert", verbose=False)
        interpreter = tf.lite.Interpreter(model_path=str(tmp_path / "loop.tflite"))
        with pytest.raises(RuntimeError, match="Select TensorFlow op"):
            interpreter.allocate_tensors()


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
@EXTENTS
def test_int8(extent: str) -> None:
    """A baked model quantizes as the plain model with the effective kernels does, bit for bit, and
    its outputs stay within 2 % of their size; a converted one stays as it is."""
    few = extent == "quick"
    model = deployed.patched(few=few)
    expected = deployed.outputs(model, X)
    baked = snconvert.bake(model)
    twin = deployed.build(few=few)
    twin.set_weights(baked.get_weights())
    with pytest.warns(UserWarning, match="quantization needs a plain kernel"):
        model.quantize("int8")
    for plain in (baked, twin):
        plain.quantize("int8")
    for one, other in zip(deployed.outputs(model, X), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    found = deployed.outputs(baked, X)
    assert baked.get_layer("dense_gain").kernel.dtype == "int8"
    assert any((one != other).any() for one, other in zip(found, expected, strict=True))
    for one, other, plain in zip(found, expected, deployed.outputs(twin, X), strict=True):
        np.testing.assert_array_equal(one, plain)
        np.testing.assert_allclose(one, other, rtol=0, atol=0.02 * np.abs(other).max())
