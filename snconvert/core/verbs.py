"""The modules that only the guarded process needs, by verb: h5py and the linear algebra."""

from __future__ import annotations

_MEASURING = ("snconvert.weights.editing", "snconvert.jobs.measure")
IN_CHILD = {
    "apply": _MEASURING,
    "inspect": _MEASURING,
    "bake": (*_MEASURING, "snconvert.jobs.effective"),
    "remove": _MEASURING,
    "verify": (*_MEASURING, "snconvert.jobs.effective", "snconvert.jobs.compare"),
}
