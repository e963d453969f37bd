"""What is converted, what is not, and why."""

from __future__ import annotations

from typing import Any

import pytest

from snconvert.config.parsing import parse
from snconvert.config.tree import Node
from snconvert.errors import OptionError, SelectionError, UnsupportedError
from snconvert.files.targets import already
from snconvert.kinds.table import RULES
from snconvert.planning.plan import Skip, Step, make_plan, nothing_to_convert
from snconvert.planning.recipe import recipe


def layer(name: str, class_name: str = "Dense", **config: Any) -> dict[str, Any]:
    sizes = {"units": 3} if class_name == "Dense" else {}
    return {
        "module": "keras.layers",
        "class_name": class_name,
        "config": {"name": name, **sizes, **config},
        "registered_name": None,
    }


def tree(*layers: Any) -> Node:
    def model(name: str, entries: tuple[Any, ...]) -> dict[str, Any]:
        config = {"name": name, "layers": list(entries)}
        return {
            "module": "keras",
            "class_name": "Sequential",
            "config": config,
            "registered_name": None,
        }

    encoder = model("encoder", (layer("dense"), layer("conv", "Conv2D"), layer("bn", "ReLU")))
    return parse(model("root", (encoder, *layers)))


def converted(root: Node, **options: Any) -> list[str]:
    return [step.node.path for step in make_plan(root, recipe(**options), RULES, already).steps]


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        ({}, ["encoder/dense", "head", "dense_2"]),
        ({"conv": True}, ["encoder/dense", "encoder/conv", "head", "dense_2"]),
        ({"only": "encoder"}, ["encoder/dense"]),
        ({"only": "*dense*"}, ["encoder/dense", "dense_2"]),
        ({"only": "re:^dense"}, ["dense_2"]),
        ({"exclude": ["head", "encoder/*"]}, ["dense_2"]),
        ({"only": "*dense*", "exclude": "dense_?"}, ["encoder/dense"]),
        ({"select": lambda path, kind: kind == "Dense" and path < "e"}, ["dense_2"]),
    ],
)
def test_selection(options: dict[str, Any], paths: list[str]) -> None:
    """Kinds, patterns and callables select; a pattern on a container holds for what is inside."""
    assert converted(tree(layer("head"), layer("dense_2")), **options) == paths


def test_every_skip_has_a_reason() -> None:
    """What is not converted says why."""
    spectral = layer("done", "SpectralDense") | {"registered_name": "snconvert>SpectralDense"}
    custom = layer("mine", "Block") | {"module": "my", "registered_name": "my>Block"}
    root = tree(layer("head"), spectral, custom)
    plan = make_plan(root, recipe(exclude=["head"]), RULES, already)
    reasons = {o.node.path: o.reason for o in plan.outcomes if isinstance(o, Skip)}
    assert reasons == {
        "encoder/conv": "kind conv is not selected (--conv)",
        "encoder/bn": "no rule for ReLU",
        "head": "excluded by 'head'",
        "done": "spectral already",
        "mine": "opaque: a custom class, carried over untouched (--import my opens it)",
    }


@pytest.mark.parametrize(
    ("module", "named"),
    [("my.net", "my.net"), ("__main__", "MODULE"), ("a; rm -rf", "MODULE"), ("a" * 99, "MODULE")],
)
def test_the_module_of_an_opaque_layer(module: str, named: str) -> None:
    """The hint names the module that the file names, where that can be one."""
    custom = layer("mine", "Block") | {"module": module, "registered_name": "my>Block"}
    (outcome,) = make_plan(tree(custom), recipe(), RULES, already).outcomes[-1:]
    assert isinstance(outcome, Skip)
    assert f"(--import {named} opens it)" in outcome.reason


def test_spectral_with_other_settings() -> None:
    """A converted layer that is asked for with other settings says which it has, and the way."""
    config = {"mode": "cap", "bound": 3.0, "power_iterations": 1}
    spectral = layer("done", "SpectralDense", **config)
    root = tree(spectral | {"registered_name": "snconvert>SpectralDense"})

    def reason(**options: Any) -> str:
        outcomes = make_plan(root, recipe(**options), RULES, already).outcomes
        return next(o.reason for o in outcomes if isinstance(o, Skip) and o.node.path == "done")

    assert reason(mode="cap", bound=3) == "spectral already"
    assert reason(overrides={"done": config}) == "spectral already"
    assert reason(mode="cap", bound=2) == (
        "spectral already, with bound 3.0, not 2.0: `remove` or `bake` it first to change that"
    )
    assert "with mode cap, not hard, bound 3.0, not 1.0:" in reason()
    for options, ways in (({}, 1), (config, 0)):  # the way out is told once
        said = str(nothing_to_convert(make_plan(root, recipe(**options), RULES, already)))
        assert said.count("to change that") == ways
        assert said.count("undoes that") == 1 - ways
    assert "with target layer, not constraint," in reason(target="constraint", mode="cap")
    for looks, options in ((True, {}), (False, {"exclude": "done"}), (False, {"kinds": []})):
        seen = make_plan(root, recipe(**options), RULES, already, lenient=looks).outcomes[-1]
        assert isinstance(seen, Skip)
        assert seen.reason == "spectral already"  # who only looks, or not at it, wants no others


