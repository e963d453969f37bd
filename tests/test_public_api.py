"""The names that users rely on."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module

import pytest

import snconvert
from snconvert import live
from snconvert.core.public_names import HOME
from snconvert.kinds.table import RULES


def test_names() -> None:
    """The public names, neither more nor fewer."""
    assert sorted(HOME) == [
        "Change",
        "Difference",
        "Kernel",
        "KernelRule",
        "LayerReport",
        "MatrixView",
        "Progress",
        "RULES",
        "Recipe",
        "Report",
        "Settings",
        "SigmaMonitor",
        "SnconvertError",
        "SnconvertWarning",
        "SpectralConv1D",
        "SpectralConv1DTranspose",
        "SpectralConv2D",
        "SpectralConv2DTranspose",
        "SpectralConv3D",
        "SpectralConv3DTranspose",
        "SpectralConvLSTM1D",
        "SpectralConvLSTM2D",
        "SpectralConvLSTM3D",
        "SpectralDense",
        "SpectralDepthwiseConv1D",
        "SpectralDepthwiseConv2D",
        "SpectralEinsumDense",
        "SpectralEmbedding",
        "SpectralGRU",
        "SpectralGRUCell",
        "SpectralGroupQueryAttention",
        "SpectralLSTM",
        "SpectralLSTMCell",
        "SpectralMultiHeadAttention",
        "SpectralProjection",
        "SpectralReversibleEmbedding",
        "SpectralSeparableConv1D",
        "SpectralSeparableConv2D",
        "SpectralSimpleRNN",
        "SpectralSimpleRNNCell",
        "Verdict",
        "__version__",
        "apply",
        "apply_file",
        "bake",
        "bake_file",
        "converge",
        "inspect",
        "load_plain_weights",
        "plan",
        "project",
        "remove",
        "remove_file",
        "spectral_norm",
        "upgrade_file",
        "verify",
    ]


@pytest.mark.keras
@pytest.mark.parametrize("name", HOME)
def test_every_name_is_there(name: str) -> None:
    """Every public name resolves, and what can have a docstring has one."""
    value = getattr(snconvert, name)
    assert name in dir(snconvert)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value)


def test_only_public_names_are_listed() -> None:
    """`dir` and completion show what users are to use, whatever has been imported."""
    import_module("snconvert.files.convert")
    faces = {"activations", "constraints", "layers"}
    assert set(dir(snconvert)) == set(HOME) | faces
    for name in ("Any", "TYPE_CHECKING", "import_module", "annotations", "files", "core"):
        assert name not in dir(snconvert)


@pytest.mark.keras
def test_a_star_takes_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """All names, but for a layer that the installed Keras lacks."""
    assert set(snconvert.__all__) == set(HOME)
    monkeypatch.delattr(snconvert.layers, "SpectralReversibleEmbedding")
    names: dict[str, object] = {}
    exec("from snconvert import *", names)  # noqa: S102 -- it stands at the top of a module only
    assert set(HOME) - set(names) == {"SpectralReversibleEmbedding"}


def test_editors_know_every_name() -> None:
    """Type checkers and editors are told of the names where the package looks for them."""
    source = inspect.getsource(snconvert)
    (block,) = (node for node in ast.parse(source).body if isinstance(node, ast.If))
    told = {
        alias.asname: str(node.module).removeprefix("snconvert.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for name, home in (HOME | told).items():
        line = f"    from snconvert.{home} import {name} as {name}"
        assert told.get(name) == home, f"add to snconvert/__init__.py, in its first block:\n{line}"
        line = f'    "{name}": "{home}",'
        assert HOME.get(name) == home, f"add to snconvert/core/public_names.py:\n{line}"


@pytest.mark.keras
def test_every_rule_has_its_layer() -> None:
    """A new row needs its class in `snconvert.layers` and its name in `snconvert`."""
    for rule in RULES.values():
        assert hasattr(snconvert, rule.spectral_class), (
            f"add {rule.spectral_class} to snconvert/layers/__init__.py, snconvert/__init__.py and"
            " core/public_names.py"
        )


def test_the_ways_back_are_called_alike() -> None:
    """`bake` and `remove` take the same arguments, of models and of files."""
    for name in ("", "_file"):
        bake, remove = (getattr(snconvert, f"{verb}{name}") for verb in ("bake", "remove"))
        assert inspect.signature(bake) == inspect.signature(remove)


def test_unknown_names() -> None:
    """A name that is not there is an AttributeError."""
    for module in (snconvert, live):
        with pytest.raises(AttributeError, match="has no attribute 'aply'"):
            _ = module.aply


def test_live_has_the_functions_on_models() -> None:
    """Who imports them from `snconvert.live` gets the same; those on files are not there."""
    for name in ("apply", "bake", "converge", "load_plain_weights", "plan", "project", "remove"):
        assert getattr(live, name) is getattr(snconvert, name)
    assert live.inspect is import_module("snconvert.live.convert").inspect
    assert not hasattr(live, "apply_file")
