"""The one command line: ``python -m plasticity status | plan | run | reproduce | doctor``; each has ``--help``.

Every command imports only what it needs, so that status answers at once.
"""

import argparse
import sys
from pathlib import Path

COMMANDS = {
    "status": "how a grid stands: done, running, missing, failed, lost, stale; --watch refreshes",
    "plan": "what a profile costs, before anything is spent",
    "run": "do a profile's runs that are not recorded yet, without the notebooks",
    "reproduce": "execute a profile's notebooks that are out of date, which does the runs; --checks: 40 to 46, --companions: 50 to 54",
    "doctor": "what is installed, which device, data and weights are there, and what to do next",
}

NOTEBOOKS = {
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
CHECKS = ["40_paper_audit", "41_claims", "42_sensitivity", "45_playground", "46_your_own_model"]


def grid_options(command: str) -> argparse.ArgumentParser:
    """The options that ``run`` and ``reproduce`` share with the notebooks' parameters."""
    parser = argparse.ArgumentParser(prog=f"python -m plasticity {command}", description=COMMANDS[command])
    parser.add_argument("profile", nargs="?", default="mini")
    parser.add_argument("--results", default="", help="results/<profile> unless said")
    parser.add_argument("--data", default="data")
    parser.add_argument("--repeats", type=int, default=0, help="seeds of each case; 0 for the profile's own")
    parser.add_argument("--reading", default="", help='"code" or "text"; the profile\'s own unless said')
    parser.add_argument("--workers", type=int, default=2, help="local processes")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--engine", default="local", help='"local", a Dask scheduler\'s address or scheduler file, or "dask"'
    )
    return parser


def run(arguments: list[str]) -> int:
    """``run``: the grid, or a part of it. Exit 0 when all is recorded, 1 if some could not be done, 130 if interrupted."""
    parser = grid_options("run")
    parser.add_argument("--architectures", nargs="+", help="only these, by name or family (simplenet, resnet, vit)")
    parser.add_argument("--cases", nargs="+", help="only these, such as base 10M")
    parser.add_argument(
        "--retries", type=int, default=0, help="tries more for a run that raises, before it is recorded as failed"
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="set the records of failed runs aside and try those again"
    )
    options = parser.parse_args(arguments)
    from .profiles import get_profile
    from .running import engine
    from .studies import all as studies

    profile = get_profile(options.profile, options.repeats, options.reading)
    place = engine.Place(
        options.data, options.results or f"results/{profile.name}", options.workers, options.device, options.engine
    )
    runs = studies.grid(profile, options.architectures, options.cases)
    print(engine.plan(runs, place, profile.seconds_a_run).to_string(index=False), flush=True)
    engine.prepare(profile, place, {run.architecture for run in runs})
    done = engine.run_all(runs, place, options.retries, options.retry_failed)
    failed = sum(record["status"] == "failed" for record in done)
    print(f"{len(done)} of {len(runs)} runs are recorded, {failed} of them as failed: {place.runs}")
    return 0


def reproduce(arguments: list[str]) -> int:
    """``reproduce``: what ``make reproduce`` does, where there is no make."""
    parser = grid_options("reproduce")
    parser.add_argument(
        "--companions", action="store_true", help="what `make companions` does instead: the notebooks 50 to 54"
    )
    parser.add_argument("--checks", action="store_true", help="what `make checks` does instead: the notebooks 40 to 46")
    options = vars(parser.parse_args(arguments))
    companions, checks = options.pop("companions"), options.pop("checks")
    from . import profiles
    from .book import execute
    from .networks import table as models

    networks = [
        NOTEBOOKS[models.architecture(name).family] for name in profiles.get_profile(options["profile"]).architectures
    ]
    options["results"] = options["results"] or f"results/{options['profile']}"
    folder = Path(options["results"]) / "notebooks"
    older = max(path.stat().st_mtime for path in Path(__file__).parent.rglob("*.py"))
    stages = (
        (COMPANIONS[:1], COMPANIONS[1:]) if companions else (["00_data_prep"], networks, ["20_analysis", "30_figures"])
    )
    stages = (*stages[:2], _checks(options["profile"])) if checks else stages
    for stage in stages:
        targets = [folder / f"{name}.ipynb" for name in stage]
        for target in targets:
            notebook = Path("notebooks") / target.name
            if target.exists() and target.stat().st_mtime >= max(older, notebook.stat().st_mtime):
                print(f"{target} is up to date")
                continue
            takes = execute.parameters_of(notebook)
            parameters = [part for name, value in options.items() if name in takes for part in ("-p", name, str(value))]
            if code := execute.main([str(notebook), str(target), *parameters]):
                return code
        older = max(older, *(target.stat().st_mtime for target in targets))
    return 0


def _checks(profile: str) -> list[str]:
    return [
        name for name in CHECKS if "imagenet" not in profile or name != "42_sensitivity"
    ]  # that study has no such profile


def main(arguments: list[str] | None = None) -> int:
    """Exit 0 when done, 1 if something could not be done, 2 for a wrong argument, 130 if interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command not in COMMANDS:
        wrong = command not in ("", "-h", "--help", "help")
        lines = [f"unknown command {command!r}; there are:"] if wrong else [__doc__.strip(), ""]
        lines += [f"  {name:<11}{what}" for name, what in COMMANDS.items()]
        print("\n".join(lines), file=sys.stderr if wrong else sys.stdout)
        return 2 if wrong else 0
    try:
        if command in ("run", "reproduce"):
            return {"run": run, "reproduce": reproduce}[command](rest)
        if command == "status":
            from .cli import status as module
        elif command == "plan":
            from .cli import plan as module
        else:
            from .cli import doctor as module
        return module.main(rest)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
