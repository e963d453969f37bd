"""A second optimizer that the first one's own code builds, which tells what each slot is for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from snconvert.compat.optimizers import trained_by, unbuilt_twin, variables_of
from snconvert.compat.variables import Variable
from snconvert.errors import UnsupportedError

Key = tuple[int | None, str, int]


def purposes_of(optimizer: Any) -> list[Key]:
    """Returns what each slot of an optimizer is for; these are the last of its variables."""
    return built_afresh(optimizer)[1]


def built_afresh(optimizer: Any) -> tuple[Any, list[Key]]:
    """Returns an optimizer that was built for the same variables, and what its slots are for."""
    old = trained_by(optimizer)
    probe, keys = built_twin(optimizer, [], old)
    slots = variables_of(optimizer)[-len(keys) :] if keys else []
    if [(v.shape, v.dtype) for v in slots] != [(v.shape, v.dtype) for v in variables_of(probe)]:
        raise not_extensible(optimizer, "building it anew gives other slots")
    return probe, keys


def built_twin(optimizer: Any, head: Sequence[Any], variables: list[Any]) -> tuple[Any, list[Key]]:
    """Returns an optimizer with the same options, built anew, and what each of its slots is for.

    Args:
        optimizer: A built optimizer; it is not changed.
        head: The variables that it has without being built.
        variables: What to build it for.
    """
    twin = unbuilt_twin(optimizer, head)
    purposes: dict[int, tuple[int | None, str]] = {}
    add = type(optimizer).add_variable_from_reference

    def watched(self: Any, reference_variable: Any, name: Any = None, **options: Any) -> Any:
        variable = add(self, reference_variable, name=name, **options)
        purposes[id(variable)] = (id(reference_variable), name or "")
        return variable

    twin.__dict__["add_variable_from_reference"] = watched.__get__(twin)
    try:
        twin.build(variables)
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        # The optimizer may be anybody's own, with a `build` that does not work on a copy.
        raise not_extensible(optimizer, str(error)) from error
    finally:
        twin.__dict__.pop("add_variable_from_reference", None)
    for purpose, variable in kept_variables(twin):
        purposes.setdefault(id(variable), purpose)
    counts: Counter[Any] = Counter()
    keys: list[Key] = []
    for variable in variables_of(twin)[len(head) :]:
        purpose = purposes.get(id(variable), (None, variable.name))
        keys.append((*purpose, counts[purpose]))
        counts[purpose] += 1
    return twin, keys


def kept_variables(optimizer: Any) -> Iterator[tuple[tuple[int | None, str], Any]]:
    """Yields the variables in an optimizer's attributes, and what each is for."""
    trained = trained_by(optimizer)
    for name, value in vars(optimizer).items():
        if isinstance(value, Variable):
            yield (None, name), value
        elif isinstance(value, list | tuple) and len(value) == len(trained):
            # As Adafactor keeps its factors: by the position of the variable.
            for variable, slot in zip(trained, value, strict=True):
                if isinstance(slot, Variable) and slot is not variable:
                    yield (id(variable), name), slot


def not_extensible(optimizer: Any, why: str) -> UnsupportedError:
    """Returns the error for an optimizer that does not build the same slots once more."""
    return UnsupportedError(
        f"mode gain adds trainable variables, and the state of the optimizer"
        f" {type(optimizer).__name__} cannot be extended: {why}",
        "Use mode hard or cap, or compile the model without an optimizer and again afterwards",
    )