def test_inside_the_builtin_wrapper() -> None:
    """A layer that keras' own SpectralNormalization wraps counts as normalised already, and goes by
    the wrapper's name."""
    wrapper = layer("sn", "SpectralNormalization", layer=layer("dense"), power_iterations=1)
    plan = make_plan(tree(wrapper), recipe(target="keras"), RULES, already)
    (outcome,) = (o for o in plan.outcomes if o.node.path == "sn/dense")
    assert isinstance(outcome, Skip)
    assert (outcome.spectral, outcome.path) == (True, "sn")
    assert outcome.reason == "normalised already by keras' SpectralNormalization"
    outcome = make_plan(tree(wrapper), recipe(), RULES, already).outcomes[-1]
    assert isinstance(outcome, Skip)
    assert outcome.reason.endswith(
        "with target keras, not layer: `remove` or `bake` it first to change that"
    )


PLAIN = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": None}}
INT8 = {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}}


def mapped(default: Any, *others: Any) -> dict[str, Any]:
    """Returns a map of dtype policies."""
    inner = {f"path/{index}": policy for index, policy in enumerate(others)}
    config = {"default_policy": default, "policy_map": inner}
    return {"module": "keras.dtype_policies", "class_name": "DTypePolicyMap", "config": config}


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"lora_rank": 2}, "LoRA"),
        ({"dtype": "int8_from_float32"}, "quantized"),
        ({"dtype": {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}}}, "int8"),
        ({"dtype": {"class_name": "GPTQDTypePolicy", "config": None}}, "GPTQ"),
        ({"dtype": {"config": {"name": "float32"}}}, "a dtype policy of class None"),
        ({"dtype": mapped("float32", INT8)}, "int8"),
        ({"dtype": mapped(INT8)}, "int8"),
        ({"dtype": mapped("int8_from_float32", "float32")}, "int8"),
        ({"quantization_config": {"class_name": "Int4"}}, "quantized"),
    ],
)
def test_quantized_and_lora_layers(config: dict[str, Any], says: str) -> None:
    """A layer that cannot be normalised is skipped with the reason; who gives its very path, and
    does not only look, is told that it cannot be."""
    root = tree(layer("head", **config))
    assert converted(root, exclude="head") == ["encoder/dense"]
    for looks, options in ((True, {"only": "head"}), (False, {"only": "*"}), (False, {})):
        skipped = make_plan(root, recipe(**options), RULES, already, lenient=looks).outcomes[-1]
        assert isinstance(skipped, Skip)
        assert says in skipped.reason
    for options in ({"only": "head"}, {"overrides": {"head": {"bound": 2}}}):
        with pytest.raises(UnsupportedError, match=f"head .*{says}"):
            make_plan(root, recipe(**options), RULES, already)


@pytest.mark.parametrize("policies", [(None, None), ("float32", PLAIN), (PLAIN, "mixed_float16")])
def test_plain_policies_in_a_map(policies: tuple[Any, ...]) -> None:
    """A layer whose policies, of which Keras chooses by its path, are all plain is converted."""
    root = tree(layer("head", dtype=mapped(*policies)))
    assert converted(root) == ["encoder/dense", "head"]


def test_a_pattern_must_match_something() -> None:
    """A pattern that matches nothing lists the layers there are."""
    with pytest.raises(SelectionError, match=r"'hed' matches no layer.*encoder/dense.*head"):
        converted(tree(layer("head")), only="hed")


def test_a_bad_expression() -> None:
    """A broken regular expression is an error of the option."""
    with pytest.raises(OptionError, match="regular expression"):
        converted(tree(), only="re:(")


def test_overrides() -> None:
    """Settings of their own; where several match, the later one wins."""
    root = tree(layer("head"), layer("tail"))
    made = recipe(overrides={"*": {"bound": 2}, "encoder": {"bound": 3, "mode": "cap"}})
    steps = make_plan(root, made, RULES, already).steps
    assert {s.node.path: (s.settings.bound, s.settings.mode) for s in steps} == {
        "encoder/dense": (3.0, "cap"),
        "head": (2.0, "hard"),
        "tail": (2.0, "hard"),
    }


def test_shared_layers_are_converted_once() -> None:
    """The second place of a shared layer is listed, but it is no second step; a pattern that
    matches one of its places holds for the layer."""
    tied = {**layer("tied"), "shared_object_id": 5}
    inner = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "inner", "layers": [dict(tied)]},
        "registered_name": None,
    }
    plan = make_plan(tree(tied, inner), recipe(), RULES, already)
    assert [s.node.path for s in plan.steps] == ["encoder/dense", "tied"]
    assert isinstance(plan.outcomes[-1], Skip)
    assert isinstance(plan.outcomes[0], Step)
    for only in ("tied", "inner/tied", "inner"):
        plan = make_plan(tree(tied, inner), recipe(only=[only]), RULES, already)
        assert [s.node.path for s in plan.steps] == ["tied"]
        plan = make_plan(tree(tied, inner), recipe(exclude=[only]), RULES, already)
        assert [s.node.path for s in plan.steps] == ["encoder/dense"]
