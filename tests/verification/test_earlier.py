"""What an earlier run has made is left as it is, and nothing else is taken for it."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import handmade
import pytest
from json_shape import lines
from places import MODELS, SAMPLES
from saved_models import saved

import snconvert as package
from snconvert.core.report import Progress, Report
from snconvert.errors import OutputError, SelectionError

Edit = Callable[[dict[str, bytes]], None]


def moons(folder: Path) -> Path:
    return Path(shutil.copy(SAMPLES / "moons.keras", folder / "m.keras"))


def state(path: Path) -> Any:
    """Returns all that a write would change: names, bytes, times and numbers of files."""
    files = [path.parent, path, *sorted(path.rglob("*"))]
    statuses = [(x.stat().st_mtime_ns, x.stat().st_ino, x.stat().st_size) for x in files]
    contents = [x.read_bytes() for x in files if x.is_file()]
    return sorted(os.listdir(path.parent)), statuses, contents


def rows(report: Report) -> list[Any]:
    names = ("path", "class_name", "kernel", "status", "reason", "new_class")
    numbers = ("sigma", "sigma_after", "residual", "certified", "bound", "norm")
    return [tuple(getattr(row, name) for name in (*names, *numbers)) for row in report.layers]


def edited(path: Path, edit: Edit) -> None:
    """Edits the members of an archive; what writes them makes their CRCs right."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    edit(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def in_json(name: str, change: Callable[[Any], None]) -> Edit:
    """Returns an edit of a member that is JSON."""

    def edit(members: dict[str, bytes]) -> None:
        tree = json.loads(members[name])
        change(tree)
        members[name] = json.dumps(tree).encode()

    return edit


def in_record(change: Callable[[Any], None]) -> Edit:
    return in_json("metadata.json", lambda tree: change(tree["snconvert"]))


def in_weights(change: Callable[[h5py.File], None]) -> Edit:
    def edit(members: dict[str, bytes]) -> None:
        data = io.BytesIO(members["model.weights.h5"])
        with h5py.File(data, "r+") as file:
            change(file)
        members["model.weights.h5"] = data.getvalue()

    return edit


def add_one(path: str) -> Edit:
    def change(file: h5py.File) -> None:
        file[path][0] += 1

    return in_weights(change)


# -- It is left as it is ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"mode": "cap", "bound": 2, "only": ["block_*"], "power_iterations": 2},
        {"mode": "gain", "overrides": {"block_0": {"mode": "cap", "bound": 3}}},
        {"lipschitz": 5.0},
        {"certify": True, "exclude": "logits"},
        {"target": "keras"},
        {"target": "constraint", "verify": True},
    ],
    ids=lambda how: "-".join(how) or "plain",
)
def test_a_rerun_writes_nothing(how: dict[str, Any], tmp_path: Path) -> None:
    """No byte, time or name changes, and the report says the same, by the record."""
    source, out = moons(tmp_path), tmp_path / "out" / "sn.keras"
    out.parent.mkdir()
    first = package.apply_file(source, out, **how)
    before = state(out)
    again = package.apply_file(source, out, **how)
    assert state(out) == before
    assert (first.up_to_date, again.up_to_date) == (False, True)
    assert rows(again) == rows(first)
    for name in (
        "output",
        "target",
        "mode",
        "bound",
        "norm",
        "bytes",
        "warnings",
        "needs",
        "loads",
        "holds_code",
    ):
        assert getattr(again, name) == getattr(first, name), name
    package.apply_file(source, out, force=True, **how)
    assert state(out)[1] != before[1]
    assert out.read_bytes() == before[2][0]


@pytest.mark.keras
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("recurrent", {}),
        ("tokens", {"mode": "gain"}),
        ("convolutional", {"norm": "operator", "certify": True}),
        ("convolutional", {"target": "keras"}),
        ("transposed", {"target": "constraint"}),
        ("nested", {}),
        ("mixed_float16", {"target": "keras"}),
        ("frozen", {"mode": "gain"}),
    ],
)
def test_models_of_every_topology(name: str, how: dict[str, Any], tmp_path: Path) -> None:
    """A rerun of any of them is known again, and of a model with other weights is not."""
    source, out = saved(name, tmp_path), tmp_path / "out" / "sn.keras"
    out.parent.mkdir()
    first = package.apply_file(source, out, kinds="all", **how)
    before = state(out)
    again = package.apply_file(source, out, kinds="all", **how)
    assert again.up_to_date
    assert (state(out), rows(again)) == (before, rows(first))


