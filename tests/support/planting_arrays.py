"""Errors in the arrays of a converted file; see `planting`."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import h5py
import numpy as np
from planting_contents import Contents

Planter = Callable[[Contents, Contents, Random], str | None]
PLANTERS: dict[str, Planter] = {}
"""What an error is, and what plants it: given both files, of which it changes the second one."""


class Numbers:
    """The numbers of an array as bits and as values, of any type that Keras stores.

    Attributes:
        kind: The type's name.
        bits: The numbers as unsigned integers, of the array's shape, or of shape `(1,)`.
    """

    def __init__(self, array: Any) -> None:
        array = np.asarray(array)
        opaque = array.dtype.kind == "V" or array.dtype.name == "bfloat16"
        self.kind = "bfloat16" if opaque else array.dtype.name
        self._type, self._shape = array.dtype, array.shape
        self.bits = np.atleast_1d(np.ascontiguousarray(array)).view(f"u{array.itemsize}").copy()

    @property
    def array(self) -> Any:
        """The numbers as they were given."""
        return self.bits.view(self._type).reshape(self._shape)

    @property
    def values(self) -> np.ndarray:
        """The numbers, in float64."""
        if self.kind == "bfloat16":
            return (self.bits.astype("u4") << 16).view("f4").astype("f8")
        return self.bits.view(self.kind).astype("f8")

    @values.setter
    def values(self, values: np.ndarray) -> None:
        if self.kind == "bfloat16":
            bits = np.asarray(values, "f4").view("u4")
            self.bits = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("u2")
        else:
            self.bits = np.asarray(values).astype(self.kind).view(self.bits.dtype)

    @property
    def sign(self) -> Any:
        """The bit of the sign."""
        return self.bits.dtype.type(1 << (8 * self.bits.itemsize - 1))

    def pick(self, rng: Random, but: int = 0) -> Any:
        """Returns a list with the index of a larger number of other bits, or an empty one."""
        size, flat = np.abs(self.values).reshape(-1), self.bits.reshape(-1)
        places = np.flatnonzero((size > 0.2 * size.max()) & (flat != but))
        return [rng.choice(places)] if len(places) else []


# -- What may be wrong with numbers ---------------------------------------------------------------

Change = Callable[[Numbers, Random], None]
CHANGES: dict[str, Change] = {}
"""A change that leaves the bits as they are does not apply."""


def change(kind: str) -> Callable[[Change], Change]:
    """Registers a change under what it does."""

    def register(function: Change) -> Change:
        CHANGES[kind] = function
        return function

    return register


@change("lowest bit of one number")
def _(x: Numbers, rng: Random) -> None:
    x.bits.reshape(-1)[rng.randrange(x.bits.size)] ^= 1


@change("lowest bit of every number")
def _(x: Numbers, _: Random) -> None:
    x.bits ^= 1


@change("every number one step up")
def _(x: Numbers, _: Random) -> None:
    x.bits[x.values != 0] += 1


@change("sign of one number")
def _(x: Numbers, rng: Random) -> None:
    x.bits.reshape(-1)[x.pick(rng)] ^= x.sign


@change("sign of the smallest numbers")
def _(x: Numbers, _: Random) -> None:
    size = np.abs(x.values)
    x.bits[(size > 0) & (size <= np.quantile(size, 0.25))] ^= x.sign


@change("one number doubled")
def _(x: Numbers, rng: Random) -> None:
    values = x.values
    values.reshape(-1)[x.pick(rng)] *= 2
    x.values = values


@change("one number zero")
def _(x: Numbers, rng: Random) -> None:
    x.bits.reshape(-1)[x.pick(rng)] = 0


@change("two numbers swapped")
def _(x: Numbers, rng: Random) -> None:
    flat, one = x.bits.reshape(-1), x.pick(rng)
    two = x.pick(rng, but=flat[one[0]]) if one else []
    if two:
        flat[[*one, *two]] = flat[[*two, *one]]


@change("shifted by one")
def _(x: Numbers, _: Random) -> None:
    x.bits = np.roll(x.bits, 1)


@change("rows in another order")
def _(x: Numbers, _: Random) -> None:
    x.bits = x.bits[::-1].copy()


@change("columns in another order")
def _(x: Numbers, _: Random) -> None:
    x.bits = x.bits[..., ::-1].copy()


@change("transposed")
def _(x: Numbers, _: Random) -> None:
    x.bits = np.ascontiguousarray(x.bits.T).reshape(x.bits.shape)


@change("zeros")
def _(x: Numbers, _: Random) -> None:
    x.bits[...] = 0


def _put(x: Numbers, rng: Random, *, value: float) -> None:
    values = x.values
    values.reshape(-1)[rng.randrange(values.size)] = value
    x.values = values


CHANGES["NaN"] = partial(_put, value=np.nan)
CHANGES["infinite"] = partial(_put, value=np.inf)


def _scale(x: Numbers, _: Random, *, by: float) -> None:
    x.values = x.values * by


CHANGES["a millionth larger"] = partial(_scale, by=1.000001)
CHANGES["a thousandth larger"] = partial(_scale, by=1.001)
CHANGES["twice as large"] = partial(_scale, by=2.0)


@change("a little noise")
def _(x: Numbers, rng: Random) -> None:
    noise = np.random.default_rng(rng.randrange(1 << 30)).normal(size=x.bits.shape)
    x.values = x.values + noise * 0.1 * np.abs(x.values).max()


@change("rounded to half precision")
def _(x: Numbers, _: Random) -> None:
    with np.errstate(over="ignore"):
        x.values = x.values.astype("f2").astype("f8")


_SLIGHT = {
    "lowest bit of one number",
    "lowest bit of every number",
    "every number one step up",
    "a millionth larger",
    "rounded to half precision",
    "sign of the smallest numbers",
}
_AXES = {"columns in another order", "transposed"}
_SCALAR = CHANGES.keys() - _AXES
_SCALAR -= {"two numbers swapped", "shifted by one", "rows in another order"}
CHANGES_OF = {
    "kernel": set(CHANGES),
    "multiplied kernel": set(CHANGES),
    "vector": CHANGES.keys() - _AXES,
    # A u is a direction, of either sign; that it is not to the last bit the one that `verify`
    # finds, on another processor, is no error. Nor are the last bits of gamma, which is a sigma.
    "u": CHANGES.keys() - _SLIGHT - {"a thousandth larger", "twice as large"},
    "gamma": _SCALAR - _SLIGHT,
    "slot": set(CHANGES),
    "scalar of the optimizer": _SCALAR,
    "count of the optimizer": {"lowest bit of one number", "twice as large", "zeros"},
}
"""What arrays there are, and the changes that matter to each."""


def is_another_u(old: np.ndarray, new: np.ndarray) -> bool:
    """Tells whether a `u` of shape `(b, ...)` is not the other one, of either sign."""
    old, new = old.reshape(len(old), -1), new.reshape(len(new), -1)
    cosine = np.abs((old * new).sum(-1))
    lengths = np.linalg.norm(old, axis=-1) * np.linalg.norm(new, axis=-1)
    return not bool((cosine > 0.999 * lengths).all() and (lengths > 0).all())


def changed(array: Any, role: str, kind: str, rng: Random) -> Any:
    """Returns a changed copy of an array, or `None` where the change is none that matters."""
    x, old = Numbers(array), Numbers(array)
    CHANGES[kind](x, rng)
    if np.array_equal(x.bits, old.bits) or (role == "u" and not is_another_u(old.values, x.values)):
        return None
    return x.array


# -- Arrays ---------------------------------------------------------------------------------------


def roles(before: Contents, after: Contents) -> dict[str, str]:
    """Returns what each array after is, as `CHANGES_OF` names it."""
    if "roles" not in before.notes:
        kept = {(item.shape, item[()].tobytes()) for item in before.arrays().values()}
        ours = "snconvert.layers" in json.dumps(after.config)
        before.notes["roles"] = {
            name: _role(name, item, ours, (item.shape, item[()].tobytes()) in kept)
            for name, item in after.arrays().items()
        }
    return before.notes["roles"]


def _role(name: str, item: h5py.Dataset, ours: bool, kept: bool) -> str:
    if name.startswith("optimizer/"):
        if item.dtype.kind in "iu":
            return "count of the optimizer"
        return "slot" if item.ndim else "scalar of the optimizer"
    if item.ndim < 2:
        return "vector" if item.ndim else "gamma"
    owner, _, number = name.rpartition("/vars/")
    if (ours and not kept) or (number == "1" and "spectral_normalization" in owner[-25:]):
        return "u"
    return "kernel" if kept else "multiplied kernel"


def _names(before: Contents, after: Contents, rng: Random, role: str) -> list[str]:
    """Returns the arrays that have a role, in random order."""
    names = [name for name, its in sorted(roles(before, after).items()) if its == role]
    return rng.sample(names, len(names))


def _change(before: Contents, after: Contents, rng: Random, *, role: str, kind: str) -> str | None:
    for name in _names(before, after, rng, role):
        new = changed(after.h5[name][()], role, kind, rng)
        if new is not None:
            after.h5[name][...] = new
            return name
    return None


STRUCTURES = (
    "missing",
    "one more",
    "under another name",
    "with an axis more",
    "of another type",
    "of another layer",
)


def _structure(
    before: Contents, after: Contents, rng: Random, *, role: str, kind: str
) -> str | None:
    for name in _names(before, after, rng, role):
        if _restructured(after.h5, name, role, kind, rng):
            return name
    return None


def _restructured(h5: h5py.File, name: str, role: str, kind: str, rng: Random) -> bool:
    dataset, group = h5[name], name.rpartition("/")[0]
    array, free = dataset[()], f"{group}/{len(h5[group])}"
    match kind:
        case "missing":
            del h5[name]
        case "one more":
            h5[free] = array
        case "under another name":
            h5.move(name, free)
        case "with an axis more":
            _replace(h5, name, np.asarray(array)[None])
        case "of another type":
            x = Numbers(array)
            _replace(h5, name, x.values.reshape(x.array.shape).astype(_OTHER_TYPES[x.kind]))
        case _:
            others = [other for other in _alike(h5, name) if role != "u" or _turns(h5, name, other)]
            if not others:
                return False
            dataset[...] = h5[rng.choice(others)][()]
    return True


_OTHER_TYPES = {"float16": "f4", "bfloat16": "f4", "float32": "f8", "float64": "f4"}


def _replace(h5: h5py.File, name: str, array: np.ndarray) -> None:
    said = h5[name].attrs.get("dtype")
    del h5[name]
    h5[name] = array
    if array.dtype.kind == "V":
        h5[name].attrs["dtype"] = said


def _alike(h5: h5py.File, name: str) -> list[str]:
    """Returns the arrays elsewhere that have the same shape and type, and other bits."""
    mine, names = h5[name], []

    def visit(other: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and (item.shape, item.dtype) == (mine.shape, mine.dtype):
            same_layer = other.rpartition("/")[0] == name.rpartition("/")[0]
            if item[()].tobytes() != mine[()].tobytes() and ("optimizer" in name or not same_layer):
                names.append(other)

    h5.visititems(visit)
    return names


def _turns(h5: h5py.File, name: str, other: str) -> bool:
    return is_another_u(Numbers(h5[name][()]).values, Numbers(h5[other][()]).values)


for _role_name, _kinds in CHANGES_OF.items():
    for _kind in [kind for kind in CHANGES if kind in _kinds]:
        PLANTERS[f"{_role_name}: {_kind}"] = partial(_change, role=_role_name, kind=_kind)
    for _kind in STRUCTURES[:4] if "count" in _role_name else STRUCTURES:  # JAX counts in int32
        PLANTERS[f"{_role_name}: {_kind}"] = partial(_structure, role=_role_name, kind=_kind)


def planter(kind: str) -> Callable[[Planter], Planter]:
    """Registers a planter under what it does."""

    def register(function: Planter) -> Planter:
        PLANTERS[kind] = function
        return function

    return register


@planter("group of a layer under another name")
def _(_: Contents, after: Contents, rng: Random) -> str | None:
    groups = sorted({name.partition("/vars/")[0] for name in after.arrays() if "layers/" in name})
    name = rng.choice(groups)
    after.h5.move(name, f"{name}_77")
    return name


@planter("arrays of two layers swapped")
def _(_: Contents, after: Contents, rng: Random) -> str | None:
    groups: dict[Any, dict[str, list[str]]] = {}
    for name, item in after.arrays().items():
        if not name.startswith("optimizer"):
            groups.setdefault(name.rpartition("/vars/")[0], {})[name] = (item.shape, item.dtype)
    pairs = [
        (one, two)
        for one in groups
        for two in groups
        if one < two and list(groups[one].values()) == list(groups[two].values())
    ]
    for one, two in rng.sample(pairs, len(pairs)):
        for x, y in zip(groups[one], groups[two], strict=True):
            a, b = after.h5[x][()], after.h5[y][()]
            after.h5[x][...], after.h5[y][...] = b, a
        return f"{one} and {two}"
    return None


@planter("two slots swapped")
def _(before: Contents, after: Contents, rng: Random) -> str | None:
    for name in _names(before, after, rng, "slot"):
        others = [other for other in _alike(after.h5, name) if other.startswith("optimizer/")]
        if others:
            other = rng.choice(others)
            a, b = after.h5[name][()], after.h5[other][()]
            after.h5[name][...], after.h5[other][...] = b, a
            return f"{name} and {other}"
    return None


@planter("all state of the optimizer missing")
def _(_: Contents, after: Contents, __: Random) -> str | None:
    if not len(after.h5.get("optimizer/vars", ())):
        return None
    del after.h5["optimizer"]
    return "optimizer"


# -- Kernels that were multiplied -----------------------------------------------------------------


def multiplied(before: Contents, after: Contents) -> dict[str, tuple[np.ndarray, float]]:
    """Returns the kernels after that are a multiple of one before: of what, and by how much."""
    if "multiples" in before.notes:
        return before.notes["multiples"]
    sources = [
        Numbers(item[()])
        for name, item in before.arrays().items()
        if item.ndim > 1 and not name.startswith("optimizer/")
    ]
    multiples = before.notes["multiples"] = {}
    for name, role in roles(before, after).items():
        x = Numbers(after.h5[name][()])
        for y in sources if role == "multiplied kernel" else ():
            if (x.bits.shape, x.kind) == (y.bits.shape, y.kind):
                by = float((x.values * y.values).sum() / (y.values**2).sum())
                room = 0.02 * np.abs(x.values).max()
                if abs(by - 1) > 0.01 and np.allclose(
                    x.values, by * y.values, rtol=0.02, atol=room
                ):
                    multiples[name] = (y.array, by)
    return multiples


def _copies(name: str) -> tuple[str, ...]:
    """Returns the names of both copies of a kernel in Keras' wrapper, or the name."""
    owner = name.removesuffix("/vars/0").removesuffix("/layer")
    if "spectral_normalization" not in owner.rpartition("/")[2]:
        return (name,)
    return f"{owner}/layer/vars/0", f"{owner}/vars/0"


