"""Prints what both carriers do, a line for each case, to compare two states of the code.

    PYTHONPATH=OLD python tests/support/golden.py files live texts --models FOLDER > old.txt
    PYTHONPATH=NEW python tests/support/golden.py files live texts --models FOLDER > new.txt
    diff old.txt new.txt

`files` runs the command line and the functions on files, `live` the functions on Keras models,
`texts` everything that is said: help, wrong usage, the corpus of bad files, public names. A line is
the name of a case, a tab, and what came out: as it is where it is short (always with `--full`),
else its SHA-256. Two runs on one machine print the same; the digits depend on its BLAS.

`portable` is what `tests/system/test_golden.py` compares with `tests/data/golden.json`: the files
of `tests/data` only, and no digits. `python tests/support/golden.py portable --renew` writes
them anew.

The models are built once, by whichever snconvert does it first, into the folder of `--models`; both
runs need the same folder. Nothing but public names is used, so that any state of the code can run.
"""

# ruff: noqa: T201 -- printing is its job

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import inspect
import io
import json
import os
import pkgutil
import random
import re
import resource
import runpy
import shutil
import subprocess
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

# One thread each, so that sums come out the same; to be set before numpy and TensorFlow come.
os.environ |= {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "COLUMNS": "100",
    "TERMINAL_WIDTH": "100",
    "TERM": "dumb",
    "NO_COLOR": "1",
    "LC_ALL": "C.UTF-8",
}

if os.environ.get("PYTHONHASHSEED") != "0":  # heeded at the start only; for the order of sets
    os.environ["PYTHONHASHSEED"] = "0"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606

from places import DATA, ROOT, SAMPLES

import snconvert

SHORT = 400
"""How many letters a line shows; of a longer text it shows the hash."""

APPLY: dict[str, list[str]] = {
    "default": [],
    "all": ["--kinds", "all"],
    "cap": ["--kinds", "all", "--mode", "cap", "--bound", "0.7"],
    "gain": ["--kinds", "all", "--mode", "gain"],
    "operator": ["--kinds", "all", "--norm", "operator"],
    "keras": ["--kinds", "all", "--target", "keras"],
    "constraint": ["--kinds", "all", "--target", "constraint", "--mode", "cap", "--bound", "0.5"],
    "recipe": ["--recipe", "recipe.toml"],
    "conv": ["--conv", "--exclude", "re:[02]$"],
    "certify": ["--kinds", "all", "--certify", "--bound", "3"],
    "only": ["--kinds", "dense,recurrent", "--only", "*d*", "--only", "re:^[a-m]"],
    "operator-gain": ["--kinds", "all", "--norm", "operator", "--mode", "gain", "--bound", "2"],
    "hard-constraint": ["--kinds", "all", "--target", "constraint", "--verify"],
    "rounds": ["--power-iterations", "3", "--verify"],
}
"""What `apply` is told, by the name of the case; models take turns with them."""

RECIPE = """\
kinds = ["dense", "conv", "attention", "recurrent", "embedding"]
mode = "cap"
bound = 2.5
[[layer]]
match = "re:."
power_iterations = 2
[[layer]]
match = "re:[a-e]"
mode = "gain"
norm = "operator"
"""

lines: list[str] = []
asked = argparse.Namespace(full=False, match=re.compile(""))


def record(name: str, text: object) -> None:
    """Takes down what came out of a case."""
    said = normal(text if isinstance(text, str) else repr(text))
    shown = json.dumps(said, ensure_ascii=False)
    if len(shown) > SHORT and not asked.full:
        shown = f"sha256 {hashlib.sha256(said.encode('utf-8', 'replace')).hexdigest()}"
    lines.append(f"{name}\t{shown}")


def digest(content: bytes) -> str:
    return f"sha256 {hashlib.sha256(content).hexdigest()} of {len(content)}"


def normal(text: str) -> str:
    """Takes out of a text what changes from run to run: times, and the folder it ran in."""
    text = text.replace(os.path.realpath(os.getcwd()), "$WORK").replace(str(ROOT), "$REPO")
    text = text.replace(os.path.dirname(os.path.dirname(snconvert.__file__)), "$PACKAGE")
    text = re.sub(r"\b\d+\.\d\d s\b", "# s", text)
    text = re.sub(r"""(["']seconds["']: |seconds=|seconds_sigma=)[0-9.e-]+""", r"\1#", text)
    return re.sub(r" at 0x[0-9a-f]+", " at 0x#", text)


