import tempfile

import pytest

from snconvert.weights.extent import Extent


@pytest.fixture
def extent_of():
    """Returns a function that gives the extent of some bytes."""
    files = []

    def make(data):
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed below
        files.append(file)
        file.write(b"before" + data + b"after")
        return Extent(file.fileno(), 6, len(data))

    yield make
    for file in files:
        file.close()
