import io

import h5py
import numpy as np
import pytest

from snconvert.errors import SourceError
from snconvert.weights.datasets import describe, numpy_type

TYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]


def described(dtype, **options):
    """Returns the description of a dataset in a file made with those options."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        dataset = file.create_dataset("k", data=np.arange(6).reshape(2, 3).astype(dtype), **options)
        file.flush()
        return describe("k", dataset.id, 1 << 30)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", "<>")
def test_numbers_of_every_width_and_order_are_named(dtype, order):
    """Type, byte order, shape and size are those of the array that was stored."""
    found = described(order + dtype)
    plain = np.dtype(order + dtype)
    assert (found.shape, found.dtype) == ((2, 3), plain.name)
    assert (numpy_type(found), found.nbytes) == (plain, 6 * plain.itemsize)
    assert found.byteorder == ("little" if order == "<" or plain.itemsize == 1 else "big")
    assert found.offset is not None


def test_chunked_data_has_no_place():
    """Data that is not in one piece must be decoded."""
    found = described("f4", chunks=(1, 3), compression="gzip", shuffle=True)
    assert (found.offset, found.nbytes) == (None, 24)


@pytest.mark.parametrize(
    ("dtype", "word"),
    [("?", "bool"), ("c8", "compound"), ("V2", "opaque"), ("V4", "opaque"), ("S3", "text")],
)
def test_other_types_are_refused(dtype, word):
    """What is not a number of a standard format is named."""
    with pytest.raises(SourceError, match=f"type of k.*{word}"):
        described(dtype)


@pytest.mark.parametrize("label", ["float16", 7, np.array(["bfloat16"], object)])
def test_opaque_data_needs_the_right_label(label):
    """Two opaque bytes are bfloat16 only if they say so in Keras' way."""
    with h5py.File(io.BytesIO(), "w") as file:
        dataset = file.create_dataset("k", data=np.zeros(3, "V2"))
        dataset.attrs["dtype"] = "bfloat16"
        assert describe("k", dataset.id, 1 << 30).dtype == "bfloat16"
        dataset.attrs["dtype"] = label
        with pytest.raises(SourceError, match="opaque"):
            describe("k", dataset.id, 1 << 30)


def test_other_attributes_are_no_harm():
    """An attribute that Keras does not look at does not matter, and is not read."""
    with h5py.File(io.BytesIO(), "w") as file:
        dataset = file.create_dataset("k", data=np.zeros(3))
        dataset.attrs["note"] = "x"
        assert describe("k", dataset.id, 1 << 30).dtype == "float64"


def test_data_beyond_the_end_is_refused():
    """Declared bytes must lie inside the file."""
    with h5py.File(io.BytesIO(), "w") as file:
        dataset = file.create_dataset("k", data=np.zeros(3))
        end = dataset.id.get_offset() + 24
        assert describe("k", dataset.id, end).nbytes == 24
        with pytest.raises(SourceError, match="stored"):
            describe("k", dataset.id, end - 1)


def test_huge_chunks_and_huge_decoded_data_are_refused():
    """What would have to be decoded in one large piece is refused before any read."""
    with h5py.File(io.BytesIO(), "w") as file:
        wide = file.create_dataset("w", (1 << 25,), "f4", chunks=(1 << 25,))
        wide[:1] = 1
        with pytest.raises(SourceError, match="chunk size"):
            describe("w", wide.id, 1 << 40)
        deep = file.create_dataset("d", (1 << 29,), "i1", chunks=(1 << 26,))
        deep.id.write_direct_chunk((0,), b"x" * (4 << 20))
        grown = file.create_dataset("g", (1 << 30,), "i1", chunks=(1 << 26,))
        grown.id.write_direct_chunk((0,), b"x" * (8 << 20))
        with pytest.raises(SourceError, match="chunks are stored"):
            describe("d", deep.id, 1 << 40)
        with pytest.raises(SourceError, match="too large to decode"):
            describe("g", grown.id, 1 << 40)
