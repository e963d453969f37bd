"""Backbones and tasks of keras-hub: subclassed Functional models that other people wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

import snconvert

TOKENS = {"token_ids": np.array([[1, 2, 3, 4, 0]]), "padding_mask": np.array([[1, 1, 1, 1, 0]])}
IMAGES = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype("float32")
PROMPT = {key: np.array([[*row[:3], 0, 0, 0]]) for key, (row,) in TOKENS.items()}


def gemma() -> keras.Model:
    return keras_hub.models.GemmaBackbone(
        vocabulary_size=11,
        num_layers=1,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=8,
        intermediate_dim=12,
        head_dim=4,
    )


def bert() -> keras.Model:
    return keras_hub.models.BertBackbone(
        vocabulary_size=11, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=12
    )


def vit() -> keras.Model:
    return keras_hub.models.ViTBackbone(
        image_shape=(16, 16, 3), patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=12
    )


def resnet() -> keras.Model:
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(16, 16, 3),
    )


BACKBONES: dict[str, tuple[Callable[[], keras.Model], Any, int]] = {
    "gemma": (gemma, TOKENS, 1 + 4 + 3),
    "bert": (bert, TOKENS | {"segment_ids": np.zeros((1, 5), int)}, 2 + 1 + 2 + 1),
    "vit": (vit, IMAGES, 1 + 1 + 1 + 2),
    "resnet": (resnet, IMAGES, 1 + 2),
}
"""Each with its inputs, and how many of its layers are converted, by what keras-hub builds.

Gemma: an embedding, four projections, three Dense. BERT: tokens and segments (its positions are of
a kind of their own), an attention, two Dense, the pooler. ViT: patches, positions, an attention,
two Dense. ResNet: the stem and one block.
"""


def outputs(model: keras.Model, inputs: Any) -> list[np.ndarray]:
    found = keras.tree.flatten(model(inputs, training=False))
    return [ops.convert_to_numpy(output) for output in found]


def assert_close(left: list[np.ndarray], right: list[np.ndarray], rtol: float) -> None:
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(a).max())


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones(name: str, tmp_path: Path) -> None:
    """Every layer with a rule is converted; the class stays, no output changes with `gain`, the
    original is left alone, and what was trained is what comes back from the file."""
    build, inputs, count = BACKBONES[name]
    model = build()
    before = outputs(model, inputs)
    assert snconvert.plan(model, kinds="all").converted == count
    patched = snconvert.apply(model, kinds="all", mode="gain")
    assert type(patched).__name__ == type(model).__name__
    assert isinstance(patched, type(model))
    assert_close(before, outputs(patched, inputs), 1e-5)
    patched.compile("sgd", "mse", run_eagerly=True)
    zeros = keras.tree.map_structure(np.zeros_like, patched(inputs))
    patched.train_on_batch(inputs, zeros)
    trained = outputs(patched, inputs)
    assert any((old != new).any() for old, new in zip(before, trained, strict=True))
    assert all((old == new).all() for old, new in zip(before, outputs(model, inputs), strict=True))
    patched.save(tmp_path / "patched.keras")
    loaded = keras.saving.load_model(tmp_path / "patched.keras")
    assert isinstance(loaded, type(model))
    assert snconvert.inspect(loaded).converted == 0
    assert_close(trained, outputs(loaded, inputs), 1e-6)


def test_files(tmp_path: Path) -> None:
    """A backbone's file names the flag that opens it, and with that flag it is converted."""
    model = vit()
    model.save(tmp_path / "plain.keras")
    with pytest.raises(snconvert.SnconvertError, match="imports="):
        snconvert.apply_file(tmp_path / "plain.keras")
    snconvert.apply_file(
        tmp_path / "plain.keras",
        tmp_path / "out.keras",
        imports=["keras_hub"],
        kinds="all",
        mode="gain",
    )
    loaded = keras.saving.load_model(tmp_path / "out.keras")
    assert_close(outputs(model, IMAGES), outputs(loaded, IMAGES), 1e-5)


def test_a_task_generates(tmp_path: Path) -> None:
    """A language model generates the same text after `gain`, and after a save and a load."""
    task = keras_hub.models.GemmaCausalLM(backbone=gemma(), preprocessor=None)
    patched = snconvert.apply(task, kinds="all", mode="gain")
    patched.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras", compile=False)
    texts = []
    for model in (task, patched, loaded):
        model.compile(sampler="greedy", run_eagerly=True)
        texts.append(model.generate(PROMPT, stop_token_ids=None)["token_ids"].tolist())
    assert texts[0] != PROMPT["token_ids"].tolist()
    assert texts[0] == texts[1] == texts[2]
