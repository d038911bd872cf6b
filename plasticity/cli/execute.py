"""Strict, atomic papermill: the executed notebook exists only if it ran to its end, with the parameters asked for.

Example:
    plasticity execute notebooks/20_analysis.ipynb out.ipynb -p profile mini -p repeats 5

Exit 0: done; 2: a wrong parameter or file, nothing ran; 1: a cell failed, the kernel died, or the disk is full;
130: interrupted (143: by SIGTERM).
"""


def arguments(parser):
    parser.add_argument("notebook")
    parser.add_argument(
        "target", help="the executed notebook; until it has run to its end, what there is has .partial in its name"
    )
    parameter = {"nargs": 2, "action": "append", "default": [], "metavar": ("NAME", "VALUE")}
    parser.add_argument("-p", "--parameter", help="a parameter of the notebook, instead of its default", **parameter)


def main(options) -> int:
    from ..book import execute

    parts = [part for name, value in options.parameter for part in ("-p", name, value)]
    return execute.main([options.notebook, options.target, *parts])
