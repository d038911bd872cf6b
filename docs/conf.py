"""How Sphinx makes the site. `plasticity.book.site` lays out the pages as the repository has them, and calls it."""

import posixpath
import re
import shutil
import tomllib
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref

ROOT = Path(__file__).resolve().parents[1]
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"].get("urls", {})

project = "plasticity"
language = "en"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["executed", "reference/*/**"]  # the tables there are included in pages or downloaded
templates_path = ["_templates"]
default_role = "code"

nb_execution_mode = "off"
nb_ipywidgets_js = {}  # nothing is asked of another host
nb_merge_streams = True
nb_render_markdown_format = "gfm"
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"

mathjax_path = "mathjax/tex-chtml-full.js"
mathjax3_config = {"options": {"enableMenu": False}}  # the menu would load more parts on demand

html_theme = "sphinx_book_theme"
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "navbar_persistent": [],
    "footer_content_items": [],
}
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_favicon = "_static/favicon.svg"
html_copy_source = html_show_sourcelink = html_show_copyright = html_use_index = html_domain_indices = False
UNUSED = (
    "**/*.map",
    "scripts/fontawesome.js*",
    "*.html",
    "locales",
    "images",
    "vendor/fontawesome/webfonts/fa-brands*",
)


def literal(app, what, name, thing, options, lines: list[str]) -> None:
    """Bars in docstrings are absolute values here, not substitutions."""
    lines[:] = [line.replace("|", r"\|") for line in lines]


def files(app, page) -> None:
    """A link to a file that has no page leads to the repository, or is plain text while no address is known.

    A link to nothing is an error of Sphinx.
    """
    for link in [node for node in page.findall(pending_xref) if node["reftype"] == "myst"]:
        target = link["reftarget"].partition("#")[0]
        if link["refdomain"] == "doc":
            path = f"{target}.md"
            found = target in app.env.found_docs
        else:
            path = posixpath.normpath(posixpath.join(posixpath.dirname(app.env.docname), target))
            found = False
        if found or not (ROOT / path).exists():
            continue
        if url := URLS.get("Repository"):
            link.replace_self(nodes.reference("", "", *link.children, refuri=f"{url.rstrip('/')}/blob/HEAD/{path}"))
        else:
            link.replace_self(link.children)


def unbroken(app, page) -> None:
    """A mean and its standard deviation stay on one line."""
    for text in [node for node in page.findall(nodes.Text) if " ± " in node]:
        text.parent.replace(text, nodes.Text(re.sub(r"(?<=\d) ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}", text)))


def slim(app, exception: Exception | None) -> None:
    """Remove the theme's files that no page loads."""
    for pattern in UNUSED:
        for path in Path(app.outdir, "_static").glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def setup(app) -> None:
    app.connect("autodoc-process-docstring", literal)
    app.connect("doctree-read", files)
    app.connect("doctree-read", unbroken)
    app.connect("build-finished", slim)