FACTORS: dict[str, Callable[[float, float], float]] = {
    "left as it was": lambda _, __: 1.0,
    "multiplied twice": lambda by, _: by * by,
    "multiplied by the inverse": lambda by, _: 1 / by,
    "multiplied by half of it": lambda by, _: by / 2,
    "multiplied by another one's factor": lambda _, other: other,
    "multiplied by a rounded factor": lambda by, _: round(by, 3),
}
"""What a kernel may wrongly be multiplied by: given its factor and another one's."""


def _remultiply(before: Contents, after: Contents, rng: Random, *, kind: str) -> str | None:
    kernels = multiplied(before, after)
    for name in rng.sample(sorted(kernels), len(kernels)):
        raw, by = kernels[name]
        others = [other for _, other in kernels.values() if abs(other / by - 1) > 0.01]
        if others:  # a single one that is left as it was is what `remove` makes
            x = Numbers(raw)
            x.values = x.values * FACTORS[kind](by, rng.choice(others))
            for copy in _copies(name):
                after.h5[copy][...] = x.array
            return name
    return None


@planter("multiplied kernel: all but one left as they were")
def _(before: Contents, after: Contents, rng: Random) -> str | None:
    kernels = multiplied(before, after)
    name = rng.choice(sorted(kernels)) if kernels else ""
    left = [other for other in kernels if other not in _copies(name)]
    for other in left:
        after.h5[other][...] = kernels[other][0]
    return f"all but {name}" if left else None


