"""Strict, atomic papermill: a notebook under another name exists only if it ran to its end, with the parameters asked for.

python -m plasticity.execute notebooks/20_analysis.ipynb out.ipynb -p profile mini -p repeats 5
"""

import argparse
import ast
import glob
import os
import platform
import sys
from pathlib import Path

import nbformat
import papermill
import psutil
from jupyter_client.kernelspec import NoSuchKernel

from .kernel import Interrupts

RECORDED = "what is recorded stays: start again to go on"
REFUSED = (
    ValueError,
    NoSuchKernel,
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


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
            value = (
                text
                if isinstance(default, str)
                else ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
            )
        except (ValueError, SyntaxError):
            value = text
        if isinstance(default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(default):
            raise ValueError(
                f"parameter {name}={text!r} must be a {type(default).__name__}, as its default {default!r} is"
            )
        parsed[name] = value
    return parsed


def execute(notebook: str | Path, target: str | Path, parameters: dict | None = None, log: bool = True) -> Path:
    """Run a notebook into ``target``, which appears only when every cell has run; else `partial` keeps the traceback.

    ``parameters`` are values, checked against the notebook's own. Raises ValueError for a wrong parameter,
    papermill.PapermillExecutionError for a failing cell (its ``ename`` is DeadKernelError where the kernel died in it),
    OSError where the notebook can't be written; KeyboardInterrupt, or SystemExit for SIGTERM, when the kernel has been stopped.
    """
    target = Path(target)
    defaults = parameters_of(notebook)
    values = parse(
        {name: value if isinstance(value, str) else repr(value) for name, value in (parameters or {}).items()}, defaults
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    private = _private(target)
    try:
        with Interrupts() as interrupts:
            book = papermill.execute_notebook(
                notebook,
                private,
                values,
                engine_name="strict",
                progress_bar=False,
                cwd=Path.cwd(),
                stdout_file=sys.stdout if log else None,
                stderr_file=sys.stderr if log else None,
                autosave_cell_every=0,
                interrupts=interrupts,
                target=str(target),
            )
            if book.metadata.papermill.exception:  # papermill lets sys.exit(0) pass
                raise RuntimeError("a cell called sys.exit: the cells after it did not run")
    except OSError:
        private.unlink(missing_ok=True)  # what is in it may be cut off anywhere
        raise
    except BaseException:
        if private.exists():
            os.replace(private, partial(target))
        raise
    os.replace(private, target)
    partial(target).unlink(missing_ok=True)
    return target


def partial(target: str | Path) -> Path:
    """Where a notebook that did not run to its end is kept, with the traceback in it."""
    return Path(target).with_suffix(".partial.ipynb")


def _private(target: Path) -> Path:
    """This process's own name for the unfinished notebook; those of processes that were killed on this machine are removed."""
    start, end = f".{target.stem}.{platform.node()}-", ".partial.ipynb"
    for path in target.parent.glob(glob.escape(start) + "*" + end):
        pid = path.name.removeprefix(start).removesuffix(end)
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            path.unlink(missing_ok=True)
    return target.parent / f"{start}{os.getpid()}{end}"


def _what_failed(error: papermill.PapermillExecutionError) -> str:
    """One line on the cell, by the number that it has in the partial notebook."""
    if error.ename == "DeadKernelError":
        return f"its kernel died in cell {error.exec_count} (killed, or out of memory?); {RECORDED}"
    return f"cell {error.exec_count} failed: {error.ename}: {next(iter(error.evalue.splitlines()), '')}"


def main(arguments: list[str] | None = None) -> int:
    """The command line. Exit 0: done; 2: a wrong parameter or file, nothing ran; 1: a cell failed, the kernel died, or the disk is
    full; 130: interrupted (143: by SIGTERM)."""
    parser = argparse.ArgumentParser(prog="python -m plasticity.execute", description=__doc__.splitlines()[0])
    parser.add_argument("notebook")
    parser.add_argument("target")
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    options = parser.parse_args(arguments)
    try:
        print(f"wrote {execute(options.notebook, options.target, dict(options.parameter))}")
        return 0
    except REFUSED as error:
        line, code = f"error: {error}", 2
    except OSError as error:
        line, code = (
            f"error: {options.target} was not written: {error.strerror or error}; {RECORDED} when that is mended",
            1,
        )
    except papermill.PapermillExecutionError as error:
        line, code = f"error: {options.notebook}: {_what_failed(error)}; see {partial(options.target)}", 1
    except RuntimeError as error:
        line, code = f"error: {options.notebook}: {error}", 1
    except (KeyboardInterrupt, SystemExit) as stop:
        line, code = "interrupted: what is recorded stays; start again to go on", getattr(stop, "code", 130)
    print(line, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
