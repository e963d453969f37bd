"""What people see of the layers: docstrings, signatures, representations, errors."""

from __future__ import annotations

import inspect
import pydoc
from typing import Any, get_args

import keras
import pytest

from snconvert import layers
from snconvert.kinds.table import SPECTRAL
from snconvert.layers.register import register


@pytest.mark.parametrize("name", SPECTRAL)
def test_help(name: str) -> None:
    """`help` of a layer shows the Keras class, shapes, modes, all options and the references, and
    nothing of the text that the layers share is left open."""
    cls: Any = getattr(layers, name)
    text = pydoc.plain(pydoc.render_doc(cls))
    assert f"A `keras.layers.{cls.rule.class_name}` whose" in text
    head, _, tail = inspect.getdoc(cls).partition("\nArgs:\n")
    assert ", " in head.partition("`(")[2].partition(")`")[0], "no shape"
    assert all(f"(`{mode}`)" in head for mode in ("hard", "cap", "gain"))
    names = [*inspect.signature(layers.Spectral.__init__).parameters][1:]
    assert [line.strip().partition(":")[0].strip("*") for line in tail.splitlines()[:6]] == [
        "args",
        *(name for name in names if name not in {"args", "kwargs"}),
        "kwargs",
    ]
    assert f"Those of `keras.layers.{cls.rule.class_name}`" in tail
    assert ">>> layer" in tail.partition("\nExample:\n")[2]
    assert "{" not in cls.__doc__
    references = tail.partition("\nReference:\n")[2]
    assert all(number in references for number in ("1802.05957", "1804.04368", "2303.06296"))


@pytest.mark.parametrize("name", SPECTRAL)
def test_signature(name: str) -> None:
    """It has the arguments of the Keras layer in their places, with their defaults, but for those
    that are refused, and behind them the options of the spectral layers."""
    cls: Any = getattr(layers, name)
    plain: Any = getattr(keras.layers, cls.rule.class_name)
    shown = inspect.signature(cls).parameters
    _, *keras_own, rest = inspect.signature(plain.__init__).parameters.values()
    refused = {"lora_rank", "lora_alpha", "quantization_config", "gptq_unpacked_column_size"}
    positional = [one for one in keras_own if one.name not in refused]
    assert [*shown.values()][: len(positional)] == positional
    options = {"mode": "hard", "bound": 1.0, "power_iterations": 1, "norm": "matrix"}
    assert [*shown][len(positional) :] == [*options, rest.name]
    assert {key: shown[key].default for key in options} == options
    assert all(shown[key].kind is inspect.Parameter.KEYWORD_ONLY for key in options)
    assert set(get_args(shown["mode"].annotation)) == {"hard", "cap", "gain"}


def test_the_signature_is_that_of_the_constructor() -> None:
    """A subclass has it as long as it has no constructor of its own; a layer has that of a call."""

    class Wide(layers.SpectralDense):
        def __init__(self, factor: int = 2, **options: Any) -> None:
            super().__init__(factor * 8, **options)

    class Same(layers.SpectralDense):
        pass

    assert list(inspect.signature(Wide).parameters) == ["factor", "options"]
    assert inspect.signature(Same) == inspect.signature(layers.SpectralDense)
    assert not hasattr(layers.SpectralDense(2), "__signature__")


def test_repr() -> None:
    """A layer shows its name, whether it is built, and how it is normalised."""
    shown = repr(layers.SpectralDense(2, bound=0.5, name="head"))
    assert shown == "<SpectralDense name=head, built=False, mode=hard, bound=0.5>"
    conv = layers.SpectralConv2D(2, 3, mode="gain", norm="operator", name="conv")
    assert repr(conv) == "<SpectralConv2D name=conv, built=False, mode=gain, norm=operator>"
    rnn = layers.SpectralLSTM(2, mode="cap", name="rnn")
    assert str(rnn) == "<SpectralLSTM name=rnn, built=False, mode=cap, bound=1>"


def test_the_summary_shows_the_class() -> None:
    """`model.summary()` names the layer as its plain one, and counts `u` as not trainable."""
    model = keras.Sequential([keras.Input((3,)), layers.SpectralDense(2, name="head")])
    lines: list[str] = []
    model.summary(print_fn=lines.append, line_length=80)
    text = "\n".join(lines)
    assert "head (SpectralDense)" in text
    assert " Trainable params: 8 " in text
    assert " Non-trainable params: 2 " in text


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("modee", "mode"), ("power_iteration", "power_iter"), ("activatio", "activation")],
)
def test_a_misspelt_option(wrong: str, meant: str) -> None:
    """The error suggests the option; of other arguments it is Keras' own."""
    with pytest.raises(
        ValueError, match=rf"no argument '{wrong}'\. Did you mean {meant}"
    ) as caught:
        layers.SpectralDense(2, **{wrong: 1})
    assert type(caught.value) is layers.LayerOptionError
    with pytest.raises(ValueError, match=r"Unrecognized keyword arguments.*'fish'"):
        layers.SpectralDense(2, fish=1)
    with pytest.raises(ValueError, match="units") as caught:
        layers.SpectralDense(-2)
    assert type(caught.value) is ValueError


def test_without_docstrings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes without docstrings, as `python -OO` leaves them, are registered as they are."""
    monkeypatch.setattr(keras.saving, "register_keras_serializable", lambda _: lambda cls: cls)
    cls = type("SpectralPlain", (layers.SpectralDense,), {"__doc__": None})
    assert register(cls).__doc__ is None
    assert cls.__module__ == "snconvert.layers"
