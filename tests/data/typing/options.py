"""What a type checker says of options: a line with `wrong` is an error, any other is not."""

from pathlib import Path
from typing import Literal, assert_type

import snconvert
from snconvert.recipe import recipe


class Model:
    """A model, for checkers that know no keras."""


def choose(path: str, class_name: str) -> bool:
    return path == class_name


def narrow(path: str) -> bool:
    return bool(path)


model, file, mode = Model(), Path("model.keras"), "hard"
kinds: list[Literal["dense", "conv"]] = ["dense"]

assert_type(snconvert.apply(model), Model)
assert_type(snconvert.apply(model, in_place=True, mode="cap", bound=2, conv=True), Model)
assert_type(snconvert.bake(model, exclude=["head"]), Model)
assert_type(snconvert.remove(model, only="re:x"), Model)
assert_type(snconvert.apply_file(file, kinds="all", html="report.html"), snconvert.Report)
assert_type(snconvert.plan(model, kinds=["dense", "conv"], select=choose), snconvert.Report)
assert_type(snconvert.inspect(file, lipschitz=True, samples=3, norm="operator"), snconvert.Report)
assert_type(recipe("a.toml", overrides={"head": {"bound": 2.0}}), snconvert.Recipe)
snconvert.project(model, mode="cap", power_iterations=2, kinds=kinds)
snconvert.bake_file(file, config="config.json", imports=["my_net"], force=True)
snconvert.upgrade_file(file, config=Path("config.json"))
snconvert.apply(model, mode=None, recipe_file="a.toml")

snconvert.apply(model, modee="hard")  # wrong
snconvert.apply(model, kind=3)  # wrong
snconvert.apply(model, mode="soft")  # wrong
snconvert.apply(model, bound="2")  # wrong
snconvert.apply(model, kinds=["dense", "cnv"])  # wrong
snconvert.apply(model, html="report.html")  # wrong
snconvert.apply(model, select=narrow)  # wrong
snconvert.plan(model, target="wrapper")  # wrong
snconvert.inspect(model, lipschitz=0.5)  # wrong
snconvert.apply_file(file, lipschitz="1")  # wrong
snconvert.apply_file(file, forse=True)  # wrong
snconvert.apply_file(file, overrides={"head": {"boud": 2.0}})  # wrong
snconvert.bake(model, mode="hard")  # wrong
snconvert.remove_file(file, conv=True)  # wrong
snconvert.upgrade_file(file, in_place=True)  # wrong
snconvert.verify(file, file, importss=())  # wrong
snconvert.project(model, mode="gain")  # wrong
recipe(norm="frobenius")  # wrong
snconvert.SpectralProjection(boun=2)  # wrong
snconvert.SpectralDense(3, mode="soft")  # wrong
