"""What `--json` prints, checked against the schema that ships with the package."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator


@cache
def schema() -> dict[str, Any]:
    """Returns the shipped schema, which is one of its draft."""
    shipped = json.loads((files("snconvert") / "schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(shipped)
    return shipped


def definition_of(shape: dict[str, Any]) -> str:
    """Returns the name of the definition that an object is meant to fit."""
    verbs = {"verify": "verdict", "rules": "rules"}
    if isinstance(shape.get("skipped"), str):
        return "passed_over"
    return "failure" if "error" in shape else verbs.get(shape["verb"], "report")


def checked(shape: Any) -> dict[str, Any]:
    """Returns an object that the schema describes; `AssertionError` says in what it differs."""
    whole = Draft202012Validator(schema())
    # By the one definition that is meant, as `oneOf` would only say that none fits.
    meant = whole.evolve(
        schema={"$ref": f"#/$defs/{definition_of(shape)}", "$defs": schema()["$defs"]}
    )
    wrong = [f"{error.json_path}: {error.message}" for error in meant.iter_errors(shape)]
    assert not wrong, wrong
    assert whole.is_valid(shape)
    return shape


def lines(stdout: str) -> list[dict[str, Any]]:
    """Returns the objects that a command has printed with `--json`, each checked."""

    def refused(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    return [checked(json.loads(line, parse_constant=refused)) for line in stdout.splitlines()]
