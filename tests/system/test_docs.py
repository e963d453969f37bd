"""The papers are true: their blocks run, their links lead somewhere, every command is in them."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import typer
import warm
from places import ROOT
from playwright.sync_api import sync_playwright

from snconvert import errors
from snconvert.cli.commands import app
from snconvert.core.public_names import HOME
from snconvert.core.settings import MODES
from snconvert.core.targets import TARGETS
from snconvert.core.version import __version__
from snconvert.errors import SnconvertError
from snconvert.formats.table import FORMATS
from snconvert.kinds.table import RULES

PAGES = {
    os.path.relpath(path, ROOT): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("*.md")))
}
README = PAGES["README.md"]
SESSIONS = """
import json, sys
for page, blocks in json.load(sys.stdin).items():
    names = {}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{page}, Python block {number}", "exec"), names)
"""
COMMANDS = sorted(
    {
        line.partition("#")[0].strip()
        for page in PAGES.values()
        for block in re.findall(r"^```bash\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
        if line.startswith("snconvert ")
    }
)
LINKS = sorted(
    {
        (page, target)
        for page, text in PAGES.items()
        for target in re.findall(r"\]\(([^)\s]+)\)", text)
        if "://" not in target
    }
)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OF_OTHERS = (
    r"invalid value for|No module named|unterminated subpattern at position|No space left on device"
    r"|No such file or directory|got an unexpected keyword argument|name '\w+' is not defined"
    r"|Unable to locate credentials|expected 2 variables, but received 0 variables"
)
"""What Python, click and the system say in the messages that troubleshooting quotes."""


def blocks(marker: str) -> list[str]:
    """Returns the fenced blocks of the README below `<!-- marker -->`."""
    return re.findall(rf"<!-- {marker} -->\n```\w+\n(.*?)```", README, re.DOTALL)


def anchors(text: str) -> set[str]:
    """Returns what a link can name of a page: its headings, in small letters with hyphens."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the samples, as a new user has it."""
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    return tmp_path


