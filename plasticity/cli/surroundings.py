"""What in the working folder would make Python import something else than is meant, before anything is imported."""

import os
import sys
from importlib.machinery import PathFinder

PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def refused() -> bool:
    """Whether nothing can be done here; that, and what is merely to be known, is said on stderr."""
    if wrong := stray():
        print(f"error: {wrong}", file=sys.stderr)
    elif note := another_checkout():
        print(note, file=sys.stderr)
    return bool(wrong)


def strays(folder: str) -> list[str]:
    """The names in a folder that Python would import in place of its own modules or of installed packages."""
    rest = [place for place in sys.path if os.path.realpath(place) != os.path.realpath(folder)]
    found = []
    for name in sorted(os.listdir(folder)):
        module, ending = os.path.splitext(name)
        if ending == ".py" or (not ending and os.path.isfile(os.path.join(folder, name, "__init__.py"))):
            installed = module not in ("plasticity", "test") and PathFinder.find_spec(module, rest)
            found += [name] if installed and installed.loader else []
    return found


def stray(folder: str = ".") -> str:
    """What is wrong with the working folder, or ""; nothing where Python doesn't or can't look for modules in it."""
    try:
        found = [] if sys.flags.safe_path else strays(folder)
    except OSError:
        return ""
    if not found:
        return ""
    hidden, advice = found[0].removesuffix(".py"), "rename it, start in another folder, or set PYTHONSAFEPATH=1"
    return f"{found[0]} in {os.path.realpath(folder)} hides the module {hidden} of Python or of a package: {advice}"


def another_checkout(folder: str = ".") -> str:
    """Which checkout this is if the code comes from another place, as in a copied or moved environment; or ""."""
    try:
        here = os.path.realpath(folder)
    except OSError:  # it has been removed
        return ""
    while not os.path.isfile(os.path.join(here, "plasticity", "reinit.py")):
        if here == os.path.dirname(here):
            return ""
        here = os.path.dirname(here)
    if os.path.realpath(os.path.join(here, "plasticity")) == PACKAGE:
        return ""
    return (
        f"note: this is the checkout {here}, but the code that runs is in {PACKAGE}: `make` installs this one, and so "
        "does `python -m pip install -e .` in it"
    )
