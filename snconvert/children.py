"""The modules that only the guarded process needs, by verb: h5py and the linear algebra."""

from __future__ import annotations

_MEASURING = ("snconvert.archive.h5", "snconvert.sigmas")
IN_CHILD = {
    "apply": _MEASURING,
    "inspect": _MEASURING,
    "bake": (*_MEASURING, "snconvert.effective"),
    "remove": _MEASURING,
    "verify": (*_MEASURING, "snconvert.effective", "snconvert.comparison"),
}