@pytest.mark.parametrize(
    "name",
    [
        *("a02_seq_adam.keras", "a04_shared_layer.keras", "a09_custom_dense_subclass.keras"),
        *("a10_mixed_float16.keras", "a11_bfloat16.keras", "a16_dir_h5dir", "a18_assets.keras"),
        *("a20_nonascii.keras", "a21_unbuilt.keras", "a28_dtype_positions.keras"),
        *("a30_multiple_models_same_layer_nested.keras", "v3.0.5_func.keras"),
        *("k215_seq.h5", "k215_func.keras", "a02_seq_adam_k3legacy.h5", "tfk221_seq.h5"),
    ],
)
def test_files_of_every_kind(name: str, tmp_path: Path) -> None:
    """Archives, folders, and files of older Keras versions, which `upgrade` leaves, too."""
    source, out = tmp_path / name, tmp_path / "out" / "sn"
    copy: Any = shutil.copytree if (MODELS / name).is_dir() else shutil.copy
    copy(MODELS / name, source)
    out.parent.mkdir()
    verbs = [package.apply_file] + [package.upgrade_file] * name.startswith(
        ("k2", "tfk", "a02_seq_adam_")
    )
    for verb in verbs:
        first = verb(source, out, force=True)
        before = state(out)
        again = verb(source, out)
        assert again.up_to_date
        assert (state(out), rows(again)) == (before, rows(first))
        assert again.as_json()["up_to_date"]


def test_a_second_conversion(tmp_path: Path) -> None:
    """Of a model that is converted in part, the layers of this conversion count."""
    source, out = moons(tmp_path), tmp_path / "out.keras"
    package.apply_file(source, in_place=True, only="block_0", bound=3)
    first = package.apply_file(source, out)
    before = state(out)
    again = package.apply_file(source, out)
    assert again.up_to_date
    assert (state(out), rows(again)) == (before, rows(first))


def test_weights_with_their_configuration(tmp_path: Path) -> None:
    """A changed `--config` counts as well as changed weights."""
    with zipfile.ZipFile(moons(tmp_path)) as archive:
        (tmp_path / "m.weights.h5").write_bytes(archive.read("model.weights.h5"))
        config = json.loads(archive.read("config.json"))
    source, beside, out = (tmp_path / name for name in ("m.weights.h5", "m.json", "sn.keras"))
    beside.write_text(json.dumps(config))
    package.apply_file(source, out, config=beside)
    assert package.apply_file(source, out, config=beside).up_to_date
    next(x for x in config["config"]["layers"] if x["class_name"] == "Dense")["config"][
        "activation"
    ] = "tanh"
    beside.write_text(json.dumps(config))
    with pytest.raises(
        OutputError, match=r"it exists already, but it is not what is made now: .*tanh"
    ):
        package.apply_file(source, out, config=beside)


# -- Nothing else is taken for it ------------------------------------------------------------------


def refused(source: Path, out: Path, says: str = "it exists already", **how: Any) -> None:
    """Checks that a run says that the output exists, and leaves it."""
    before = state(out)
    with pytest.raises(OutputError, match="it exists already") as error:
        package.apply_file(source, out, **how)
    assert says in str(error.value)
    assert "Use " in str(error.value)
    assert (error.value.file, state(out)) == (str(out), before)


@pytest.mark.parametrize(
    "how",
    [
        {"bound": 2},
        {"mode": "cap"},
        {"conv": True},
        {"only": "block_0"},
        {"exclude": "logits"},
        {"overrides": {"logits": {"bound": 1.5}}},
        {"power_iterations": 2},
        {"norm": "operator"},
        {"target": "keras"},
        {"certify": True},
        {"lipschitz": 5},
    ],
    ids=lambda how: next(iter(how)),
)
def test_other_options(how: dict[str, Any], tmp_path: Path) -> None:
    """Whatever option differs, in the one way or the other."""
    source, out = moons(tmp_path), tmp_path / "sn.keras"
    package.apply_file(source, out)
    refused(source, out, "made with other options", **how)
    package.apply_file(source, out, force=True, **how)
    refused(source, out, "made with other options")


def test_what_only_python_knows(tmp_path: Path) -> None:
    """A callable, rules of one's own and imported modules are never taken for the same."""
    from snconvert.kinds.table import RULES

    source, out = moons(tmp_path), tmp_path / "sn.keras"
    own = replace(RULES["Dense"], class_name="mine>Dense", spectral_class="mine>SpectralDense")
    ways: list[dict[str, Any]] = [{"select": lambda *_: True}, {"rules": [own]}]
    for how in ways:
        package.apply_file(source, out, force=True, **how)
        refused(source, out, **how)
    package.apply_file(source, out, force=True, select=lambda path, _: path == "stem")
    refused(source, out, "it is not what is made now")


def test_another_source(tmp_path: Path) -> None:
    """One byte of the source, though its model is the same; or weights that were trained on."""
    source, out = moons(tmp_path), tmp_path / "sn.keras"
    package.apply_file(source, out)
    edited(source, in_json("metadata.json", lambda tree: tree.update(date_saved="today")))
    refused(source, out, "made of a file with other bytes")
    package.apply_file(source, out, force=True)
    edited(source, add_one("layers/dense/vars/0"))
    refused(source, out, "made of a file with other bytes")