def _both_copies(before: Contents, after: Contents, rng: Random, *, kind: str) -> str | None:
    for name in _names(before, after, rng, "multiplied kernel"):
        new = changed(after.h5[name][()], "kernel", kind, rng)
        if len(_copies(name)) > 1 and new is not None:
            for copy in _copies(name):
                after.h5[copy][...] = new
            return name
    return None


for _kind in FACTORS:
    PLANTERS[f"multiplied kernel: {_kind}"] = partial(_remultiply, kind=_kind)
for _kind in CHANGES:
    PLANTERS[f"both copies in a wrapper: {_kind}"] = partial(_both_copies, kind=_kind)


@planter("kernel: divided by its norm, in a layer that does so")
def _(before: Contents, after: Contents, rng: Random) -> str | None:
    for name in _names(before, after, rng, "kernel"):
        if "spectral_" in name:
            x = Numbers(after.h5[name][()])
            x.values = x.values / np.linalg.norm(x.values.reshape(-1, x.values.shape[-1]), 2)
            after.h5[name][...] = x.array
            return name
    return None


@planter("wrapper: its copy of the kernel missing")
def _(_: Contents, after: Contents, rng: Random) -> str | None:
    names = [
        name for name in sorted(after.arrays()) if _copies(name)[-1] == name != _copies(name)[0]
    ]
    name = rng.choice(names) if names else None
    if name is not None:
        del after.h5[name]
    return name
