"""The sweep that chooses a profile's learning rate: base (and ``scratch``, for the reader) on seeds the grid never
uses.

    python benchmarks/learning_rates.py efficientnet_lite0 photos_64,elpv_64 0.003,0.01,0.03 --seeds 100,101

Prints a markdown table by rate: the validation loss that chooses, and test accuracy and epochs for the reader.
Runs are recorded under --results, so that a second call goes on where the first was interrupted.
"""

import argparse

import pandas as pd

from plasticity import run as config
from plasticity.profiles import get_profile
from plasticity.running import engine, provenance


def main():
    """Run what is not recorded yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architecture")
    parser.add_argument("datasets")
    parser.add_argument("rates")
    parser.add_argument("--seeds", default="100,101")
    parser.add_argument("--cases", default="base,scratch")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--patience", type=int, default=4)
    parser.add_argument("--profile", default="imagenet")
    parser.add_argument("--data", default="data")
    parser.add_argument("--results", default="results/learning_rates")
    options = parser.parse_args()
    profile = get_profile(options.profile)
    fields = profile.training[options.architecture] | {"max_epochs": options.epochs, "patience": options.patience}
    runs = [
        config.Run(
            options.architecture, dataset, case, int(seed), weights=profile.weights, **fields | {"lr": float(rate)}
        )
        for seed in options.seeds.split(",")
        for dataset in options.datasets.split(",")
        for rate in options.rates.split(",")
        for case in options.cases.split(",")
    ]
    done = engine.run_all(runs, engine.Place(options.data, options.results))
    rows = [
        {
            "data set": r["config"]["dataset"],
            "rate": r["config"]["lr"],
            "case": r["config"]["case"],
            "validation loss": r["metrics"]["best_validation_loss"],
            "accuracy": 100 * r["metrics"]["accuracy"],
            "epochs": r["metrics"]["epochs"],
        }
        for r in done
        if r["status"] == "done"
    ]
    grouped = pd.DataFrame(rows).groupby(["data set", "case", "rate"])
    table = grouped.mean().round(3).assign(n=grouped.size()).reset_index()
    print(f"{provenance.machine()}, at most {options.epochs} epochs, patience {options.patience}\n")
    print("| " + " | ".join(table.columns) + " |\n|" + "---|" * len(table.columns))
    print("\n".join("| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)))


if __name__ == "__main__":
    main()
