"""How Sphinx makes the book. `plasticity.book` lays out the pages and calls it: `make site`."""

import shutil
from pathlib import Path

project = "plasticity"
language = "en"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["executed"]
templates_path = ["_templates"]
default_role = "code"

nb_execution_mode = "off"
nb_ipywidgets_js = {}  # nothing is asked of another host
nb_render_markdown_format = "gfm"
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"

mathjax_path = "mathjax/tex-chtml-full.js"
mathjax3_config = {"options": {"enableMenu": False}}  # the menu would load more parts on demand

html_theme = "sphinx_book_theme"
html_theme_options = {"use_download_button": False, "use_fullscreen_button": False, "home_page_in_toc": True, "show_toc_level": 2,
                      "navbar_persistent": [], "footer_content_items": []}  # fmt: skip
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_favicon = "_static/favicon.svg"
html_copy_source = html_show_sourcelink = html_show_copyright = html_use_index = html_domain_indices = False
UNUSED = ("**/*.map", "scripts/fontawesome.js*", "*.html", "locales", "images", "vendor/fontawesome/webfonts/fa-brands*")


def literal(app, what, name, thing, options, lines: list[str]) -> None:
    """Bars in docstrings are absolute values here, not substitutions."""
    lines[:] = [line.replace("|", r"\|") for line in lines]


def slim(app, exception: Exception | None) -> None:
    """Remove the theme's files that no page loads."""
    for pattern in UNUSED:
        for path in Path(app.outdir, "_static").glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def setup(app) -> None:
    app.connect("autodoc-process-docstring", literal)
    app.connect("build-finished", slim)