def config_of(tree: Any, name: str) -> Any:
    return next(x["config"] for x in tree["config"]["layers"] if x["config"]["name"] == name)


def reshape(file: h5py.File) -> None:
    del file["layers/spectral_dense/vars/1"]
    file["layers/spectral_dense/vars/1"] = [1.0]


EDITS: dict[str, tuple[Edit, str]] = {
    "no record": (in_json("metadata.json", lambda tree: tree.pop("snconvert")), ""),
    "no metadata": (lambda members: members.pop("metadata.json") and None, ""),
    "a record that is none": (
        in_json("metadata.json", lambda tree: tree.update(snconvert=["apply"])),
        "",
    ),
    "of another command": (in_record(lambda record: record.update(command="upgrade")), ""),
    "without its layers": (in_record(lambda record: record.pop("layers")), "not what is made now"),
    "layers that are no table": (
        in_record(lambda record: record.update(layers=[1])),
        "not what is made now",
    ),
    "without one layer": (
        in_record(lambda record: record["layers"].pop("stem")),
        "not what is made now",
    ),
    "of a layer more": (
        in_record(lambda record: record["layers"].update(x=record["layers"]["stem"])),
        "not what is made now",
    ),
    "without the source": (in_record(lambda record: record.pop("source_sha256")), "other bytes"),
    "of another source": (
        in_record(lambda record: record.update(source_sha256="0" * 64)),
        "other bytes",
    ),
    "of another date": (
        in_json("metadata.json", lambda tree: tree.update(date_saved="today")),
        "date_saved",
    ),
    "a bound": (
        in_json("config.json", lambda tree: config_of(tree, "stem").update(bound=2.0)),
        "stem",
    ),
    "an activation": (
        in_json("config.json", lambda tree: config_of(tree, "stem").update(activation="tanh")),
        "stem",
    ),
    "a class": (
        in_json(
            "config.json",
            lambda tree: tree["config"]["layers"][1].update(class_name="SpectralEinsumDense"),
        ),
        "",
    ),
    "a kernel": (add_one("layers/spectral_dense/vars/0"), "stem"),
    "a bias": (add_one("layers/spectral_dense/vars/1"), "stem"),
    "the optimizer": (add_one("optimizer/vars/2"), "optimizer"),
    "a variable less": (in_weights(lambda file: file.pop("layers/spectral_dense/vars/1")), ""),
    "a variable more": (
        in_weights(lambda file: file.create_dataset("layers/spectral_dense/vars/9", data=[1.0])),
        "",
    ),
    "another shape": (in_weights(reshape), ""),
    "an asset more": (lambda members: members.update({"assets/a.txt": b"x"}), "a.txt"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_result(name: str, tmp_path: Path) -> None:
    """Whatever is edited in it, with the right CRC."""
    source, out = moons(tmp_path), tmp_path / "sn.keras"
    package.apply_file(source, out)
    edit, says = EDITS[name]
    edited(out, edit)
    refused(source, out, says)


@pytest.mark.parametrize("target", ["keras", "constraint"])
@pytest.mark.parametrize("shape", [(2, 64), (64, 2), (2,)], ids=str)
def test_targets_that_multiply(target: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    """A kernel that is not the source's times the recorded factor, and any other array."""
    source, out = moons(tmp_path), tmp_path / "sn.keras"
    package.apply_file(source, out, target=target)

    def change(file: h5py.File) -> None:
        found: list[h5py.Dataset] = []
        file.visititems(lambda _, x: found.append(x) if getattr(x, "shape", ()) == shape else None)
        found[0][0] += 1

    edited(out, in_weights(change))
    refused(source, out, "it is not what is made now", target=target)


def test_a_truncated_result(tmp_path: Path) -> None:
    """Wherever it ends."""
    source, out = moons(tmp_path), tmp_path / "sn.keras"
    package.apply_file(source, out)
    whole = out.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        out.write_bytes(whole[:size])
        refused(source, out)
    out.write_bytes(whole + b"\0")
    refused(source, out)
    out.write_bytes(whole)
    assert package.apply_file(source, out).up_to_date


def test_a_flipped_bit(tmp_path: Path) -> None:
    """Anywhere in its members, what the run has added among them."""
    source, out = moons(tmp_path), tmp_path / "sn.keras"
    package.apply_file(source, out)
    whole = out.read_bytes()
    with zipfile.ZipFile(out) as archive:
        starts = [info.header_offset for info in archive.infolist()]
    ends = [*starts[1:], archive.start_dir]
    places = [
        start + 100 + (end - start - 200) * part // 12
        for start, end in zip(starts, ends, strict=True)
        for part in range(13)
    ]
    for place in places:
        out.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        refused(source, out)


def test_a_truncated_folder(tmp_path: Path) -> None:
    """Of a folder, too, whose files have no CRC."""
    source, out = MODELS / "a16_dir_h5dir", tmp_path / "out"
    package.apply_file(source, out)
    weights = out / "model.weights.h5"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-8])
    refused(source, out)
    weights.unlink()
    refused(source, out)
    weights.write_bytes(whole)
    assert package.apply_file(source, out).up_to_date


def test_something_else(tmp_path: Path) -> None:
    """Text, the source itself, another model, what `bake` has made, and no file at all."""
    source, out = moons(tmp_path), tmp_path / "sn.keras"
    out.write_text("mine")
    refused(source, out)
    shutil.copy(source, out)
    refused(source, out)
    handmade.chain(out, 3)
    refused(source, out)
    package.apply_file(source, out, force=True)
    baked = tmp_path / "baked.keras"
    package.bake_file(out, baked)
    refused(source, baked)
    out.unlink()
    out.symlink_to(tmp_path / "absent.keras")
    assert not package.apply_file(source, out).up_to_date
    assert package.apply_file(source, out).up_to_date
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="no regular file"):
        package.apply_file(source, tmp_path / "pipe")


