"""Sphinx settings of the site. `make docs` writes the pages first (docs/generate.py), then builds them."""

import re

import prefront

# What is kept as it is: code, emphasis, and the bullets of lists.
LITERAL = re.compile(r"(`[^`]*`|(?<![\w*])\*(?! )[^*\n]+(?<! )\*(?![\w*])|^ *\* )", re.MULTILINE)
SIGN = re.compile(r"([*|]|_\b)")

project, author, version = "Prefront", "The Prefront authors", prefront.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"Prefront {version}"
html_theme_options = {"navigation_with_keys": True}
html_static_path, html_css_files = ["static"], ["site.css"]
html_show_sphinx = html_show_copyright = html_copy_source = False

myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # Docstrings begin their headings where the page's own leave off.

default_role = "code"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "ignore-module-all": True, "show-inheritance": True}
autodoc_typehints = "none"  # The docstrings say shapes and units, which types do not.
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False

# The documentation of others is elsewhere, and the build asks no network.
nitpicky = True
# Other packages, private names and type variables have no page.
nitpick_ignore_regex = [("py:.*", r"(?!prefront\.).*|prefront\..*\._\w+|prefront\..*\.(Found|Kind)")]


def escaped(app, what, name, obj, options, lines):
    """Turns the Markdown of docstrings, in place, into what reStructuredText reads the same way."""
    if what == "class" and (page := [i for i, line in enumerate(lines) if line.startswith("## ")]):
        lines[page[0] :] = ["Its page under Environments says more.", ""]
    made = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        if paragraph.startswith("|") or re.search(r"\S {3,}\S", paragraph):  # a table, or columns of text
            made.append("::\n\n" + "\n".join("   " + line for line in paragraph.split("\n")))
        else:
            parts = LITERAL.split(paragraph)
            made.append("".join(part if LITERAL.fullmatch(part) else SIGN.sub(r"\\\1", part) for part in parts))
    lines[:] = [*"\n\n".join(made).split("\n"), ""]


def skipped(app, what, name, obj, skip, options):
    """Leaves out the fields of named tuples, which the docstring of the class explains."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else skip


def setup(app):
    """Connects both."""
    app.connect("autodoc-process-docstring", escaped, priority=100)  # before napoleon
    app.connect("autodoc-skip-member", skipped)
