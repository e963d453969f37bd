"""The result of a comparison of two models."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

from snconvert.core.magnitude import Magnitude
from snconvert.display import SCHEMA, html_of, oriented, pretty, text_of
from snconvert.errors import printable


class Difference(NamedTuple):
    """Something that a conversion does not explain.

    Attributes:
        path: The layer's path, or where in the model it is.
        what: What differs.
    """

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}" if self.path else self.what


class Change(NamedTuple):
    """A layer that was converted, or made plain again.

    Attributes:
        path: Its path.
        class_name: Its class before.
        new_class: Its class after.
        what: `converted`; or `plain` again, with its kernel as it was, or `plain, scaled`.
        sigma: The norm of the raw kernel, found anew.
        sigma_after: That of the kernel that inference uses after.
    """

    path: str
    class_name: str
    new_class: str
    what: str
    sigma: float | None = None
    sigma_after: float | None = None


class Verdict(NamedTuple):
    """Whether one model is another one, converted. True where no difference was found.

    Attributes:
        before: The one model.
        after: The other.
        changes: The layers of another form, each with its proof.
        differences: What the conversion of these layers does not explain.
        arrays: How many arrays were compared.
        seconds: Wall time.
        warnings: What the user should know.
        lipschitz: The network's Lipschitz bound, proved again, and what it was to be at most, where
            bounds were chosen for one.
        notes: What a conversion explains, but not to the last bit as it would be computed here;
            and that the one was made of another file.
    """

    before: str
    after: str
    changes: tuple[Change, ...]
    differences: tuple[Difference, ...]
    arrays: int
    seconds: float
    warnings: tuple[str, ...] = ()
    lipschitz: tuple[Magnitude, float] | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return text_of(self)

    def __bool__(self) -> bool:
        return not self.differences

    def __repr__(self) -> str:
        says = "is" if self else "is not"
        counts = f"{len(self.changes)} changes, {len(self.differences)} differences"
        return f"<Verdict: {printable(self.after)} {says} {printable(self.before)}, {counts}>"

    def _repr_html_(self) -> str:
        return html_of(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        pretty(self, printer, cycle)

    @overload
    def to_dict(self, orient: Literal["dict"] = "dict") -> dict[str, Any]: ...
    @overload
    def to_dict(self, orient: Literal["records"]) -> list[dict[str, Any]]: ...
    def to_dict(self, orient: str = "dict") -> dict[str, Any] | list[dict[str, Any]]:
        """Returns the shape of `verify --json`; with `records` its layers of another form."""
        return oriented(self.as_json(), orient, "changes")

    def as_json(self) -> dict[str, Any]:
        """Returns the verdict as `verify --json` prints it; `source` is the model before."""
        return {
            "schema": SCHEMA,
            "verb": "verify",
            "source": self.before,
            "output": self.after,
            "warnings": list(self.warnings),
            "same": bool(self),
            "changes": [
                {
                    "path": change.path,
                    "class": change.class_name,
                    "new_class": change.new_class,
                    "change": change.what,
                    "sigma": change.sigma,
                    "sigma_after": change.sigma_after,
                }
                for change in self.changes
            ],
            "differences": [difference._asdict() for difference in self.differences],
            "notes": list(self.notes),
            "arrays": self.arrays,
            "seconds": round(self.seconds, 3),
            **({} if self.lipschitz is None else {"lipschitz": _bound(*self.lipschitz)}),
        }


def _bound(bound: Magnitude, most: float) -> dict[str, Any]:
    return {"bound": bound.as_json(), "most": most}