def test_errors_of_a_first_run_come_first(tmp_path: Path) -> None:
    """A pattern that matches nothing is that, whatever is at the output."""
    source, out = moons(tmp_path), tmp_path / "sn.keras"
    package.apply_file(source, out)
    with pytest.raises(SelectionError, match="matches no layer"):
        package.apply_file(source, out, only="absent")


# -- How it is told --------------------------------------------------------------------------------


def test_progress(tmp_path: Path) -> None:
    """Hashing the source is told in bytes, to its end; nothing is said of writing."""
    source, out, told = moons(tmp_path), tmp_path / "sn.keras", list[Progress]()
    package.apply_file(source, out)
    package.apply_file(source, out, progress=told.append)
    hashing = [each for each in told if each.stage == "hashing"]
    assert hashing[0].done == 0
    assert {each.total for each in hashing} == {source.stat().st_size}
    assert not {each.stage for each in told} & {"writing", "sigma", "flushing"}


def test_verify_of_a_rerun(tmp_path: Path) -> None:
    """With `verify` it is proved as well: a `u` that was edited with the right CRC is found."""
    source, out = moons(tmp_path), tmp_path / "sn.keras"
    package.apply_file(source, out)
    assert package.apply_file(source, out, verify=True).up_to_date
    edited(out, add_one("layers/spectral_dense/vars/2"))
    assert package.apply_file(source, out).up_to_date  # which is what the documentation says
    refused(source, out, "u is not", verify=True)


def test_the_page_of_a_rerun(tmp_path: Path) -> None:
    """The page is written, by the record."""
    source, out, page = moons(tmp_path), tmp_path / "sn.keras", tmp_path / "page.html"
    package.apply_file(source, out)
    assert package.apply_file(source, out, html=page).up_to_date
    assert "SpectralDense" in page.read_text("utf-8")


def test_the_command_line(snconvert: Any, tmp_path: Path) -> None:
    """Exit code 0, said in words and in JSON; of several models the new one is converted."""
    source = moons(tmp_path)
    folder = tmp_path / "out"
    folder.mkdir()
    assert snconvert("apply", tmp_path, "-o", folder).returncode == 0
    out = folder / "m-sn.keras"
    before = state(out)
    run = snconvert("apply", source, "-o", out)
    assert (run.returncode, run.stderr) == (0, "")
    assert (
        f"{source}: already converted with the same options\n{out} is left as it is (" in run.stdout
    )
    assert "wrote" not in run.stdout
    run = snconvert("apply", source, "-o", out, "-q")
    assert (run.returncode, run.stderr, run.stdout) == (0, "", "")
    assert state(out) == before
    shutil.copy(source, tmp_path / "n.keras")
    run = snconvert("apply", tmp_path, "-o", folder, "--json", "--jobs", 2)
    assert run.returncode == 0
    done = {Path(line["source"]).stem: line.get("up_to_date") for line in lines(run.stdout)}
    assert done == {"m": True, "n": None}
    run = snconvert("apply", source, "-o", out, "--bound", 2, "--json")
    (line,) = lines(run.stdout)
    assert run.returncode == 1
    assert (
        line["error"]
        == f"{out}: it exists already, made with other options. Use --force to replace it."
    )
    assert not lines(snconvert("apply", source, "-o", out, "--force", "--json").stdout)[0].get(
        "up_to_date"
    )
    dry = lines(snconvert("apply", source, "--dry-run", "--json").stdout)[0]
    assert "up_to_date" not in dry
