"""Presets of keras-hub, whole and in several files: what comes out is what memory makes of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops
from keras_hub import models

import snconvert
from snconvert.errors import SnconvertError, SourceError

TOKENS = {"token_ids": np.array([[1, 2, 3, 4, 0]]), "padding_mask": np.array([[1, 1, 1, 1, 0]])}
BERT_INPUT = TOKENS | {"segment_ids": np.zeros((1, 5), int)}
IMAGES = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype("float32")
SMALL = {"vocabulary_size": 11, "num_layers": 1, "num_heads": 2, "hidden_dim": 8}
IMPORTS = {"imports": ["keras_hub"]}


def bert() -> keras.Model:
    return models.BertBackbone(**SMALL, intermediate_dim=12, max_sequence_length=6)


def gpt2() -> keras.Model:
    return models.GPT2Backbone(**SMALL, intermediate_dim=12, max_sequence_length=6)


def vit() -> keras.Model:
    return models.ViTBackbone(
        image_shape=(16, 16, 3), patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=12
    )


def resnet() -> keras.Model:
    return models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(16, 16, 3),
    )


def classifier(cls: Any, backbone: keras.Model) -> keras.Model:
    return cls(backbone=backbone, num_classes=3, preprocessor=None)


PRESETS: dict[str, tuple[Any, Any, Any]] = {
    "vit": (vit, models.Backbone, IMAGES),
    "bert": (bert, models.BertBackbone, BERT_INPUT),
    "bert_classifier": (
        lambda: classifier(models.BertTextClassifier, bert()),
        models.TextClassifier,
        BERT_INPUT,
    ),
    "gpt2_lm": (
        lambda: models.GPT2CausalLM(backbone=gpt2(), preprocessor=None),
        models.CausalLM,
        TOKENS,
    ),
    "resnet_classifier": (
        lambda: classifier(models.ResNetImageClassifier, resnet()),
        models.ResNetImageClassifier,
        IMAGES,
    ),
}
"""Each with the class whose `from_preset` loads it, and its inputs."""

SIZES = {"vit": 6e-6, "bert": 1e-6, "gpt2": 1e-6, "resnet": 2e-4}
"""Of a file at most, in GB: so that no array is larger, and there are several files."""

CASES = [(name, size) for name in PRESETS for size in (None, SIZES[name.partition("_")[0]])]


def outputs(model: keras.Model, inputs: Any) -> list[np.ndarray]:
    found = keras.tree.flatten(model(inputs, training=False))
    return [ops.convert_to_numpy(output) for output in found]


def load(cls: Any, folder: Path) -> keras.Model:
    task = issubclass(cls, models.Task)
    return cls.from_preset(str(folder), **({"preprocessor": None} if task else {}))


def assert_same(left: list[np.ndarray], right: list[np.ndarray]) -> None:
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow  # its stand-in: the next but one, and tests/live/folders
@pytest.mark.parametrize(("name", "size"), CASES)
def test_a_preset(name: str, size: float | None, tmp_path: Path) -> None:
    """Converted and loaded by `from_preset`, it is to the bit what `apply` makes of the live model,
    in files of the same names; undone, it is the preset of before."""
    build, cls, inputs = PRESETS[name]
    build().save_to_preset(str(tmp_path / "in"), max_shard_size=size or 10)
    files = sorted(path.name for path in (tmp_path / "in").iterdir())
    assert ("model.weights.json" in files) is (size is not None)
    assert size is None or "model_00001.weights.h5" in files
    report = snconvert.apply_file(tmp_path / "in", tmp_path / "out", kinds="all", **IMPORTS)
    assert report.converted
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == files
    plain, found = load(cls, tmp_path / "in"), load(cls, tmp_path / "out")
    assert isinstance(found, type(plain))
    live = snconvert.apply(plain, kinds="all")
    assert_same(outputs(found, inputs), outputs(live, inputs))
    assert snconvert.inspect(found).converted == 0
    snconvert.remove_file(tmp_path / "out", tmp_path / "back", **IMPORTS)
    for file in files:
        if file.endswith(".json"):
            before, after = ((tmp_path / x / file).read_bytes() for x in ("in", "back"))
            assert after == before or file == "metadata.json"
    assert_same(outputs(load(cls, tmp_path / "back"), inputs), outputs(plain, inputs))
    assert snconvert.verify(tmp_path / "in", tmp_path / "out", **IMPORTS)
    snconvert.bake_file(tmp_path / "out", tmp_path / "baked", **IMPORTS)
    assert snconvert.verify(tmp_path / "out", tmp_path / "baked", **IMPORTS)


@pytest.mark.slow
def test_from_preset_keeps_its_arguments(tmp_path: Path) -> None:
    """A dtype, other heads, and presets that a converted model has saved work as without it."""
    classifier(models.BertTextClassifier, bert()).save_to_preset(str(tmp_path / "in"))
    snconvert.apply_file(tmp_path / "in", tmp_path / "out", **IMPORTS)
    half = models.BertBackbone.from_preset(str(tmp_path / "out"), dtype="bfloat16")
    assert half.pooled_dense.compute_dtype == "bfloat16"
    assert isinstance(half.pooled_dense, snconvert.SpectralDense)
    task = models.TextClassifier.from_preset(str(tmp_path / "out"), num_classes=5, dtype="float16")
    assert task.backbone.pooled_dense.compute_dtype == "float16"
    found = models.BertBackbone.from_preset(str(tmp_path / "out"))
    found.save_to_preset(str(tmp_path / "again"))
    again = models.BertBackbone.from_preset(str(tmp_path / "again"))
    assert_same(outputs(again, BERT_INPUT), outputs(found, BERT_INPUT))


def test_without_and_with_the_flag(tmp_path: Path) -> None:
    """The error names the flag; with it, other files of a preset are carried over, and it loads."""
    vit().save_to_preset(str(tmp_path / "in"))
    (tmp_path / "in" / "assets" / "tokenizer").mkdir(parents=True)
    (tmp_path / "in" / "assets" / "tokenizer" / "vocabulary.txt").write_text("a b")
    (tmp_path / "in" / "tokenizer.json").write_text('{"class_name": "T"}')
    with pytest.raises(SourceError, match=r"keras_hub\b"):
        snconvert.apply_file(tmp_path / "in", tmp_path / "out")
    snconvert.apply_file(tmp_path / "in", tmp_path / "out", **IMPORTS)
    found = models.Backbone.from_preset(str(tmp_path / "out"))
    assert isinstance(found, models.ViTBackbone)
    assert snconvert.inspect(found, kinds="dense").converted == 0
    for name in ("tokenizer.json", "assets/tokenizer/vocabulary.txt"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "in" / name).read_bytes()
    (tmp_path / "in" / "tokenizer.json").write_text('{"module": "os", "class_name": "system"}')
    with pytest.raises(SnconvertError, match=r"`os\.system`"):
        snconvert.apply_file(tmp_path / "in", tmp_path / "other", **IMPORTS)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
@pytest.mark.parametrize("order", ["snconvert, keras_hub", "keras_hub, snconvert"])
def test_the_order_of_imports(order: str, tmp_path: Path) -> None:
    """A converted preset loads whichever of the two is imported first."""
    vit().save_to_preset(str(tmp_path / "in"))
    snconvert.apply_file(tmp_path / "in", tmp_path / "out", kinds="all", **IMPORTS)
    script = f"import sys, {order}; keras_hub.models.Backbone.from_preset(sys.argv[1])"
    command = [sys.executable, "-c", script, str(tmp_path / "out")]
    assert subprocess.run(command, check=False, timeout=120).returncode == 0


def test_the_function_is_there() -> None:
    """Where keras-hub asks for the class of a preset is where it is answered."""
    assert hasattr(keras_hub.src.utils.preset_utils.check_config_class, "__wrapped__")
