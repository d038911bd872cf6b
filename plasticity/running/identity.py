"""Which code makes the numbers: a digest of the source that a training run passes through. Standard library only."""

import ast
import hashlib
import json
from functools import lru_cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ROOMS = (".", "training", "methods", "networks", "datasets", "rl")  # the core and what it trains with and on
NOT_TRAINING = {"__init__", "__main__", "profiles", "files"}  # of the core: what it exports, plans and downloads


@lru_cache(maxsize=1)
def source() -> str:
    """Eight hexadecimal digits of the SHA-256 of the code that can change a run's record: its syntax, without
    docstrings and comments, so that prose and formatting make nothing stale.

    Records of another source are valid; `status` counts them as stale. Workers of another source are refused.
    """
    digest = hashlib.sha256()
    for room in ROOMS:
        for path in sorted((PACKAGE / room).glob("*.py")):
            if room != "." or path.stem not in NOT_TRAINING:
                digest.update(f"{room}/{path.name}".encode() + syntax(path.read_text("utf-8")).encode())
    return digest.hexdigest()[:8]


def syntax(text: str) -> str:
    """The syntax tree of a module as text, without docstrings, comments and positions; the same in all versions of
    Python."""
    return json.dumps(_plain(ast.parse(text)), separators=(",", ":"))


def _plain(node):
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, ast.AST):
        return node if isinstance(node, (str, int, bool, type(None))) else repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value is not None and value != []}
    fields.pop("kind", None)  # the u of u"text"
    if (
        isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and ast.get_docstring(node, clean=False) is not None
    ):
        fields["body"] = node.body[1:]
    return [type(node).__name__, *((name, _plain(value)) for name, value in fields.items() if name != "ctx")]
