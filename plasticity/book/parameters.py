"""A notebook's parameters: names and defaults in its tagged cell, and what is asked for as values of their types."""

import ast
import enum
import math
import os
from pathlib import Path

import nbformat

PLAIN = (str, bool, int, float, list, dict, type(None))
ALLOWED = "text in Unicode, true or false, whole and finite numbers, None, and lists and dicts (by text) of these"


def parameters_of(notebook: str | Path) -> dict:
    """The names and default values in the cell tagged ``parameters``.

    Raises OSError for a file that can't be read, ValueError for one that is no notebook, has not one such cell, or has
    anything else than literals assigned to names in it.
    """
    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except OSError:
        raise
    except Exception as error:  # nbformat raises nearly anything
        raise ValueError(f"{notebook} is no notebook ({str(error).partition(chr(10))[0]})") from None
    source = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(source) != 1:
        raise ValueError(f"{notebook} has {len(source)} cells tagged 'parameters', expected one")
    try:
        assigned = [node for node in ast.parse(source[0]).body if isinstance(node, ast.Assign | ast.AnnAssign)]
    except SyntaxError as error:
        where = f"{notebook}, cell tagged 'parameters', line {error.lineno}"
        raise ValueError(f"{where}: {(error.text or '').strip()!r} is not Python") from None
    return dict(_default(node, notebook) for node in assigned if node.value)


def _default(node: ast.Assign | ast.AnnAssign, notebook) -> tuple:
    try:
        (target,) = node.targets if isinstance(node, ast.Assign) else [node.target]
        return target.id, ast.literal_eval(node.value)
    except (AttributeError, ValueError):
        wrong = f"{notebook}, cell tagged 'parameters': {ast.unparse(node)!r}"
        raise ValueError(f"{wrong}; expected a name and a literal, such as repeats = 5") from None


def parse(values: dict, defaults: dict) -> dict:
    """Texts from the command line, and values, as values of the defaults' types; for a default of None, of any type.

    A path becomes its text; an enum's member, a scalar or an array of numpy or torch what is in it; a tuple a list, as
    in JSON. Raises ValueError for unknown names, other types, and what can't be passed to a notebook.
    """
    if unknown := [name for name in values if name not in defaults]:
        raise ValueError(f"unknown parameter {unknown[0]!r}; this notebook has: {', '.join(defaults)}")
    return {name: _typed(name, value, defaults[name]) for name, value in values.items()}


def _typed(name: str, given, default):
    value = _plain(given)
    if isinstance(value, str) and not isinstance(default, str):
        value = _literal(value)
    if type(default) is float and type(value) is int and abs(value) < 2**1023:
        value = float(value)
    if type(default) not in PLAIN or not passes(value):
        default = f" in place of its default {default!r}" if type(default) not in PLAIN else ""
        raise ValueError(f"parameter {name}={given!r} can't be passed{default}; allowed are {ALLOWED}")
    if default is not None and type(value) is not type(default):
        wanted = f"a {type(default).__name__}, as its default {default!r} is"
        raise ValueError(f"parameter {name}={given!r} must be {wanted}" + "; or leave it out" * (given is None))
    return value


def _plain(value):
    """What is in a path, an enum's member, an array or a scalar; in lists and dicts, too."""
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        inner = value.tolist()
        return _plain(inner) if type(inner) is not type(value) else float(inner)  # numpy's longdouble stays one
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return str(value) if isinstance(value, str) else value


def _literal(text: str):
    """What a text is in Python, with JSON's true and false; else the text."""
    try:
        return _plain(ast.literal_eval({"true": "True", "false": "False"}.get(text, text)))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text


def passes(value) -> bool:
    """Whether a value arrives in a notebook as it is, and can be written into it."""
    if isinstance(value, dict):
        return all(type(key) is str and passes(key) and passes(each) for key, each in value.items())
    if isinstance(value, list):
        return all(map(passes, value))
    if isinstance(value, str):
        return not any("\ud800" <= sign <= "\udfff" for sign in value)  # bytes of a file's name that are no Unicode
    return type(value) in PLAIN and (type(value) is not float or math.isfinite(value))
