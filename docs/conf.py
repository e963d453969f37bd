"""How Sphinx builds the site: `sphinx-build docs docs/_build`."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
import generated

from snconvert.core.version import __version__

project = "snconvert"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "code"  # docstrings mark code with one backtick
smartquotes_action = "D"  # dashes, but no quotes: messages are looked for as they are printed

myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
nitpick_ignore_regex = [  # pages of other projects are not asked, and not all types are public
    ("py:.*", r"(?!snconvert\.).*"),
    ("py:class", r"snconvert\..*\.(Convolution|Graph|Model|Override|SettingsOptions)"),
]

html_theme = "furo"
html_title = f"snconvert {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

_ROOT_PAGES = {
    "README": "index",
    "CONTRIBUTING": "contributing/index",
    "SECURITY": "security",
    "CHANGELOG": "changelog",
}
_TO_ROOT = re.compile(rf"\]\(/?(?:\.\./)+({'|'.join(_ROOT_PAGES)})\.md")


def _read(app: Sphinx, _: str, source: list[str]) -> None:
    """Puts in what is generated, and leads links to the pages at the root to those of the site."""
    text = generated.fill(source[0])
    if text != source[0]:
        app.env.note_reread()  # the program may change while the page does not
    source[0] = _TO_ROOT.sub(lambda link: f"](/{_ROOT_PAGES[link[1]]}.md", text)


def setup(app: Sphinx) -> None:
    """Registers the hook."""
    app.connect("source-read", _read)
