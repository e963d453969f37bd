"""Laws of reading and writing JSON."""

from __future__ import annotations

import json
import sys
import threading
import time
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import DATA

from snconvert.config import strict_json
from snconvert.config.strict_json import MAX_DEPTH, dumps, loads
from snconvert.errors import SourceError

CASES = DATA / "corpus" / "cases"
MEMBERS = ("config.json", "metadata.json")


def texts() -> list[tuple[str, bytes]]:
    """Every JSON member of every genuine file."""
    found = []
    for path in sorted((DATA / "models").iterdir()):
        if path.is_dir():
            found += [(f"{path.name}/{m}", (path / m).read_bytes()) for m in MEMBERS]
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                found += [(f"{path.name}/{m}", archive.read(m)) for m in MEMBERS]
    return found


def nested(depth: int) -> bytes:
    return b'[{"layers": ' * (depth // 2) + b"3" + b"}]" * (depth // 2)


@pytest.mark.parametrize(("name", "data"), texts(), ids=lambda value: str(value)[:40])
def test_genuine_files_come_back_byte_for_byte(name, data):
    """`dumps(loads(data)) == data` for what Keras 2.13 to 3.15.1 and tf-keras write."""
    assert dumps(loads(data, name)) == data


KEYS = st.text('ab"\\é[{', max_size=5)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=9)
    # A float that prints as an integer with an exponent is a float again.
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)


@given(JSON)
def test_what_json_writes_is_read_as_json_reads_it(tree):
    """For strict JSON the reader agrees with the standard library, and so does the writer."""
    data = json.dumps(tree).encode()
    assert loads(data, "x") == json.loads(data)
    assert dumps(loads(data, "x")) == data


@given(st.text('[]{}":,\\1a\n', max_size=30).map(str.encode))
def test_only_one_error_type_leaves(data):
    """Broken text is a SourceError that names the member, or it is JSON for `json` as well."""
    try:
        tree, error = loads(data, "config.json"), None
    except SourceError as caught:
        tree, error = None, caught
    if error is None:
        assert tree == json.loads(data)
    else:
        assert error.what.startswith("config.json ")
        assert error.fix


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b'{"a": [1, 2', r"not valid JSON: .* \(character \d+\)"),
        (b'{"a": 1} {}', r"Extra data \(character 9\)"),
        (b'{"a": 1, "units": 7, "units": 4}', "the key 'units' is a duplicate.*character 31"),
        (b'["}", {}, {"b": {}}, {"a": 0, "a": 0}]', "'a' is a duplicate.*character 36"),
        (b"[nan]", r"not valid JSON: .* \(character 1\)"),
        (b'["1e999", 1e999]', "1e999 at character 10 is too large for a float"),
        (b"[0." + b"3" * 5000 + b"]", "a number is 5002 characters long"),
        (b'{"units": ' + b"7" * 5000 + b"}", "an integer has 5000 digits at character 10"),
        (b"[1.%s, -%s]" % (b"3" * 30, b"1" * 21), "an integer has 21 digits at character 35"),
        (b'{"name": "a\xff"}', "not in UTF-8: byte 0xff at position 11"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        ('{"a": 1}'.encode("utf-16-be"), "UTF-16"),
        ('{"a": 1}'.encode("utf-32"), "UTF-16"),
        (b'{"name": "a\\u0000b"}', r"the name 'a\\x00b', with a NUL"),
        (b'{"a\\u0000b": 1}', "with a NUL"),
        (b'[{"class_name": "\\ud800"}]', "half a surrogate"),
        (b'{"name": "a\x00b"}', "Invalid control character"),
    ],
)
def test_what_readers_could_take_differently_is_refused(data, message):
    """Each problem is named, with where it is."""
    with pytest.raises(SourceError, match=message):
        loads(data, "config.json")


def test_what_keras_accepts_is_accepted():
    """A byte order mark, 64-bit ids, surrogate pairs, and NUL in what is no name."""
    assert loads(b'\xef\xbb\xbf{"shared_object_id": 18446744073709551615}', "x") == {
        "shared_object_id": 2**64 - 1
    }
    assert loads(b'{"name": "\\ud83d\\ude00"}', "x") == {"name": "\U0001f600"}
    assert loads(b'{"vocabulary": ["\\u0000", "\\ud800"]}', "x") == {"vocabulary": ["\0", "\ud800"]}


def test_deep_texts_are_read_and_written():
    """Nesting beyond Python's recursion limit works up to MAX_DEPTH, and the limit is restored."""
    before = sys.getrecursionlimit()
    data = nested(MAX_DEPTH)
    tree = loads(data, "config.json")
    assert dumps(tree) == data
    with pytest.raises(SourceError, match=f"nested {MAX_DEPTH + 2} levels deep"):
        loads(nested(MAX_DEPTH + 2), "config.json")
    with pytest.raises(SourceError, match="not valid JSON"):
        loads(b"[" * MAX_DEPTH, "config.json")
    assert sys.getrecursionlimit() == before


