"""One clear line instead of a traceback: for a former name, and for a package that an extra brings."""

import sys

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
    """What to install for ``what``. Raises the error itself if a module of this project is missing."""
    if not error.name:  # one of this project's, which says what to do
        return ImportError(str(error))
    module = error.name.partition(".")[0]
    if module == "plasticity":
        raise error
    extra = EXTRAS.get(module, "suite")
    return ImportError(f"{what} needs the {extra} ({module} is missing): pip install '.[{extra}]' in the checkout")
