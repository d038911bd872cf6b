"""Execute a profile's notebooks that are out of date, which does the runs: what ``make reproduce`` does, without make.

Example:
    plasticity reproduce quick
    plasticity reproduce mini --checks
"""

from argparse import Namespace
from pathlib import Path

from ..datasets.root import project_root
from . import execute as command
from . import options as shared
from .status import remember

NETWORKS = {
    "simplenet": "10_simplenet",
    "resnet": "11_resnet50",
    "vit": "12_vit_b16",
    "efficientnet": "13_efficientnet_lite0",
}
COMPANIONS = [
    "50_warm_start",
    "51_continual",
    "52_soft_rescaling",
    "53_plasticity_metrics",
    "54_all_methods_on_transfer",
]
METHOD = "05_the_method"
GAMES = "56_reinforcement_learning"
CHECKS = ["40_paper_audit", "41_claims", "42_sensitivity", "45_playground", "46_your_own_model"]
PACKAGE = Path(__file__).parents[1]


def arguments(parser):
    shared.add(parser, "profile", "--results", "--data", "--repeats", "--reading", "--workers", "--device", "--engine")
    parser.add_argument(
        "--companions", action="store_true", help="what `make companions` does instead: the notebooks 50 to 54"
    )
    parser.add_argument("--rl", action="store_true", help="what `make rl` does instead: the notebook 56")
    parser.add_argument("--checks", action="store_true", help="what `make checks` does instead: the notebooks 40 to 46")


def main(options) -> int:
    sources = notebooks(" (`plasticity run` does the runs without notebooks)")
    from ..book.execute import parameters_of
    from ..networks.table import architecture
    from ..profiles import get_profile
    from ..studies.all import grid

    profile, results = get_profile(options.profile, options.repeats, options.reading), shared.results_of(options)
    networks = [NETWORKS[architecture(name).family] for name in profile.architectures]
    remember(results, profile, grid(profile))
    given = vars(options) | {"results": results}
    newest = max(path.stat().st_mtime for path in PACKAGE.rglob("*.py") if path.parent.name != "cli")
    for stage in stages(options, networks):
        targets = [results / "notebooks" / f"{name}.ipynb" for name in stage]
        for target in targets:
            notebook = sources / target.name
            if target.exists() and target.stat().st_mtime >= max(newest, notebook.stat().st_mtime):
                print(f"{target} is up to date")
                continue
            takes = parameters_of(notebook)
            if code := execute(notebook, target, {name: given[name] for name in takes if name in given}):
                return code
        newest = max(newest, *(target.stat().st_mtime for target in targets))
    return 0


def stages(options, networks: list[str]) -> list[list[str]]:
    """The notebooks in order; each stage reads what those before it made."""
    if options.companions:
        return [COMPANIONS[-1:]] if "imagenet" in options.profile else [COMPANIONS[:1], COMPANIONS[1:]]
    if options.rl:
        return [[GAMES]]
    if options.checks:  # the sensitivity study has no such profile
        return [["00_data_prep"], networks, [n for n in CHECKS if "imagenet" not in options.profile or "42" not in n]]
    return [["00_data_prep", METHOD], networks, ["20_analysis", "30_figures"]]


def notebooks(instead: str = "") -> Path:
    """The folder of the notebooks. Raises ValueError outside of a checkout."""
    root = project_root()
    if not root or not (root / "notebooks").is_dir():
        where = f"the notebooks are in a checkout of the project, and {Path.cwd()} is none"
        raise ValueError(f"{where}: start again in one{instead}")
    return Path(shared.from_root("notebooks"))


def execute(notebook: Path, target: Path, values: dict) -> int:
    """One notebook, with parameters; the exit code of `plasticity execute`."""
    values = [(name, str(value)) for name, value in values.items()]
    return command.main(Namespace(notebook=str(notebook), target=str(target), parameter=values))
