"""Text files are UTF-8 whatever the locale says; what guards a result does not vanish under `python -O`."""

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [path for folder in ("plasticity", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")]


def nodes(path):
    """Of a module, or of a notebook's cells without magics."""
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        text = "\n".join(cell for cell in cells if not cell.startswith("%"))
    return ast.walk(ast.parse(text))


def opens_text(call):
    """Whether a call reads or writes text in an encoding that it does not name."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in given:
        return False
    if name in ("run", "Popen", "check_output"):
        return bool({"text", "universal_newlines"} & given.keys())
    if name in ("read_text", "write_text"):
        return len(call.args) < (1 if name == "read_text" else 2)
    mode = [*call.args[1:2], *filter(None, [given.get("mode")])] if isinstance(call.func, ast.Name) else None
    return name == "open" and mode is not None and not any("b" in getattr(each, "value", "") for each in mode)


def test_every_text_is_read_and_written_in_a_named_encoding():
    calls = [(path, node) for path in FILES for node in nodes(path) if isinstance(node, ast.Call)]
    assert [f"{path.relative_to(ROOT)}:{call.lineno}" for path, call in calls if opens_text(call)] == []


def test_no_check_is_an_assert():
    files = [*FILES, *(ROOT / "notebooks").glob("*.ipynb")]
    asserts = [(path, node) for path in files for node in nodes(path) if isinstance(node, ast.Assert)]
    assert [f"{path.relative_to(ROOT)}:{node.lineno}" for path, node in asserts] == []


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_code_on_a_page_does_not_scroll_sideways(page):
    """At a window of 1280 pixels the site has room for 92 columns."""
    fenced = False
    for line in (ROOT / page).read_text("utf-8").splitlines():
        fenced ^= line.lstrip().startswith("```")
        assert not (fenced or line.startswith("    ")) or len(line) - 4 * (not fenced) <= 92, line
