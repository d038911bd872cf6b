"""Base against 10M with your own network on your own images: executes notebook 46.

Example:
    plasticity own --model resnet18 --images photos
"""

from . import options as shared
from .reproduce import execute, notebooks

REFUSED = (ValueError, FileNotFoundError)


def arguments(parser):
    shared.add(parser, "profile", "--results", "--data", "--workers")
    parser.add_argument("--model", help="a name of timm's, or of this project's; the notebook's own unless said")
    parser.add_argument(
        "--images", help="a folder with a subfolder of images for each class; example images unless said"
    )


def main(options) -> int:
    notebook = notebooks() / "46_your_own_model.ipynb"
    if options.images:
        check(options.images)
    results = shared.results_of(options)
    given = {"profile": options.profile, "results": results, "data": options.data, "workers": options.workers}
    given |= {name: getattr(options, name) for name in ("model", "images") if getattr(options, name)}
    return execute(notebook, results / "notebooks" / notebook.name, given)


def check(images: str) -> None:
    """Raises what a folder of images is refused for, before anything starts."""
    from ..datasets.folder import listing, shown

    try:
        images.encode()
    except UnicodeEncodeError:
        why = "its path is not UTF-8, as what stands in a notebook must be"
        raise ValueError(f"images='{shown(images)}': {why}; rename the folder, or give a link to it") from None
    listing(images)
