"""Strict, atomic papermill: a notebook under another name exists only if it ran to its end, with the parameters asked for.

    python -m plasticity.execute notebooks/20_analysis.ipynb out.ipynb -p profile mini -p repeats 5
"""

import argparse
import ast
import os
import sys
from pathlib import Path

import nbformat
import papermill


def parameters_of(notebook: str | Path) -> dict:
    """The names and default values in the cell tagged ``parameters``. Raises ValueError if there is none."""
    cells = nbformat.read(notebook, as_version=4).cells
    source = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(source) != 1:
        raise ValueError(f"{notebook} has {len(source)} cells tagged 'parameters', expected one")
    assigned = [node for node in ast.parse(source[0]).body if isinstance(node, ast.Assign)]
    return {node.targets[0].id: ast.literal_eval(node.value) for node in assigned}


def parse(values: dict[str, str], defaults: dict) -> dict:
    """Text from the command line as values of the defaults' types. Raises ValueError for unknown names and other types."""
    parsed = {}
    for name, text in values.items():
        if name not in defaults:
            raise ValueError(f"unknown parameter {name!r}; this notebook has: {', '.join(defaults)}")
        default = defaults[name]
        try:
            value = text if isinstance(default, str) else ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
        except (ValueError, SyntaxError):
            value = text
        if isinstance(default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(default):
            raise ValueError(f"parameter {name}={text!r} must be a {type(default).__name__}, as its default {default!r} is")
        parsed[name] = value
    return parsed


def execute(notebook: str | Path, target: str | Path, parameters: dict | None = None, log: bool = True) -> Path:
    """Run a notebook into ``target``, which appears only when every cell has run; else ``*.partial.ipynb`` keeps the traceback.

    ``parameters`` are values, checked against the notebook's own. Raises ValueError for a wrong parameter,
    papermill.PapermillExecutionError for a failing cell.
    """
    target = Path(target)
    defaults = parameters_of(notebook)
    values = parse({name: value if isinstance(value, str) else repr(value) for name, value in (parameters or {}).items()}, defaults)
    partial = target.with_suffix(".partial.ipynb")
    target.parent.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(notebook, partial, values, log_output=log, stdout_file=sys.stdout if log else None,
                               progress_bar=False, cwd=Path.cwd())  # fmt: skip
    os.replace(partial, target)
    return target


def main(arguments: list[str] | None = None) -> int:
    """The command line: exit 0 when done, 2 for a wrong parameter or file, 1 for a failing cell."""
    parser = argparse.ArgumentParser(prog="python -m plasticity.execute", description=__doc__.splitlines()[0])
    parser.add_argument("notebook")
    parser.add_argument("target")
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    options = parser.parse_args(arguments)
    try:
        print(f"wrote {execute(options.notebook, options.target, dict(options.parameter))}")
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except papermill.PapermillExecutionError as error:
        print(f"error: {options.notebook}: a cell failed: {error.ename}: {error.evalue}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
