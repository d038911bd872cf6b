"""What a profile costs, before anything is spent: image passes, memory, hours on a GPU, room on the disk.

Example:
    plasticity plan paper
    plasticity plan mini --measure --device cpu
"""

from . import options as shared

REFUSED = (ValueError, FileNotFoundError)


def arguments(parser):
    shared.add(parser, "profile", "--results", "--data", "--repeats", "--device")
    parser.add_argument(
        "--measure", action="store_true", help="time a few training steps of each network here, on --device"
    )


def main(options) -> None:
    import pandas as pd

    from ..profiles import get_profile
    from ..running.room import explained
    from ..studies.all import grid
    from ..train import pick_device
    from ..training.games import GAME
    from . import cost

    profile = get_profile(options.profile, options.repeats)
    if GAME.fullmatch(profile.datasets[0]):
        return of_games(profile, options)
    table = cost.work(profile, options.data, shared.results_of(options))
    hours, source = cost.by_architecture(table, pick_device(options.device) if options.measure else None)
    shown = table.drop(columns=["run", "classes", "pixels", "gflop"])
    shown = shown.round({"epochs a run": 1, "training passes": 0, "evaluation passes": 0})
    with pd.option_context("display.width", 200, "display.max_columns", 20, "display.float_format", "{:,.10g}".format):
        print(f"{profile.title}: {table.runs.sum()} runs, {table['to do'].sum()} to do\n")
        print(shown.to_string(index=False), "\n")
        print(hours.to_string(index=False), f"\n({source})\n")
        print(explained(grid(profile), options.data, options.device), "\n")
        print(cost.storage(profile, options.data).to_string(index=False))


def of_games(profile, options) -> None:
    """The same of a profile of games."""
    import pandas as pd

    from ..rl.games import require
    from ..train import pick_device
    from . import games_cost

    for name in profile.datasets:
        require(name)
    table = games_cost.work(profile, shared.results_of(options))
    hours, source = games_cost.by_agent(table, pick_device(options.device).type if options.measure else "")
    with pd.option_context("display.width", 200, "display.max_columns", 20, "display.float_format", "{:,.10g}".format):
        print(f"{profile.title}: {table.runs.sum()} runs, {table['to do'].sum()} to do\n")
        print(table.drop(columns="run").to_string(index=False), "\n")
        print(hours.to_string(index=False), f"\n({source})")