def test_the_blocks_run(checkout: Path) -> None:
    """The first command, then every Python block, a session a page, do what the text says."""
    (block,) = blocks("first run")
    command = block.partition("pip install . && ")[2]
    shell = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    first = subprocess.run(
        ["bash", "-c", command.replace("snconvert ", f"{sys.executable} -m snconvert ", 1)],
        cwd=checkout,
        env=os.environ | shell,
        capture_output=True,
        text=True,
        check=False,
    )
    assert first.returncode == 0, first.stderr
    assert "SpectralDense" in first.stdout
    code = {
        page: re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        for page, text in PAGES.items()
    }
    assert len(code["README.md"]) == len(blocks("python"))
    result = warm.run(
        [sys.executable, "-c", SESSIONS],
        modules=warm.TENSORFLOW,
        cwd=checkout,
        input=json.dumps(code),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "4 layers converted" in result.stdout
    assert {path.name for path in (checkout / "samples").glob("*.keras")} == {
        "moons.keras",
        "moons-sn.keras",
        "moons-trained.keras",
        "moons-cap.keras",
        "moons-live.keras",
    }


def test_commands_and_values() -> None:
    """Every command is in the README; every mode, target, kind of layer and format in docs, too."""
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"snconvert {command.name or command.callback.__name__}" in README
    documented = {word for page in PAGES.values() for word in re.findall(r"\w+", page)}
    assert documented >= {*MODES, *TARGETS, *RULES, *FORMATS}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(command: str) -> None:
    """The command and its options exist."""
    _, verb, *arguments = shlex.split(command)
    program = typer.main.get_command(app)
    if verb.startswith("-"):
        assert verb in {spelling for option in program.params for spelling in option.opts}
    else:
        program.commands[verb].make_context(verb, arguments)


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_a_link_leads_somewhere(page: str, target: str) -> None:
    """The file is there, and so is the heading."""
    name, _, anchor = target.partition("#")
    path = os.path.normpath(os.path.join(os.path.dirname(page), name)) if name else page
    assert (ROOT / path).exists()
    assert not anchor or anchor in anchors(PAGES[path])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built without a warning."""
    folder = tmp_path_factory.mktemp("site")
    built = warm.run(
        [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going", "docs", str(folder)],
        modules=warm.TENSORFLOW,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_the_site_has_every_command_and_name(site: Path) -> None:
    """Every command, option and public name is on the site."""
    commands = (site / "commands.html").read_text(encoding="utf-8")
    for verb, command in typer.main.get_command(app).commands.items():
        for option in command.params:
            for name in option.opts if option.param_type_name == "option" else ():
                assert f'id="cmdoption-snconvert-{verb}-{name.lstrip("-")}"' in commands
    reference = "".join(
        (site / page).read_text(encoding="utf-8") for page in ("api.html", "layers.html")
    )
    documented = set(re.findall(r'id="snconvert\.(?:errors\.)?(\w+)"', reference))
    assert documented >= {*HOME} - {"__version__"}


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
def test_the_site_in_a_browser(site: Path) -> None:
    """Pages with what is wide fit a phone; no network is needed; the search finds a message."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844}, offline=True)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name in ("index", "commands", "layers", "lipschitz-layers", "speed"):
            page.goto((site / f"{name}.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        page.goto((site / "search.html").as_uri() + "?q=matches+no+layer")
        page.locator("#search-results a", has_text="matches no layer").wait_for()
        browser.close()
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}


def _texts() -> set[tuple[str, ...]]:
    """Returns the texts in the package, each as its pieces between what is filled in."""
    texts = set()
    for path in (ROOT / "snconvert").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                pieces = [part.value for part in node.values if isinstance(part, ast.Constant)]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                pieces = re.split(r"\{[^}]*\}", node.value)
            else:
                continue
            texts.add(tuple(str(piece) for piece in pieces if piece))
    return {text for text in texts if sum(map(len, text)) > len("no layer")}


def test_messages_of_troubleshooting() -> None:
    """Those that the page quotes are the package's: but for values no three words are others."""
    texts = _texts()
    page = PAGES["docs/troubleshooting.md"]
    quoted = re.findall(r"^```text\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    for message in (line for block in quoted for line in block.splitlines()):
        rest = list(message)
        for text in texts:
            if all(piece in message for piece in text):
                for found in re.finditer(".*?".join(f"({re.escape(x)})" for x in text), message):
                    for group in range(1, len(text) + 1):
                        start, end = found.span(group)
                        rest[start:end] = "|" * (end - start)
        left = re.sub(OF_OTHERS, "", "".join(rest))
        assert not re.search(r"\b[a-z]+ [a-z]+ [a-z]+\b", left), (message, left)


def _literals(node: ast.expr, names: Mapping[str, list[str]]) -> list[str]:
    """Returns the texts of an expression, as its pieces between what is filled in."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return [text for part in node.values for text in _literals(part, names)]
    if isinstance(node, ast.IfExp):
        return _literals(node.body, names) + _literals(node.orelse, names)
    if isinstance(node, ast.BinOp):
        return _literals(node.left, names) + _literals(node.right, names)
    return names.get(node.id, []) if isinstance(node, ast.Name) else []


def _raised() -> Iterator[tuple[str, list[str]]]:
    """Yields where an error of the package is made, and the texts of its message."""
    classes = {n for n, x in vars(errors).items() if isinstance(x, type)}
    trees = {
        path: ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "snconvert").rglob("*.py"))
    }
    shared: dict[str, list[str]] = {}
    own: dict[Path, dict[str, list[str]]] = {}
    for path, tree in trees.items():
        own[path] = {
            ast.unparse(node.targets[0]): _literals(node.value, {})
            for node in tree.body
            if isinstance(node, ast.Assign)
        }
        shared |= own[path]
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in classes:
                pieces = [_literals(x, shared | own[path]) for x in node.args[:2]]
                yield f"{path.name}:{node.lineno}", [text for each in pieces for text in each]


def _runs(text: str, length: int) -> set[str]:
    """Returns what a reader may search for: so many words of a text in a row."""
    words = re.findall(r"[\w'/-]+", text)
    return {" ".join(words[i : i + length]) for i in range(len(words) - length + 1)}


def test_every_message_leads_to_troubleshooting() -> None:
    """Four words in a row of it, what is wrong or what to do, are on the page."""
    page = _runs(PAGES["docs/troubleshooting.md"], 4)
    messages = dict(_raised())
    assert len(messages) > 300
    searched = {
        place: {run for text in texts for run in _runs(text, 4)}
        for place, texts in messages.items()
    }
    assert not {place: runs for place, runs in searched.items() if runs and not runs & page}


def test_every_error_is_in_troubleshooting() -> None:
    """Each class of errors is there, and those just below the base have a section."""
    page = PAGES["docs/troubleshooting.md"]
    headings = [
        section.splitlines()[0]
        for section in re.split(r"^## ", page, flags=re.MULTILINE)
        if "```text\n" in section
    ]
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, SnconvertError):
            assert re.search(rf"\b{name}\b", page), name
            if error.__base__ is SnconvertError:
                assert any(heading.endswith(f"({name})") for heading in headings), name


def test_the_install_and_test_commands_are_one_line_each() -> None:
    """Install and run, install and test: one line each."""
    for marker in ("first run", "tests"):
        (block,) = blocks(marker)
        assert block.startswith("pip install ")
        assert block.count("\n") == 1


def test_files_that_pages_name_are_there() -> None:
    """Scripts, tests and tables that a page names in backticks exist."""
    pattern = r"`(?:python )?((?:benchmarks|samples|snconvert|tests)/[\w/-]+\.(?:json|md|py))"
    named = {name for page in PAGES.values() for name in re.findall(pattern, page)}
    assert len(named) > 10
    assert not {name for name in named if not (ROOT / name).exists()}


def test_the_release_is_the_same_everywhere() -> None:
    """Package, changelog and citation name one version and one date."""
    version, date = re.findall(r"^## (\S+) - (\S+)$", PAGES["CHANGELOG.md"], re.MULTILINE)[0]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'\nversion: {version}\ndate-released: "{date}"\n' in citation
    assert version == __version__


def test_the_manual_is_of_this_program() -> None:
    """`docs/snconvert.1` is what its script prints, and `groff` finds nothing wrong with it."""
    page = ROOT / "docs/snconvert.1"
    manual = runpy.run_path(str(ROOT / "docs/manual.py"))["manual"]()
    renew = "python docs/manual.py > docs/snconvert.1"
    assert page.read_text(encoding="utf-8") == manual, f"renew it: {renew}"
    if groff := shutil.which("groff"):
        checked = subprocess.run(
            [groff, "-man", "-ww", "-z", page], capture_output=True, text=True, check=False
        )
        assert checked.stderr == ""


@pytest.mark.slow
def test_the_comparison_is_true() -> None:
    """The tools that the tests have do what the page says of them, in these numbers."""
    script = [sys.executable, ROOT / "benchmarks/compare_tools.py", "snconvert", "keras", "torch"]
    printed = warm.run(script, capture_output=True, text=True, check=True).stdout
    rows = PAGES["docs/comparison.md"].partition("|---|")[2].splitlines()
    said = {cells[1].strip(): cells[2:5] for cells in (row.split("|") for row in rows[1:10])}
    tools = re.split(r"^\S.*\n", printed, flags=re.MULTILINE)[1:]
    for i, tool in enumerate(tools):
        found = dict(re.findall(r"^  (\S.{13}) (.*)$", tool, re.MULTILINE))
        found = {name.strip(): answer for name, answer in found.items()}
        assert found["first predict"].endswith(said["First prediction"][i].strip())
        for name, row in (("gradient", "Gradient"), ("second order", "Gradient penalty")):
            off = float(found[name].split()[-1])
            assert off == pytest.approx(float(said[row][i]), rel=0.1 if off > 0.01 else 1.0)
        assert said["Raw kernel in training"][i].strip() in found["raw kernel"]
        norms = re.findall(r"norm of the map ([\d.]+)", tool)
        assert all(f"{float(norm):.2f}" in said["Convolution as a map"][i] for norm in norms)
