"""Restoring Neural Network Plasticity for Faster Transfer Learning (Coetzer, Schreuder, Bosman 2026), reproduced.

Before fine-tuning a pretrained network, re-initialise its smallest-magnitude few percent of weights, once: to their
mean (M), to the mean plus noise (MN), or to fresh draws from N(0, 0.2) or N(0, 1) (NS, N). The paper finds that M and
MN fine-tune slightly better or faster. Read ``reinit`` for the method, ``train.fit`` for the protocol.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .profiles import Profile, get_profile, grid
    from .reinit import Case, reinitialize
    from .run import Run
    from .train import fit

__all__ = ["Case", "Profile", "Run", "fit", "get_profile", "grid", "reinitialize"]
MODULES = {"Case": "reinit", "reinitialize": "reinit", "Run": "run", "fit": "train"}  # the others: profiles
RENAMED = {f"plasticity.{name}": f"plasticity {name}" for name in ("audit", "execute", "plan", "prepare")} | {
    "plasticity.book.__main__": "plasticity site",
    "plasticity.cluster": "plasticity.running.dask",
    "plasticity.own": "plasticity own, or plasticity.studies.interactive.own",
}
EXTRAS = {"distributed": "cluster", "sphinx": "site", "myst_nb": "site"}  # all else: suite


class Renamed:
    """An import finder that finds nothing: it says what a former ``python -m plasticity.execute`` is called now."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in RENAMED:
            raise ModuleNotFoundError(f"{name} is called {RENAMED[name]!r} now", name=name)


sys.meta_path.insert(0, Renamed)


def lacking(what: str, error: ModuleNotFoundError) -> ImportError:
    """What to install for ``what``. Raises the error itself if a module of this package is missing."""
    module = (error.name or "").partition(".")[0]
    if module in ("", __name__):
        raise error
    extra = EXTRAS.get(module, "suite")
    return ImportError(f"{what} needs the {extra} ({module} is missing): pip install '.[{extra}]' in the checkout")


def __getattr__(name: str):
    """The public names, imported when first asked for: `plasticity status` must not wait seconds for PyTorch."""
    if name not in __all__:
        raise AttributeError(f"module 'plasticity' has no attribute {name!r}; it has: {', '.join(__all__)}")
    try:
        return getattr(import_module(f".{MODULES.get(name, 'profiles')}", __name__), name)
    except ModuleNotFoundError as error:
        raise lacking(name, error) from error


def __dir__():
    return sorted([*globals(), *__all__])