def fork(action: Callable[[], object]) -> tuple[int, str, str]:
    """Runs something in a fork of this process; returns its exit code, stdout and stderr."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            code: object = 70
            try:
                null = os.open(os.devnull, os.O_RDONLY)
                for ours, theirs in ((null, 0), (out.fileno(), 1), (err.fileno(), 2)):
                    os.dup2(ours, theirs)
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                action()
                code = 0
            except SystemExit as end:
                code = end.code
                if isinstance(code, str):
                    print(code, file=sys.stderr)
            except BaseException:  # noqa: BLE001 - as the interpreter would
                traceback.print_exc()
                code = 1
            finally:
                with contextlib.suppress(BaseException):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code if isinstance(code, int) else int(code is not None))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "backslashreplace"))
        return status, texts[0], texts[1]


def command(name: str, *arguments: object) -> int:
    """Runs the command line and takes down what it says."""
    texts = [str(argument) for argument in arguments]

    def run() -> None:
        sys.argv = ["snconvert", *texts]
        runpy.run_module("snconvert", run_name="__main__")

    code, out, err = fork(run)
    record(f"{name} exit", code)
    for what, text in (("stdout", out), ("stderr", err)):
        if text:
            record(f"{name} {what}", text)
    return code


def warm_up() -> None:
    """Imports what the command line needs, and no backend, so that forks find it there."""
    for absent in ("keras", "tensorflow", "jax", "torch"):
        sys.modules[absent] = None  # type: ignore[assignment]
    for module in pkgutil.walk_packages(snconvert.__path__, "snconvert.", onerror=lambda _: None):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):
                import_module(module.name)
    for absent in ("keras", "tensorflow", "jax", "torch"):
        del sys.modules[absent]
    import h5py  # noqa: F401
    import rich.console
    import rich.table  # noqa: F401


def content(name: str, path: str | Path) -> None:
    """Takes down the bytes of a saved model, member by member."""
    path = Path(path)
    if path.is_dir():
        for member in sorted(path.rglob("*")):
            if member.is_file():
                record(f"{name} file {member.relative_to(path)}", digest(member.read_bytes()))
    elif path.exists():
        record(f"{name} file", digest(path.read_bytes()))
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                record(f"{name} file {member}", digest(archive.read(member)))
    else:
        record(f"{name} file", "none")


# The file carrier


def files(models: Path) -> None:
    """Every verb on every saved model."""
    warm_up()
    shutil.copytree(models, "m")
    Path("recipe.toml").write_text(RECIPE, "utf-8")
    for index, model in enumerate(sorted(path.name for path in Path("m").iterdir())):
        if asked.match.search(model):
            _chains(index, model)
    if asked.match.search("several"):
        _several()
        _functions()


def _chains(index: int, model: str) -> None:
    source, suffix = f"m/{model}", Path(model).suffix if not Path("m", model).is_dir() else ""
    tested, options = model.startswith("data-"), [*APPLY]
    command(f"{model} inspect", "inspect", source, "-v")
    command(f"{model} dry", "apply", source, "--dry-run", "--kinds", "all", "--json")
    for k in range(2 if tested else 6):
        option = options[(index + 5 * k) % len(options)]
        _chain(model, source, suffix, option, whole=k < (index % 2 if tested else 2))
    if tested:
        return
    command(f"{model} inspect json", "inspect", source, "--json", "--certify")
    command(f"{model} bake", "bake", source, "-o", f"baked{suffix}")
    command(f"{model} remove", "remove", source, "-o", f"plain{suffix}", "--json")
    command(f"{model} verify", "verify", source, source)
    kept = f"kept{suffix}"
    (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, kept)
    for verb in ("apply", "bake") if index % 2 else ("apply", "remove"):
        command(f"{model} in place {verb}", verb, kept, "--in-place", "-q")
        content(f"{model} in place {verb}", kept)
    _clean()


def _chain(model: str, source: str, suffix: str, option: str, *, whole: bool) -> None:
    name, sn, flags = f"{model} {option}", f"sn{suffix}", APPLY[option]
    how = "--json" if option in {"cap", "certify", "recipe"} else "-v"
    code = command(f"{name} apply", "apply", source, "-o", sn, *flags, how)
    content(f"{name} apply", sn)
    if code == 0 and whole:
        command(f"{name} inspect", "inspect", sn, *(["--json"] if len(model) % 2 else flags))
        command(f"{name} again", "apply", sn, "-o", f"again{suffix}", *flags)
        command(f"{name} verify", "verify", source, sn, "--json")
        for verb in ("bake", "remove"):
            back = f"{verb}{suffix}"
            command(f"{name} {verb}", verb, sn, "-o", back, "--json" if verb == "bake" else "-v")
            content(f"{name} {verb}", back)
            before = sn if verb == "bake" else source
            command(f"{name} {verb} verify", "verify", before, back)
        command(f"{name} part", "bake", sn, "--dry-run", "-v", "--only", "*e*")
    _clean()


def _clean() -> None:
    """Removes results, so that no case finds what another has left."""
    for path in Path().iterdir():
        if path.name not in {"m", "recipe.toml", "cases", *BAD_RECIPES}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _tree(name: str) -> None:
    """Takes down which files there are besides the models."""
    left = [str(p) for p in sorted(Path().rglob("*")) if p.parts[0] not in {"m", "cases"}]
    record(f"{name} left", " ".join(left))


def _several() -> None:
    """Folders, globs, jobs, and where results go."""
    for model in ("sequential", "functional", "moons"):
        shutil.copy(f"m/{model}.keras", Path())
    command("several apply", "apply", "sequential.keras", "functional.keras", "--jobs", "2")
    command("several apply again", "apply", "sequential.keras")
    command("several apply force", "apply", "sequential.keras", "--force", "--mode", "cap")
    _tree("several apply")
    command("several folder", "apply", ".", "-o", "results/", "--json")
    command("several glob", "inspect", "*.keras", "-q")
    command("several glob json", "inspect", "*-sn.keras", "--json")
    command("several bake", "bake", "*-sn.keras", "-o", "baked", "--jobs", "2")
    command("several remove", "remove", ".", "--dry-run")
    command("several wrong", "apply", "sequential.keras", "absent.keras", "recipe.toml", "--force")
    command("several clash", "apply", "sequential.keras", "m/sequential.keras", "-o", "clash/")
    command("several none", "apply", "*.nothing")
    command("several same", "apply", "moons.keras", "-o", "moons.keras")
    command("several name", "apply", "moons.keras", "-o", "moons.zip")
    command("several into", "apply", "moons.keras", "-o", "no/such/folder/x.keras")
    command("several verify", "verify", "sequential.keras", "functional.keras")
    command("several verify quiet", "verify", "sequential.keras", "functional.keras", "-q")
    command("several verify lost", "verify", "moons.keras", "absent.keras")
    for suffix in ("-sn", "-baked"):
        content(f"several {suffix}", f"sequential{suffix}.keras")
    _tree("several")
    _clean()


def _whole(result: Any) -> str:
    """Returns all that a report or verdict holds: its own representation names a little."""
    return repr(dataclasses.asdict(result) if dataclasses.is_dataclass(result) else tuple(result))


def _functions() -> None:
    """The functions on files: their reports and their progress."""
    told: list[Any] = []

    def act() -> None:
        for model in ("convolutional", "recurrent", "tokens"):
            told.clear()
            source = f"m/{model}.keras"
            report = snconvert.apply_file(source, "sn.keras", kinds="all", progress=told.append)
            print(model, _whole(report), report.as_json(), report.converted, report.skipped)
            print(sorted({(p.stage, p.what, p.total) for p in told}))
            print(_whole(snconvert.inspect("sn.keras", certify=True)))
            print(_whole(snconvert.bake_file("sn.keras", dry_run=True)))
            verdict = snconvert.verify(source, "sn.keras")
            print(_whole(verdict), bool(verdict), verdict.as_json())
            verdict = snconvert.verify("m/sequential.keras", "sn.keras")
            print(_whole(verdict), bool(verdict), [str(each) for each in verdict.differences])
            print(_whole(snconvert.remove_file("sn.keras", "plain.keras")))
            os.remove("sn.keras")
            os.remove("plain.keras")
        chosen = snconvert.apply_file(
            "m/many.keras",
            "sn.keras",
            select=lambda path, kind: path.endswith("1") and kind == "Dense",
            overrides={"d1": {"mode": "gain"}, "re:1.$": {"bound": 3.0}},
        )
        print(repr(chosen))

    for what, text in zip(("exit", "stdout", "stderr"), fork(act), strict=True):
        record(f"functions {what}", text)
    content("functions", "sn.keras")
    _clean()


# What is said

VERBS = ("apply", "bake", "remove", "inspect", "verify", "rules")

USAGE = """
apply
apply m/moons.keras --mode soft
apply m/moons.keras --mode
apply m/moons.keras --bound 0
apply m/moons.keras --bound nan
apply m/moons.keras --bound x
apply m/moons.keras --power-iterations 0
apply m/moons.keras --power-iterations 1.5
apply m/moons.keras --norm frobenius
apply m/moons.keras --target wrapper
apply m/moons.keras --kinds dense,nothing
apply m/moons.keras --kinds dense --conv
apply m/moons.keras --kinds ,
apply m/moons.keras --only re:(
apply m/moons.keras --exclude re:[
apply m/moons.keras --only nothing
apply m/moons.keras --exclude *
apply m/moons.keras --exclude nothing --dry-run
apply m/moons.keras --recipe absent.toml
apply m/moons.keras --recipe bad.toml
apply m/moons.keras --recipe wrong.toml
apply m/moons.keras --recipe value.toml
apply m/moons.keras --recipe match.toml
apply m/moons.keras --recipe m
apply m/moons.keras --import no_such_module
apply m/moons.keras --target keras --mode cap
apply m/moons.keras --target keras --bound 2
apply m/moons.keras --target keras --norm operator
apply m/moons.keras --target constraint --mode gain
apply m/moons.keras --target constraint --norm operator
apply m/moons.keras --in-place -o x.keras
apply m/moons.keras --in-place --force
apply m/moons.keras --jobs 0
apply m/moons.keras --jobs x
apply m/moons.keras --jsno
apply m/moons.keras --verify --import keras
apply m/moons.keras -o /dev/null
apply m/moons.keras -o m
apply absent.keras
apply https://example.org/x.keras
apply recipe.toml
apply bad.toml m/moons.keras --dry-run
apply m/legacy.h5 -o x.keras
apply m/only.weights.h5 -o x.keras
bake
bake m/moons.keras --mode cap
bake m/moons.keras --in-place -o x.keras
bake m/moons.keras --only re:(
bake m/moons.keras --dry-run
bake m/sn-hard.keras --only nothing
bake m/sn-hard.keras --exclude *
bake absent.keras
bake m/legacy.h5
remove
remove m/moons.keras --in-place --force
remove m/sn-hard.keras --only nothing
remove m/sn-hard.keras --only re:)
remove m/sn-hard.keras --jobs -1
remove absent.keras
remove m/only.weights.h5
inspect
inspect absent.keras
inspect m/moons.keras -o x
inspect m/moons.keras --only nothing
inspect m/moons.keras --mode soft
inspect m/moons.keras --target keras --mode gain
inspect m/moons.keras --kinds x
inspect m/moons.keras --recipe wrong.toml
inspect m/legacy.h5
inspect m/only.weights.h5
verify
verify m/moons.keras
verify m/moons.keras absent.keras
verify absent.keras m/moons.keras
verify m/moons.keras m/moons.keras m/moons.keras
verify m/moons.keras m/sequential.keras
verify m/legacy.h5 m/moons.keras
verify m/moons.keras m/moons.keras --import no_such_module
verify m/moons.keras m/moons.keras --mode cap
rules x
rules
rules --json
--version
convert m/moons.keras
--help
-h
"""

BAD_RECIPES = {
    "bad.toml": "mode = ",
    "wrong.toml": "moed = 'cap'\n",
    "value.toml": "bound = 'x'\n",
    "match.toml": "[[layer]]\nmode = 'cap'\n",
}

WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("apply_file", (3,), {}),
    ("apply_file", (None,), {}),
    ("apply_file", ("m/moons.keras",), {"mode": "soft"}),
    ("apply_file", ("m/moons.keras",), {"mode": 3}),
    ("apply_file", ("m/moons.keras",), {"bound": True}),
    ("apply_file", ("m/moons.keras",), {"bound": "1"}),
    ("apply_file", ("m/moons.keras",), {"bound": float("inf")}),
    ("apply_file", ("m/moons.keras",), {"power_iterations": 1.0}),
    ("apply_file", ("m/moons.keras",), {"kinds": "dense,x"}),
    ("apply_file", ("m/moons.keras",), {"kinds": 3}),
    ("apply_file", ("m/moons.keras",), {"kinds": []}),
    ("apply_file", ("m/moons.keras",), {"only": 3}),
    ("apply_file", ("m/moons.keras",), {"only": "nothing"}),
    ("apply_file", ("m/moons.keras",), {"exclude": ["re:("]}),
    ("apply_file", ("m/moons.keras",), {"select": "x"}),
    ("apply_file", ("m/moons.keras",), {"select": lambda *_: False}),
    ("apply_file", ("m/moons.keras",), {"overrides": 3}),
    ("apply_file", ("m/moons.keras",), {"overrides": {"x": {"target": "keras"}}}),
    ("apply_file", ("m/moons.keras",), {"overrides": {"x": {"mode": "soft"}}}),
    ("apply_file", ("m/moons.keras",), {"certify": "yes"}),
    ("apply_file", ("m/moons.keras",), {"certify": True, "norm": "operator"}),
    ("apply_file", ("m/moons.keras",), {"target": "x"}),
    ("apply_file", ("m/moons.keras",), {"target": "keras", "mode": "cap"}),
    ("apply_file", ("m/moons.keras",), {"nothing": 1}),
    ("apply_file", ("m/moons.keras",), {"recipe_file": "wrong.toml"}),
    ("apply_file", ("m/moons.keras",), {"recipe_file": 3}),
    ("apply_file", ("m/moons.keras", "x.keras"), {"in_place": True}),
    ("apply_file", ("m/moons.keras",), {"verify": True, "imports": ["keras"]}),
    ("apply_file", ("m/moons.keras",), {"imports": ["no_such_module"]}),
    ("apply_file", ("m/moons.keras",), {"imports": 3}),
    ("apply_file", ("m/moons.keras",), {"rules": [3]}),
    ("bake_file", (3,), {}),
    ("bake_file", ("m/moons.keras",), {}),
    ("bake_file", ("m/moons.keras",), {"mode": "cap"}),
    ("bake_file", ("m/sn-hard.keras",), {"only": "nothing"}),
    ("bake_file", ("m/sn-hard.keras", "x.keras"), {"in_place": True}),
    ("remove_file", ("m/sn-hard.keras",), {"select": lambda *_: False}),
    ("remove_file", ("m/moons.keras",), {}),
    ("inspect", ("absent.keras",), {}),
    ("inspect", ("m/moons.keras",), {"mode": "soft"}),
    ("inspect", ("m/moons.keras",), {"conv": "x"}),
    ("verify", ("absent.keras", "m/moons.keras"), {}),
    ("Settings", (), {"mode": "x"}),
    ("Settings", (), {"norm": "x"}),
    ("Settings", (), {"bound": -1}),
    ("Settings", (), {"power_iterations": True}),
    ("Recipe", (), {"target": "x"}),
    ("Recipe", (), {"kinds": ("x",)}),
    ("Recipe", (), {}),
    ("Settings", (), {}),
    ("LayerReport", ("a", "Dense", (1, 2), "converted"), {}),
    ("Progress", ("sigma", "a", 1, 2), {}),
    ("Change", ("a", "Dense", "SpectralDense", "converted"), {}),
    ("Difference", ("a", "it differs"), {}),
    ("Verdict", ("a", "b", (), (), 3, 0.5), {}),
]
"""Calls of functions on files and of values, most of them wrong."""


def attempt(name: str, action: Callable[[], object]) -> Any:
    """Takes down what a call raises, returns and warns of; returns what it returned."""
    result: Any = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = action()
            text = repr(result) if not hasattr(result, "layers") else type(result).__name__
        except Exception as error:  # noqa: BLE001 - whatever it is, it is compared
            text = f"{type(error).__name__}: {error}"
            text += f" / {vars(error)}" if isinstance(error, snconvert.SnconvertError) else ""
    record(f"{name} result", text)
    for warning in caught:
        if "__array__" not in str(warning.message) and "fork" not in str(warning.message):
            where = os.path.basename(warning.filename)
            said = f"{warning.category.__name__} at {where}: {warning.message}"
            record(f"{name} warning", said)
    return result


def texts(models: Path) -> None:
    """Help, wrong usage, the corpus of bad files and wrong calls of functions."""
    warm_up()
    Path("m").mkdir()
    for name in ("moons", "sequential", "sn-hard", "functional"):
        shutil.copy(models / f"{name}.keras", "m")
    for name in ("legacy.h5", "only.weights.h5"):
        shutil.copy(models / name, "m")
    Path("recipe.toml").write_text(RECIPE, "utf-8")
    for name, text in BAD_RECIPES.items():
        Path(name).write_text(text, "utf-8")
    for verb in VERBS:
        command(f"help {verb}", verb, "--help")
    for line in filter(None, USAGE.splitlines()):
        if asked.match.search(line) and "--import" not in line.split():
            command(f"usage {line}", *line.split())
    command("usage")
    for index, (name, arguments, options) in enumerate(WRONG):
        if "imports" not in options:
            _wrong(f"wrong {index:02} {name} {sorted(options)}", name, arguments, options)
    _tree("texts")
    shutil.copytree(DATA / "corpus" / "cases", "cases")
    manifest = json.loads((DATA / "corpus" / "manifest.json").read_text("utf-8"))
    os.mkdir("c")
    for index, case in enumerate(case["id"] for case in manifest["cases"]):
        if asked.match.search(case):
            command(f"corpus {case} apply", "apply", f"cases/{case}", "-o", "c/x.keras")
            content(f"corpus {case} apply", "c/x.keras")
            command(f"corpus {case} inspect", "inspect", f"cases/{case}", "--json")
            if index % 4 == 0:
                command(f"corpus {case} bake", "bake", f"cases/{case}", "-o", "c/y.keras")
                command(f"corpus {case} verify", "verify", f"cases/{case}", "m/moons.keras")
            for path in Path("c").iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    _tree("corpus")
    _surface()


PORTABLE = DATA / "golden.json"


def portable(_: Path) -> None:
    """Messages, tables without digits and configurations, of the files of `tests/data`."""
    asked.full = True
    warm_up()
    Path("m").mkdir()
    shutil.copy(SAMPLES / "moons.keras", "m")
    for path in (DATA / "models").iterdir():
        (shutil.copytree if path.is_dir() else shutil.copy)(path, Path("m", path.name))
    for path in (DATA / "corpus" / "cases").iterdir():
        if re.match("cfg_|code_|json_|fmt_.*(keras|json)$", path.name):
            shutil.copy(path, "m")
    Path("recipe.toml").write_text(RECIPE, "utf-8")
    for name, text in BAD_RECIPES.items():
        Path(name).write_text(text, "utf-8")
    for verb in VERBS:
        command(f"help {verb}", verb, "--help")
    for line in filter(None, USAGE.splitlines()):
        if not re.search("/sn-|h5|m/sequential|--import|--version", line):
            command(f"usage {line}", *line.split())
    for path in sorted(Path("m").iterdir()):
        if path.name != "moons.keras":
            _there(f"{path.name} all", path, "all")
            _clean()
    for option in ("default", "gain", "keras", "constraint", "recipe"):
        case = f"moons.keras {option}"
        _there(case, "m/moons.keras", option)
        command(f"{case} inspect", "inspect", "sn.keras", "--json")
        for verb in ("bake", "remove"):
            command(f"{case} {verb}", verb, "sn.keras", "-o", f"{verb}.keras", "-v")
            _configuration(f"{case} {verb}", f"{verb}.keras")
            command(f"{case} {verb} verify", "verify", "sn.keras", f"{verb}.keras")
        _clean()


def _there(case: str, path: str | Path, option: str) -> None:
    if command(f"{case} apply", "apply", path, "-o", "sn.keras", *APPLY[option]) == 0:
        _configuration(f"{case} apply", "sn.keras")


def _configuration(name: str, path: str) -> None:
    record(f"{name} config", hashlib.sha256(_members(Path(path))["config.json"]).hexdigest())


def without_digits(text: str) -> str:
    """Takes out of a text what depends on the machine: numbers of a search, widths, boxes."""
    text = re.sub(r"  +-?[0-9][0-9.e+-]*(?=  |\n)", "  #", text)
    text = re.sub(r"-?\b\d+(\.\d+)?e[+-]?\d+\b|-?\b\d+\.\d+\b", "#", text)
    text = re.sub(r'"bytes": \d+', '"bytes": #', text)
    return re.sub(r"[─│╭╮╰╯\s]+", " ", text).strip()


def cases() -> dict[str, str]:
    """Returns what the portable cases came to, by name."""
    pairs = (line.split("\t") for line in sorted(lines))
    return {name: without_digits(json.loads(text)) for name, text in pairs}


def _wrong(case: str, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    def act() -> None:
        attempt(case, lambda: getattr(snconvert, name)(*arguments, **options))
        print("\n".join(lines[count:]))

    count = len(lines)
    _, out, err = fork(act)
    lines.extend(out.splitlines())
    if err:
        record(f"{case} stderr", err)


def _surface() -> None:
    """Public names, signatures, and what Keras knows the layers by; imports keras."""
    record("surface all", sorted(snconvert.__all__))
    record("surface dir", [name for name in dir(snconvert) if not name.startswith("_")])
    for face in ("constraints", "errors", "layers", "recipe", "render", "rules"):
        module = import_module(f"snconvert.{face}")
        record(f"surface {face} doc", (module.__doc__ or "").split("\n\n")[0])
        for name in getattr(module, "__all__", ()):
            _about(f"surface {face}.{name}", getattr(module, name))
    for name in snconvert.__all__:
        _about(f"surface {name}", getattr(snconvert, name))
    from keras.saving import get_custom_objects, get_registered_name

    known = {k: v for k, v in get_custom_objects().items() if "snconvert" in k.lower()}
    for name, value in sorted(known.items()):
        record(f"surface registered {name}", f"{value.__module__}.{value.__qualname__}")
    from snconvert.constraints import SpectralNorm

    classes = [getattr(snconvert, name) for name in snconvert.__all__ if "Spectral" in name]
    for value in (*classes, SpectralNorm):
        where = f"{value.__module__}.{value.__qualname__}"
        record(f"surface module {value.__name__}", f"{where} as {get_registered_name(value)}")


def _about(name: str, value: Any) -> None:
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        with contextlib.suppress(TypeError):
            value = dict(value) if hasattr(value, "keys") else value
        record(f"{name} value", re.sub(r"<function .*?>", "<function>", repr(value)))
        return
    with contextlib.suppress(ValueError, TypeError):
        record(f"{name} signature", str(inspect.signature(value)))
    record(f"{name} doc", (inspect.getdoc(value) or "").split("\n\n")[0])
    if inspect.isclass(value):
        record(f"{name} bases", " ".join(base.__name__ for base in value.__mro__))
        members = [member for member in dir(value) if not member.startswith("_")]
        record(f"{name} members", " ".join(members))


# The memory carrier

LIVE: dict[str, dict[str, Any]] = {
    "default": {},
    "all": {"kinds": "all"},
    "cap": {"kinds": "all", "mode": "cap", "bound": 0.7, "norm": "operator"},
    "gain": {"kinds": "all", "mode": "gain", "power_iterations": 2},
    "constraint": {"kinds": "all", "target": "constraint"},
    "keras": {"kinds": "all", "target": "keras"},
    "recipe": {"recipe_file": "recipe.toml"},
    "certify": {"conv": True, "certify": True, "exclude": ["*1"]},
    "only": {"only": ["*e*"], "overrides": {"re:e": {"bound": 2.0}}},
}


def fresh(seed: int = 3) -> None:
    """Makes what follows independent of what went before: names, seeds."""
    import keras

    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    random.seed(seed)


def live(models: Path) -> None:
    """Every function on models: those of the saved files, and topologies that no file tells."""
    import keras
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    from live_models import TOPOLOGIES

    shutil.copytree(models, "m")
    Path("recipe.toml").write_text(RECIPE, "utf-8")
    for name, text in BAD_RECIPES.items():
        Path(name).write_text(text, "utf-8")
    named: list[tuple[str, Callable[[], Any]]] = [*TOPOLOGIES.items()]
    named += [
        (path.name, lambda path=path: keras.saving.load_model(path))
        for path in sorted(Path("m").iterdir())
        if not path.name.startswith("data-") and path.suffix in {"", ".keras"}
    ]
    for index, (name, make) in enumerate(named):
        if asked.match.search(name):
            _live_model(index, name, make)
    for part in (_wrong_live, _training, _weights, _through_keras, _processes):
        if asked.match.search(part.__name__):
            part()


def _live_model(index: int, name: str, make: Callable[[], Any]) -> None:
    fresh()
    model = attempt(f"{name} make", make)
    if model is None:
        return
    report = attempt(f"{name} inspect", lambda: snconvert.inspect(model))
    _printed(f"{name} inspect", report)
    options = list(LIVE)
    chosen = [options[(index + 4 * k) % len(options)] for k in range(1 if "." in name else 2)]
    _state(f"{name} before", model)
    for option in chosen:
        case, told = f"{name} {option}", LIVE[option]
        plan = attempt(f"{case} plan", lambda told=told: snconvert.plan(model, **told))
        _printed(f"{case} plan", plan)
        fresh()
        patched = attempt(f"{case} apply", lambda told=told: snconvert.apply(model, **told))
        _state(f"{name} {option} untouched", model)
        if patched is None:
            continue
        _state(case, patched)
        _saved(case, patched)
        attempt(f"{case} again", lambda patched=patched: snconvert.apply(patched))
        said = attempt(f"{case} inspect", lambda patched=patched: snconvert.inspect(patched))
        _printed(f"{case} inspect", said)
        if index % 2:
            _verdict(f"{case} verify", model, patched)
        attempt(f"{case} converge", lambda patched=patched: snconvert.converge(patched))
        _state(f"{case} converge", patched)
        for verb in ("bake", "remove"):
            fresh()
            way = getattr(snconvert, verb)
            back = attempt(f"{case} {verb}", lambda patched=patched, way=way: way(patched))
            if back is not None:
                _state(f"{case} {verb}", back)
                _saved(f"{case} {verb}", back)
                if verb == "bake" and index % 2 == 0:
                    _verdict(f"{case} {verb} verify", patched, back)
    fresh()
    told = LIVE[options[index % 5]]
    attempt(f"{name} in place", lambda: snconvert.apply(model, in_place=True, **told))
    _state(f"{name} in place", model)
    attempt(f"{name} out of place", lambda: snconvert.remove(model, in_place=True))
    _state(f"{name} out of place", model)
    _saved(f"{name} out of place", model)


def _printed(name: str, report: Any) -> None:
    from snconvert.render import print_report

    if report is not None:
        record(f"{name} report", _whole(report))
        stream = io.StringIO()
        print_report(report, stream, verbose=True)
        record(f"{name} printed", stream.getvalue())


def _verdict(name: str, before: Any, after: Any) -> None:
    attempt(name, lambda: snconvert.verify(before, after))


def _state(name: str, model: Any) -> None:
    """Takes down the variables, of the optimizer too, and the classes of the layers."""
    import numpy as np

    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer else ())]
    found = hashlib.sha256()
    names = []
    for variable in variables:
        value = np.ascontiguousarray(np.asarray(variable.value))
        names.append(f"{variable.path} {value.dtype} {value.shape} {variable.trainable}")
        found.update(value.tobytes())
    record(f"{name} variables", "\n".join(names))
    record(f"{name} values", f"sha256 {found.hexdigest()}")
    classes = [type(layer).__name__ for layer in model._flatten_layers()]
    record(f"{name} classes", " ".join(classes))


def _saved(name: str, model: Any) -> None:
    """Takes down what Keras saves of the model."""
    attempt(f"{name} save", lambda: model.save("saved.keras"))
    if not os.path.exists("saved.keras"):
        return
    with zipfile.ZipFile("saved.keras") as archive:
        for member in archive.namelist():
            content = archive.read(member)
            if member == "config.json":
                record(f"{name} saved config", _renumbered(content.decode("utf-8")))
            elif member == "metadata.json":
                metadata = json.loads(content)
                metadata.pop("date_saved")
                record(f"{name} saved metadata", json.dumps(metadata))
            elif member.endswith(".h5"):
                for part, text in zip(("arrays", "values"), _arrays(content), strict=True):
                    record(f"{name} saved {part}", text)
            else:
                record(f"{name} saved {member}", digest(content))
    os.remove("saved.keras")


def _renumbered(config: str) -> str:
    """Keras numbers shared objects by their address."""
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f'"shared_object_id": {numbers.setdefault(match[1], len(numbers))}'

    return re.sub(r'"shared_object_id": (\d+)', number, config)


def _arrays(content: bytes) -> tuple[str, str]:
    import h5py

    names: list[str] = []
    found = hashlib.sha256()

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            names.append(f"{name} {item.dtype} {item.shape} {sorted(item.attrs)}")
            found.update(item[()].tobytes())
        else:
            names.append(f"{name} {dict(item.attrs)}")

    with h5py.File(io.BytesIO(content)) as file:
        file.visititems(visit)
    return "\n".join(names), f"sha256 {found.hexdigest()}"


def _wrong_live() -> None:
    import keras

    plain = keras.saving.load_model("m/sequential.keras")
    spectral = snconvert.apply(plain)
    recurrent = keras.saving.load_model("m/recurrent.keras")
    models = {"plain": plain, "spectral": spectral, "number": 3, "path": "m/moons.keras"}
    models |= {"none": None, "unbuilt": keras.Sequential([keras.layers.Dense(3)])}
    calls: dict[str, Callable[[Any], Any]] = {
        "apply": snconvert.apply,
        "plan": snconvert.plan,
        "bake": snconvert.bake,
        "remove": snconvert.remove,
        "inspect": snconvert.inspect,
        "converge": snconvert.converge,
        "project": snconvert.project,
        "load_plain_weights": lambda model: snconvert.load_plain_weights(model, "m/moons.keras"),
        "verify": lambda model: snconvert.verify(model, plain),
        "verify file": lambda model: snconvert.verify(model, "m/sequential.keras"),
        "apply_file": snconvert.apply_file,
    }
    for (name, model), (verb, call) in ((m, c) for m in models.items() for c in calls.items()):
        if (name, verb) != ("path", "apply_file"):
            attempt(f"wrong {verb} {name}", lambda call=call, model=model: call(model))
    for verb in ("apply", "plan", "inspect", "project", "SpectralProjection"):
        for index, (name, _, options) in enumerate(WRONG):
            if name == "apply_file" and options.keys().isdisjoint({"in_place", "verify"}):
                _wrong_options(f"wrong {verb} {index:02} {sorted(options)}", verb, plain, options)
    for verb in ("bake", "remove"):
        for options in ({"mode": "cap"}, {"only": "nothing"}, {"exclude": "*"}, {"select": 3}):
            _wrong_options(f"wrong {verb} {options}", verb, spectral, options)
    for rounds in (0, True, 1.5, "x", -1):
        attempt(f"wrong converge {rounds}", lambda r=rounds: snconvert.converge(spectral, rounds=r))
    for options in ({"mode": "soft"}, {"bound": 0}, {"power_iterations": 0}, {"norm": "x"}):
        for name in ("SpectralDense", "SpectralLSTM", "SpectralMultiHeadAttention"):
            given = {"SpectralMultiHeadAttention": (2, 3)}.get(name, (3,))
            layer = getattr(snconvert, name)
            attempt(f"wrong {name} {options}", lambda la=layer, g=given, o=options: la(*g, **o))
        from snconvert.constraints import SpectralNorm

        attempt(f"wrong SpectralNorm {options}", lambda o=options: SpectralNorm(**o))
    attempt("kinds unsaid", lambda: snconvert.apply(recurrent))
    attempt("kinds said", lambda: snconvert.apply(recurrent, kinds=["dense"]))


def _wrong_options(case: str, verb: str, model: Any, options: dict[str, Any]) -> None:
    arguments = () if verb == "SpectralProjection" else (model,)

    def act() -> Any:
        result = getattr(snconvert, verb)(*arguments, **options)
        return None if verb == "SpectralProjection" else result

    attempt(case, act)


def _data(model: Any) -> tuple[Any, Any]:
    import numpy as np

    rng = np.random.default_rng(5)
    whole = "int" in model.inputs[0].dtype
    shape = (8, *(size or 4 for size in model.inputs[0].shape[1:]))
    x = rng.integers(0, 9, size=shape) if whole else rng.normal(size=shape).astype("float32")
    shape = np.asarray(model(x)).shape
    return x, rng.normal(size=shape).astype("float32")


def _training() -> None:
    """Steps of converted models, and of plain ones that are projected."""
    import keras

    cases = [
        (m, o) for m in ("frozen", "sequential") for o in ("all", "gain", "constraint", "keras")
    ]
    cases += [("convolutional", "cap"), ("tokens", "gain"), ("wrapped", "all"), ("shapes", "all")]
    for name, option in cases:
        fresh()
        model = keras.saving.load_model(f"m/{name}.keras")
        case = f"fit {name} {option}"
        patched = attempt(case, lambda m=model, o=option: snconvert.apply(m, **LIVE[o]))
        x, y = _data(patched)
        patched.compile(keras.optimizers.Adam(0.01), "mse", run_eagerly=name != "sequential")
        patched.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        _state(case, patched)
        _printed(case, attempt(f"{case} inspect", lambda p=patched: snconvert.inspect(p)))
        for rounds in (1, None):
            snconvert.converge(patched, rounds=rounds) if option != "keras" else None
            _state(f"{case} converge {rounds}", patched)
        for verb in ("bake", "remove"):
            way = getattr(snconvert, verb)
            back = attempt(f"{case} {verb}", lambda p=patched, w=way: w(p))
            if back is None:
                continue
            _state(f"{case} {verb}", back)
            _saved(f"{case} {verb}", back)
            _verdict(f"{case} {verb} verify", patched, back)
    for options in (
        {"bound": 0.5},
        {"mode": "cap", "conv": True},
        {"kinds": "all", "norm": "operator"},
    ):
        fresh()
        model = keras.saving.load_model("m/convolutional.keras")
        x, y = _data(model)
        case = f"project {options}"
        attempt(case, lambda m=model, o=options: snconvert.project(m, **o))
        attempt(case, lambda m=model, o=options: snconvert.project(m, **o))
        _state(case, model)
        model.compile("sgd", "mse", run_eagerly=True)
        callback = attempt(f"{case} callback", lambda o=options: snconvert.SpectralProjection(**o))
        if callback is None:
            continue
        model.fit(x, y, batch_size=4, verbose=0, shuffle=False, callbacks=[callback])
        _state(f"{case} fit", model)


def _weights() -> None:
    """Weights of before in a converted model, and sigma of arrays."""
    import keras
    import numpy as np

    for name, option in (("sequential", "all"), ("recurrent", "gain"), ("tokens", "all")):
        fresh()
        model = keras.saving.load_model(f"m/{name}.keras")
        patched = snconvert.apply(model, **LIVE[option])
        for variable in model.trainable_variables:
            variable.assign(variable.value * 2)
        model.save_weights("x.weights.h5")
        for source in (model, f"m/{name}.keras", "x.weights.h5", "m/moons.keras", "absent.h5"):
            case = f"plain weights {name} {source if isinstance(source, str) else 'model'}"
            attempt(case, lambda p=patched, s=source: snconvert.load_plain_weights(p, s))
            _state(case, patched)
    rng = np.random.default_rng(2)
    kernel, u = rng.normal(size=(5, 4)).astype("float32"), rng.normal(size=4).astype("float32")
    for rounds in (1, 3, 0, "x"):
        for size in (u, rng.normal(size=5).astype("float32")):
            case = f"spectral_norm {rounds} {size.shape}"
            attempt(case, lambda r=rounds, s=size: snconvert.spectral_norm(kernel, s, r))


def _through_keras() -> None:
    """Files that go through Keras."""
    rewritten: dict[str, dict[str, Any]] = {
        "legacy.h5": {},
        "data-k215_seq.h5": {},
        "frozen.keras": {"kinds": "all", "mode": "gain"},
        "tokens.keras": {"kinds": "all"},
        "unzipped": {"target": "constraint"},
        "wrapped.keras": {"target": "keras", "kinds": "all"},
    }
    for name, options in rewritten.items():
        fresh()
        case, source, suffix = (
            f"imports {name}",
            f"m/{name}",
            "" if name == "unzipped" else ".keras",
        )
        sn = f"sn{suffix}"
        told = {"imports": ["keras"], **options}
        report = attempt(f"{case} inspect", lambda s=source, t=told: snconvert.inspect(s, **t))
        _printed(f"{case} inspect", report)
        report = attempt(case, lambda s=source, o=sn, t=told: snconvert.apply_file(s, o, **t))
        _printed(case, report)
        attempt(f"{case} verify", lambda s=source, o=sn: snconvert.verify(s, o, imports=["keras"]))
        for path in (source, sn):
            _archive(f"{case} {path}", path)
        for verb in ("bake", "remove"):
            way = getattr(snconvert, f"{verb}_file")
            back = f"{verb}{suffix}"
            report = attempt(
                f"{case} {verb}", lambda w=way, o=sn, b=back: w(o, b, imports=["keras"])
            )
            _printed(f"{case} {verb}", report)
            _archive(f"{case} {verb}", back)
        _clean()
    for index, (name, arguments, options) in enumerate(WRONG):
        if "imports" in options:
            case = f"wrong {index:02} {name} {sorted(options)}"
            attempt(case, lambda n=name, a=arguments, o=options: getattr(snconvert, n)(*a, **o))


def _archive(name: str, path: str) -> None:
    """Takes down a file that Keras has written."""
    if not os.path.exists(path):
        record(f"{name} file", "none")
    elif path.endswith(".h5"):
        record(f"{name} file", digest(Path(path).read_bytes()))
    else:
        read = _members(Path(path))
        record(f"{name} config", _renumbered(read["config.json"].decode("utf-8")))
        metadata = json.loads(read["metadata.json"])
        metadata.pop("date_saved", None)
        record(f"{name} metadata", json.dumps(metadata))
        for part, text in zip(("arrays", "values"), _arrays(read["model.weights.h5"]), strict=True):
            record(f"{name} {part}", text)


def _members(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {item.name: item.read_bytes() for item in path.iterdir() if item.is_file()}
    with zipfile.ZipFile(path) as archive:
        return {member: archive.read(member) for member in archive.namelist()}


def _processes() -> None:
    """The command line where it imports Keras, in processes of their own."""
    for line in (
        "apply m/legacy.h5 --import keras -o sn.keras",
        "inspect m/frozen.keras --import keras --json",
        "verify m/sequential.keras m/functional.keras --import keras",
        "apply m/moons.keras --import no_such_module",
        "bake m/sn-gain.keras --import keras --dry-run -v",
    ):
        command_line = [sys.executable, "-m", "snconvert", *line.split()]
        done = subprocess.run(command_line, capture_output=True, text=True, check=False)
        record(f"process {line} exit", done.returncode)
        record(f"process {line} stdout", done.stdout)
        record(f"process {line} stderr", done.stderr)


# The models


def build(folder: Path) -> None:
    """Builds and saves the models that all cases use."""
    import keras
    import numpy as np
    import zoo
    from keras import layers

    folder.mkdir(parents=True)
    for path in (DATA / "models").iterdir():
        (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / f"data-{path.name}")
    shutil.copy(SAMPLES / "moons.keras", folder)

    def save(name: str, model: Any) -> Any:
        model.save(folder / f"{name}.keras")
        return model

    for name, make in zoo.ZOO.items():
        fresh()
        save(name, zoo.randomize(make()))
    for name, optimizer in _optimizers().items():
        fresh()
        save(f"optimizer-{name}", _trained(optimizer))
    fresh()
    save("shapes", zoo.randomize(_shapes()))
    for name, value in {"zero": 0.0, "tiny": 1e-42, "huge": 3e38, "nan": np.nan}.items():
        fresh()
        model = keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.Dense(3)])
        model.layers[0].kernel.assign(np.full((5, 4), value, "float32"))
        save(f"kernel-{name}", model)
    fresh()
    _trained(keras.optimizers.Adam()).save(folder / "unzipped", zipped=False)
    fresh()
    model = zoo.randomize(zoo.sequential())
    model.compile("adam", "mse")
    model.save(folder / "legacy.h5")
    model.save_weights(folder / "only.weights.h5")
    told = {
        "hard": {},
        "cap": {"mode": "cap", "bound": 0.5},
        "gain": {"mode": "gain"},
        "operator": {"norm": "operator"},
        "constraint": {"target": "constraint"},
        "keras": {"target": "keras"},
    }
    for name, options in told.items():  # converted and trained since
        fresh()
        model = _trained(keras.optimizers.AdamW(0.05), fit=False)
        _fit(snconvert.apply(model, kinds="all", **options), keras.optimizers.AdamW(0.05))
        model = snconvert.apply(model, kinds="all", **options)
        save(f"sn-{name}", _fit(model, keras.optimizers.AdamW(0.05)))
        for variable in model.trainable_variables:  # and assigned: u is left behind
            variable.assign(np.asarray(variable.value) * 3 + 0.1)
        save(f"stale-{name}", model)


def _optimizers() -> dict[str, Any]:
    from keras import optimizers

    return {
        "sgd": optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        "amsgrad": optimizers.Adam(amsgrad=True, clipnorm=1.0),
        "adamw-ema": optimizers.AdamW(use_ema=True, gradient_accumulation_steps=2),
        "rmsprop": optimizers.RMSprop(centered=True, momentum=0.5),
        "adagrad": optimizers.Adagrad(),
        "adadelta": optimizers.Adadelta(),
        "adafactor": optimizers.Adafactor(),
        "nadam": optimizers.Nadam(),
        "lion": optimizers.Lion(),
        "ftrl": optimizers.Ftrl(),
        "muon": optimizers.Muon(),
        "scaled": optimizers.LossScaleOptimizer(optimizers.Adam()),
        "schedule": optimizers.Adam(optimizers.schedules.CosineDecay(0.1, 10)),
    }


def _trained(optimizer: Any, *, fit: bool = True) -> Any:
    import keras
    from keras import layers

    inputs = keras.Input((4, 4, 2), name="image")
    x = layers.Conv2D(3, 2, activation="relu", name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Reshape((9, 3), name="rows")(x)
    x = layers.LSTM(4, name="lstm")(x)
    x = layers.Dropout(0.2, name="drop")(x)
    shared = layers.Dense(4, name="shared")
    x = layers.Dense(3, name="head", trainable=False)(shared(shared(x)))
    model = keras.Model(inputs, layers.Dense(2, name="out", kernel_regularizer="l2")(x), name="net")
    return _fit(model, optimizer) if fit else model


def _fit(model: Any, optimizer: Any) -> Any:
    import numpy as np

    rng = np.random.default_rng(1)
    model.compile(optimizer, "mse", metrics=["mae"], run_eagerly=True)
    x, y = rng.normal(size=(8, 4, 4, 2)), rng.normal(size=(8, 2))
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    return model


def _shapes() -> Any:
    """Convolutions of all strides, paddings and dilations, and odd names."""
    import keras
    from keras import layers

    inputs = keras.Input((12, 10, 4), name="bild")
    x = layers.Conv2D(6, 3, strides=(2, 1), padding="same", name="gro\u00df")(inputs)
    x = layers.Conv2D(6, (3, 2), dilation_rate=2, groups=2, padding="same", name="a b")(x)
    x = layers.DepthwiseConv2D(2, strides=2, name="x.y")(x)
    x = layers.Conv2DTranspose(3, 3, strides=2, output_padding=1, padding="same", name="re_up")(x)
    x = layers.Conv2D(2, 4, strides=3, name="conv_a")(x)
    x = layers.Reshape((-1, 2), name="seq")(x)
    x = layers.Conv1D(4, 2, dilation_rate=2, padding="causal", name="conv_b")(x)
    return keras.Model(inputs, layers.Dense(1, name="dense*")(layers.Flatten(name="flat")(x)))


SECTIONS: dict[str, Callable[[Path], None]] = {
    "files": files,
    "live": live,
    "texts": texts,
    "portable": portable,
}


def _sections(chosen: Sequence[str], arguments: Sequence[str]) -> Iterator[str]:
    """Runs sections in processes of their own, as one that has TensorFlow is no good for forks."""
    for section in chosen:
        line = [sys.executable, __file__, section, *arguments]
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
        yield from (f"{section} {each}" for each in done.stdout.splitlines())


def main() -> None:
    """Runs the sections that are asked for and prints their lines, sorted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], metavar="|".join(SECTIONS))
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="Built if it is not there.")
    parser.add_argument("--full", action="store_true", help="Print texts of any length.")
    parser.add_argument("--renew", action="store_true", help="Write tests/data/golden.json anew.")
    parser.add_argument(
        "--match", default="", metavar="REGEX", help="Only models and cases like it."
    )
    told = parser.parse_args()
    models = told.models or Path(tempfile.gettempdir(), "snconvert-golden")
    models = models.resolve()
    package = os.path.dirname(os.path.dirname(os.path.realpath(snconvert.__file__)))
    os.environ["PYTHONPATH"] = package
    asked.full, asked.match = told.full, re.compile(told.match)
    print(f"{package} with the models in {models}", file=sys.stderr)
    if told.sections != ["portable"] and not models.exists():
        unfinished = models.with_name(models.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        pid = os.fork()  # as a process that has TensorFlow is no good for forks
        if pid == 0:
            build(unfinished)
            os._exit(0)
        if os.waitpid(pid, 0)[1]:
            sys.exit("the models could not be built")
        unfinished.rename(models)
    if len(told.sections) == 1:
        with tempfile.TemporaryDirectory() as work:
            os.chdir(work)
            SECTIONS[told.sections[0]](models)
            os.chdir("/")
        if told.sections != ["portable"]:
            print("\n".join(sorted(lines)))
        elif told.renew:
            PORTABLE.write_text(json.dumps(cases(), indent=1, ensure_ascii=False) + "\n", "utf-8")
        else:
            print(json.dumps(cases()))
    else:
        arguments = ["--models", str(models), "--match", told.match, *["--full"] * told.full]
        print("\n".join(sorted(_sections(told.sections or ["files", "live", "texts"], arguments))))


if __name__ == "__main__":
    main()
