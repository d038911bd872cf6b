"""A static site of a profile's executed notebooks, README and the reference pages; nothing is trained or fetched.

Example:
    plasticity site mini --out public
"""

from pathlib import Path

from . import options as shared

REFUSED = (ValueError, FileNotFoundError, FileExistsError)


def arguments(parser):
    shared.add(parser, "profile", "--results")
    parser.add_argument("--out", default="", help="folder of the site; <results>/site unless said")


def main(options) -> None:
    from ..book.site import build

    results = shared.results_of(options)
    print(f"wrote {build(options.profile, results, options.out and Path(options.out))}")
