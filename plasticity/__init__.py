"""Restoring Neural Network Plasticity for Faster Transfer Learning (Coetzer, Schreuder, Bosman 2026), reproduced.

Before fine-tuning a pretrained network, re-initialise its smallest-magnitude few percent of weights, once: to their
mean (M), to the mean plus noise (MN), or to fresh draws from N(0, 0.2) or N(0, 1) (NS, N). The paper finds that M and
MN fine-tune slightly better or faster. Read ``reinit`` for the method, ``train.fit`` for the protocol.
"""

from importlib import import_module

from .cli.hints import lacking

TYPE_CHECKING = False  # as typing's is when the code runs
if TYPE_CHECKING:
    from .profiles import Profile, get_profile, grid
    from .reinit import Case, reinitialize
    from .run import Run
    from .train import fit

__all__ = ["Case", "Profile", "Run", "fit", "get_profile", "grid", "reinitialize"]
MODULES = {"Case": "reinit", "reinitialize": "reinit", "Run": "run", "fit": "train"}  # the others: profiles


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
