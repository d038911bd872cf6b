"""Strict, atomic papermill: the executed notebook exists only if it ran to its end, with the parameters asked for.

Example:
    plasticity execute notebooks/20_analysis.ipynb out.ipynb -p profile mini -p repeats 5

Exit 0: done; 2: a wrong parameter or file, nothing ran; 1: a cell failed, the kernel died, or the disk is full;
130: interrupted (143: by SIGTERM, 129: by SIGHUP).
"""

import sys


def arguments(parser):
    parser.add_argument("notebook")
    parser.add_argument(
        "target", help="the executed notebook; until it has run to its end, what there is has .partial in its name"
    )
    parameter = {"nargs": 2, "action": "append", "default": [], "metavar": ("NAME", "VALUE")}
    parser.add_argument("-p", "--parameter", help="a parameter of the notebook, instead of its default", **parameter)


def main(options) -> int:
    import papermill

    from ..book.execute import RECORDED, REFUSED, execute, partial, what_failed

    notebook, target = options.notebook, options.target
    try:
        print(f"wrote {execute(notebook, target, dict(options.parameter))}")
        return 0
    except REFUSED as error:
        said, code = f"error: {error}", 2
    except BrokenPipeError:
        raise
    except OSError as error:
        why = error.strerror or error
        said, code = f"error: {target} was not written: {why}; {RECORDED} when that is fixed", 1
    except papermill.PapermillExecutionError as error:
        said, code = f"error: {notebook}: {what_failed(error)}; see {partial(target)}", 1
    except RuntimeError as error:  # one of them: this user is unknown here, as in a container
        todo = "; Jupyter needs one: set HOME to a folder" if "home directory" in str(error) else ""
        said, code = f"error: {notebook}: {error}{todo}", 1
    except (KeyboardInterrupt, SystemExit) as stop:
        said, code = "interrupted: what is recorded stays; start again to go on", getattr(stop, "code", 130)
    print(said, file=sys.stderr)
    return code
