"""The site that `make docs` builds: the pages of this folder, and a reference of the public functions.

Nothing is fetched: no page refers to a server, and other projects' references are not looked up.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx

from lookalike.version import VERSION

project = "Lookalike"
copyright = "The Lookalike authors, Apache-2.0"
release = version = VERSION

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["images", "notebooks"]
suppress_warnings = ["myst.header"]  # a page that is included begins at its own level

myst_heading_anchors = 4  # links to headings are those of GitHub
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "Lookalike"
html_copy_source = False
html_show_sphinx = False

_NAME = re.compile(r"(?<!`)`([^`]+)`(?!`)(\w?)")


def _names_as_code(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings put names between single backticks, and letters behind: `StorageError`s. reST wants ``two``, apart."""
    text = _NAME.sub(
        lambda found: f"``{found[1]}``" + (f"\\ {found[2]}" if found[2] else ""), "\n".join(lines)
    )
    lines[:] = text.split("\n")


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", _names_as_code)