def test_deep_texts_need_little_stack():
    """MAX_DEPTH levels fit the smallest thread stack in use (512 KiB), in several threads."""
    data, results = nested(MAX_DEPTH), []
    before = threading.stack_size(512 * 1024)
    try:
        threads = [
            threading.Thread(target=lambda: results.append(dumps(loads(data, "x")) == data))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
    finally:
        threading.stack_size(before)
    for thread in threads:
        thread.join()
    assert results == [True] * 4


def test_deep_texts_wait_for_each_other():
    """The recursion limit belongs to all threads: one deep text at a time moves it."""
    done = threading.Event()
    thread = threading.Thread(target=lambda: (loads(nested(1000), "x"), done.set()))
    with strict_json._recursion_limit:
        assert loads(nested(100), "x")
        thread.start()
        assert not done.wait(0.2)
    assert done.wait(10)
    thread.join()


def test_brackets_in_strings_do_not_count():
    """Depth is that of the structure, whatever strings hold."""
    data = json.dumps(['[{"' * 5000, "\\" * 7 + '"[', {"[[": "\\\\"}]).encode()
    assert loads(data, "x") == json.loads(data)
    assert strict_json._measure(data, "x") == 2


def test_depth_is_measured_past_strings():
    """The measured depth is the true one, whatever the strings on the way hold."""
    tree = 0
    for level in range(50):
        tree = [[tree, '"]\\'], {'a"[': tree, "b": []}, ["}", 1, tree]][level * level % 7 % 3]
    data = json.dumps(tree).encode()
    assert strict_json._measure(data, "x") == strict_json._tree_depth(tree) == 50


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * 2**22, "levels deep"),
        (b'"' * 2**22, "not valid JSON"),
        (b'"' + b"\\\\" * 2**21, "not valid JSON"),
        (b'{"a":0,"a":"' + b'\\"' * 2**21, "not valid JSON"),
        (b'{"a":{"b":0,"b":0},"' + b'\\"' * 2**21, "'b' is a duplicate.*character 17"),
        (b"1" * 2**22, "4194304 digits"),
        (b"0." + b"1" * 2**22, "4194306 characters long"),
        (b"[0." + b"1" * 900 + b"," + b"1" * 2**22, "digits at character 904"),
        (b"[" + b"{}," * 2**20, "not valid JSON"),
        (b"[" + b"{}," * (strict_json.MAX_VALUES // 2), "about 8000001 JSON values"),
    ],
    ids=range(10),
)
def test_hostile_texts_are_refused_in_linear_time(data, message):
    """Megabytes that would recurse, backtrack or explode are refused within seconds."""
    start = time.perf_counter()
    with pytest.raises(SourceError, match=message):
        loads(data, "config.json")
    assert time.perf_counter() - start < 10


def test_too_much_text_is_refused_unread(monkeypatch):
    """The bound on bytes comes before everything else."""
    monkeypatch.setattr(strict_json, "MAX_BYTES", 10)
    with pytest.raises(SourceError, match=r"holds 11 bytes of JSON, but at most 10"):
        loads(b"12345678901", "config.json")


def test_what_is_no_number_is_kept_to_the_letter():
    """NaN and the infinities, which Keras writes, are read as Keras reads them and written again;
    what is read twice is equal."""
    data = b'{"mask_value": NaN, "max_value": [Infinity, -Infinity]}'
    tree = loads(data, "config.json")
    assert dumps(tree) == data
    assert tree == loads(data, "config.json")
    assert str(tree) == str(json.loads(data))


CORPUS = {
    case["id"]: case
    for case in json.loads((DATA / "corpus" / "manifest.json").read_bytes())["cases"]
    if case["id"].startswith("json_")
}


@pytest.mark.parametrize("case", CORPUS.values(), ids=CORPUS)
def test_corpus(case):
    """The collected broken files are refused with the words that the manifest asks for."""
    with zipfile.ZipFile(CASES / case["id"]) as archive:
        data = archive.read("config.json")
    if case["id"] in {"json_list.keras", "json_string.keras"}:
        loads(data, "config.json")  # JSON all right: that it is no model is for others to say
    elif case["verdict"] == "reject":
        with pytest.raises(SourceError, match=f"(?i){case['says']}"):
            loads(data, "config.json")
    elif case["id"] == "json_bom.keras":
        assert loads(data, "config.json")["class_name"] == "Sequential"
