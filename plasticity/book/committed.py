"""A notebook that has not been executed, with the committed results of ``reference/`` as its cells' outputs.

Which cell shows what is read from its source: the names in its calls of ``report.table``, ``.figure`` and ``.found``.
What a name is made of at run time stands for anything.
"""

import ast
import base64
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import nbformat
from nbformat.v4 import new_output

from ..analysis.tables import RESULTS

FOLDERS = ("tables", "figures", "findings", "checks", "companions", "rl")  # of a profile's committed results
CALLS = ("table", "figure", "found")  # of the report, that show something
FOUND = "> **What we found.** {}"  # as `report.found` shows it


def results(folder: Path) -> dict[str, Path]:
    """The committed pictures, tables and findings of a profile by ``call/name``: "figure/10_accuracy"."""
    calls = {".png": "figure", ".md": "table"}
    paths = [path for part in FOLDERS for path in sorted((folder / part).glob("*")) if path.suffix in calls]
    return {f"{'found' if path.parent.name == 'findings' else calls[path.suffix]}/{path.stem}": path for path in paths}


def filled(book: nbformat.NotebookNode, there: dict[str, Path]) -> nbformat.NotebookNode:
    """A copy of a notebook's source whose cells have those of the results as outputs that they make."""
    book = nbformat.from_dict(book)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    known = literals(cell.source for cell in cells)
    calls = [list(shown(cell.source, known)) for cell in cells]
    plain = {name: re.sub(r"\\(.)", r"\1", name) for each in calls for name in each}
    exact = {name for name in plain.values() if name in there}
    for cell, names in zip(cells, calls, strict=True):
        paths = []
        for name in names:
            named, rest = plain[name], [other for other in there if other not in exact]
            paths += [there[other] for other in ([named] if named in exact else rest) if re.fullmatch(name, other)]
        cell.outputs = [output(path) for path in dict.fromkeys(paths)]
    return book


def output(path: Path) -> nbformat.NotebookNode:
    """A committed file as a cell's output."""
    if path.suffix == ".png":
        return new_output("display_data", {"image/png": base64.b64encode(path.read_bytes()).decode()})
    text = path.read_text("utf-8")
    if path.parent.name == "findings":
        text = FOUND.format(" ".join(text.split("\n")).strip())
    return new_output("display_data", {"text/markdown": text})


def literals(sources: Iterable[str]) -> dict[str, str]:
    """The names that cells assign a text to, once: ``number, network = "10", "simplenet"``."""
    found = {}
    for node in (node for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assign)):
        for target in node.targets:
            names, values = (
                (target.elts, node.value.elts)
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                else ([target], [node.value])
            )
            for name, value in zip(names, values, strict=False):
                if isinstance(name, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                    found[name.id] = value.value
    return found


def shown(source: str, known: dict[str, str]) -> Iterable[str]:
    """Of each call of the report that shows something ``call/name`` as a regular expression."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    for node in sorted(calls, key=lambda call: call.lineno):
        if isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
            hidden = any(word.arg == "show" for word in node.keywords)
            if getattr(node.func.value, "id", "") == "report" and len(node.args) > 1 and not hidden:
                yield f"{node.func.attr}/{pattern(node.args[1], known)}"


def pattern(node: ast.expr, known: dict[str, str]) -> str:
    """What a name can be, as a regular expression."""
    if isinstance(node, ast.Constant):
        return re.escape(str(node.value))
    if isinstance(node, ast.JoinedStr):
        return "".join(pattern(part, known) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return pattern(node.value, known)
    if isinstance(node, ast.Name) and node.id in known:
        return re.escape(known[node.id])
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "tables.results_name":
        tables = [RESULTS[known["network"]]] if known.get("network") in RESULTS else RESULTS.values()
        return rf"(?:{'|'.join(tables)})" if known.get("network") in (None, *RESULTS) else r"table_\w+"
    return r"\w+"


def choose(number: int, folders: Sequence[Path]) -> tuple[dict[str, Path], Path]:
    """The results of the first of these folders that has any of a chapter, and the folder; of none if none has."""
    for folder in folders:
        there = results(folder)
        if any(re.match(rf"\w+/{number:02d}(_|$)", name) for name in there):
            return there, folder
    return {}, folders[0]
