"""The tree of layers that `config.json` describes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from snconvert.config.parsing import model_root, parse
from snconvert.errors import SourceError


def dense(name: str, **config: Any) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": {"name": name, "units": 3, **config},
        "registered_name": None,
    }


def model(*layers: Any, class_name: str = "Sequential", **entry: Any) -> dict[str, Any]:
    return {
        "module": "keras",
        "class_name": class_name,
        "config": {"name": "root", "layers": list(layers)},
        "registered_name": None,
        **entry,
    }


def nested(name: str, *layers: Any) -> dict[str, Any]:
    entry = model(*layers)
    entry["config"]["name"] = name
    return entry


def test_paths_join_the_names_below_the_root() -> None:
    """A path is the names from the root, the root's own name left out."""
    root = parse(model(nested("encoder", nested("block_1", dense("dense")))))
    assert [node.path for node in root.walk()] == [
        "",
        "encoder",
        "encoder/block_1",
        "encoder/block_1/dense",
    ]


@pytest.mark.keras
def test_layers_without_a_name_get_that_of_keras(tmp_path: Path) -> None:
    """A custom class whose `get_config` returns no name is saved without one."""
    import keras

    @keras.saving.register_keras_serializable("unnamed")
    class BlockOf(keras.layers.Layer):
        def get_config(self) -> dict[str, Any]:
            return {}

    inner = keras.Sequential([BlockOf(), keras.layers.Dense(2, name="block_of_1")], name="inner")
    layers = [BlockOf(), BlockOf(), inner, BlockOf(), keras.layers.Dense(2, name="block_of_4")]
    keras.Sequential([keras.Input((4,)), *layers]).save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        root = parse(json.loads(archive.read("config.json")))
    keras.utils.clear_session()
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [child.name for child in root.children] == [layer.name for layer in loaded.layers]
    assert root.children[2].children[0].path == f"inner/{loaded.layers[2].layers[0].name}"


def test_a_node_carries_its_own_trainable_flag() -> None:
    """Keras hands a flag down when it is set and stores each layer's own; so what lies in a frozen
    part may have been unfrozen since.
    """
    inner = nested("inner", dense("a"))
    inner["config"]["trainable"] = False
    root = parse(model(inner, dense("b"), dense("c", trainable=False)))
    assert {n.path: n.trainable for n in root.walk()} == {
        "": True,
        "inner": False,
        "inner/a": True,
        "b": True,
        "c": False,
    }


def test_shared_objects_are_found() -> None:
    """Entries with one `shared_object_id` are one live layer; the first is named."""
    tied = dense("tied") | {"shared_object_id": 1}
    root = parse(model(nested("one", dict(tied)), nested("two", dict(tied))))
    first, second = (node for node in root.walk() if node.name == "tied")
    assert first.first is None
    assert second.first is first


def test_one_id_on_two_layers() -> None:
    """Keras takes the first object of an id for all its places, so another layer there is refused;
    ids within, which stand in some copies only, do not make another one of it."""
    tied = dense("tied") | {"shared_object_id": 1}
    policy = {"class_name": "DTypePolicy", "config": {"name": "float32"}}
    again = dense("tied", dtype=policy | {"shared_object_id": 2}) | {"shared_object_id": 1}
    parse(model(dense("tied", dtype=policy) | {"shared_object_id": 1}, nested("two", again)))
    conv = dense("tied") | {"shared_object_id": 1, "class_name": "Conv1D"}
    for other in (dense("other") | {"shared_object_id": 1}, again, conv):
        with pytest.raises(SourceError, match=r"two/\w+ \(\w+\): .*the shared_object_id of tied"):
            parse(model(tied, nested("two", other)))


def test_a_container_within_itself() -> None:
    """A container that says that it holds itself is not the one that it holds."""
    inner = nested("inner", dense("a")) | {"shared_object_id": 7}
    outer = nested("outer", inner, dense("c")) | {"shared_object_id": 7}
    with pytest.raises(SourceError, match=r"outer/inner .*shared_object_id of outer"):
        parse(model(outer, dense("d")))


def test_operations_are_no_layers() -> None:
    """`x * 2` in the graph stands among the layers, but is none."""
    multiply = {"module": "keras.src.ops.numpy", "class_name": "Multiply", "config": {}}
    functional = {"class_name": "Functional", "module": "keras.src.models.functional"}
    root = parse(model(dense("a"), multiply, **functional))
    assert [node.name for node in root.children] == ["a"]


def test_custom_classes_stay_closed() -> None:
    """A custom class is a leaf even when its configuration looks like a model's."""
    custom = model(dense("a"), module="my", registered_name="my>Net", class_name="Net")
    custom["config"]["name"] = "net"
    root = parse(model(custom))
    assert [node.path for node in root.walk()] == ["", "net"]
    assert root.children[0].opaque
    assert root.children[0].title == "my>Net"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ([], "list"),
        ("{}", "str"),
        ({"config": {}}, "class_name"),
        ({"class_name": "Sequential", "config": []}, "config"),
        (model(dense("a"), dense("a")), "twice"),
        (model(dense("../x")), "name"),
        (model(dense(7)), "name"),
        (model(dense("")), "name"),
        (model("dense"), "not an object"),
    ],
)
def test_what_is_no_model_is_refused(config: Any, says: str) -> None:
    """Each mistake gets a message that names it."""
    with pytest.raises(SourceError, match=says):
        parse(config)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"module": None, "class_name": "Net", "registered_name": "my>Net"}, "subclassed"),
        ({"module": "keras.layers", "class_name": "Dense", "registered_name": None}, "not a model"),
    ],
)
def test_the_root_must_be_a_model_that_can_be_opened(entry: dict[str, Any], says: str) -> None:
    """Subclassed models and single layers are refused by what they are."""
    with pytest.raises(SourceError, match=says):
        model_root(parse(entry | {"config": {"name": "n"}}))


def test_a_subclassed_model_is_told_of_the_way_out() -> None:
    """Its own package opens it."""
    entry = {"module": None, "class_name": "Net", "registered_name": "my>Net", "config": {}}
    with pytest.raises(SourceError) as caught:
        model_root(parse(entry))
    assert "--import" in caught.value.fix


def test_a_patched_model_goes_by_the_users_class() -> None:
    """Where layers in it are converted, the user's own class is named, and the module of it."""
    own = {"module": "my_net", "class_name": "Net", "registered_name": "my>Net", "config": {}}
    entry = {
        "module": "snconvert.live",
        "class_name": "Net",
        "registered_name": "snconvert>Patched",
        "config": {"name": "net", "object": own, "layers": []},
    }
    assert parse(model(entry)).children[0].title == "my>Net"
    with pytest.raises(SourceError, match=r'^my>Net is a subclassed model.*imports=\["my_net"\],'):
        model_root(parse(entry))


def test_depth_is_no_limit() -> None:
    """A thousand models in each other are walked without recursion."""
    entry: dict[str, Any] = dense("leaf")
    for level in range(1000):
        entry = nested(f"m{level}", entry)
    assert sum(1 for _ in parse(model(entry)).walk()) == 1002


def test_genuine_files_parse(models: Path) -> None:
    """Every genuine archive's configuration gives a tree with the layers of the file."""
    seen = 0
    for path in sorted(models.glob("*.keras")):
        if not zipfile.is_zipfile(path) or path.name.startswith(("k21", "tfk")):
            continue
        config = json.loads(zipfile.ZipFile(path).read("config.json"))
        root = parse(config)
        assert root.children, path.name
        seen += 1
    assert seen > 20
