"""How the learning rates of profile mini were chosen: base runs on seeds the grid does not use, by validation loss alone.

    python benchmarks/learning_rates.py [data folder] [results folder]

Also runs ``scratch`` at every rate, so that a reader sees whether base beats training from scratch at scratch's own best rate.
Writes reference/learning_rates.md.
"""

import sys
from dataclasses import replace
from pathlib import Path

from plasticity import config, engine, records

RATES = {"sgd": (0.005, 0.01, 0.02, 0.04), "adamw": (3e-4, 6e-4, 1.2e-3, 2.4e-3)}
SEEDS = (100, 101, 102)


def main(data: str = "data", results: str = "results/learning_rates"):
    """Run what is missing and write the table."""
    protocol, place = config.get_profile("mini"), engine.Place(data, results)
    runs = [replace(run, lr=lr, seed=seed) for run in config.grid(replace(protocol, repeats=1), cases=("base", "scratch"))
            for lr in RATES[run.optimizer] for seed in SEEDS]  # fmt: skip
    frame = records.frame(engine.run_all(runs, place))
    columns = ["best_validation_loss", "accuracy", "epochs"]
    table = frame.groupby(["architecture", "lr", "case"])[columns].mean().unstack("case")
    lines = ["# Learning rates of profile mini", "",
             f"Mean over {', '.join(protocol.datasets)} and seeds {SEEDS} ({len(runs)} runs, {records.machine()}), "
             "`python benchmarks/learning_rates.py`.",
             "The rate with the lowest validation loss of **base** among those that stop early in most runs is the profile's (marked);",
             "test accuracy (last weights) is shown, not used.", "",
             "| network | rate | base: validation loss | base: accuracy | base: epochs | scratch: accuracy | scratch: epochs |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for (name, lr), row in table.iterrows():
        mark = " (chosen)" if protocol.training[name]["lr"] == lr else ""
        cells = [f"{row['best_validation_loss', 'base']:.3f}"]
        for case in ("base", "scratch"):
            cells += [f"{100 * row['accuracy', case]:.1f}", f"{row['epochs', case]:.1f}"]
        lines.append(f"| {name} | {lr:g}{mark} | {' | '.join(cells)} |")
    Path("reference/learning_rates.md").write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
