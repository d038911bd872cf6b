"""Records as data frames, and rows of them by what they have.

Records are those of named runs (`records.load_runs`), so a results folder may hold other runs, too.
"""

import re
from dataclasses import asdict, fields
from functools import lru_cache

import numpy as np
import pandas as pd

from ..networks.table import architecture
from ..reinit import Case
from ..run import Run
from ..running import records
from ..running.records import DEFAULTS
from ..training import scenarios

PAIR = ["architecture", "dataset", "seed"]  # what two runs of a pair have in common
METRICS = ("weight_magnitude", "weight_distance", "zero_gradient", "zero_activation", "srank", "effective_rank")
METRICS += ("stable_rank", "dormant_normalised", "dormant_rarely", "dormant_never")
PHASED = (kind for name, kind in scenarios.SCENARIOS.items() if name != "online")
PARAMETERS = dict.fromkeys(field.name for kind in PHASED for field in fields(kind))
NUMBERS = ("accuracy", "train_accuracy", "online_accuracy", "epochs", *METRICS, *(f"first_{name}" for name in METRICS))
OF_IMAGES = tuple(name for name in records.NAMES if name != "agent")
COLUMNS = tuple(dict.fromkeys((*OF_IMAGES, "status", "kind", "network", "method", *PARAMETERS, *NUMBERS)))
EPOCHS = (
    "architecture",
    "dataset",
    "scenario",
    "case",
    "seed",
    "epoch",
    "phase",
    "test_accuracy",
)  # of `learning_curves`
EMPTY = ["architecture", "dataset", "case", "seed", "status"]  # the columns of `frame` without runs
EMPTY += ["accuracy", "best_accuracy", "epochs", "best_epoch", "seconds"]


def frame(records: list[dict]) -> pd.DataFrame:
    """One row per record: the configuration's fields, status, the metrics (NaN for a failed run) and seconds."""
    rows = []
    for record in records:
        method, fraction = _parts(record["config"]["case"])
        row = _config(record) | {"method": method, "fraction": fraction, "status": record["status"]}
        row |= {"message": record.get("message", ""), "seconds": record["seconds"]}
        rows.append(row | record.get("metrics", {}))
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=EMPTY)


def _config(record: dict) -> dict:
    """A run's settings; only games have an agent."""
    return {name: value for name, value in record["config"].items() if value or name != "agent"}


@lru_cache
def _parts(case: str) -> tuple[str, float | None]:
    try:
        parsed = Case.parse(case)
        return parsed.method, parsed.fraction
    except ValueError:  # another method, or several
        return case, None


def histories(records: list[dict]) -> pd.DataFrame:
    """One row per epoch of every finished run: architecture, dataset, scenario, case, seed, epoch, losses,
    accuracies."""
    rows = []
    for record in records:
        run = {name: record["config"].get(name, DEFAULTS.get(name)) for name in EPOCHS[:5]}
        rows += [run | epoch for epoch in record.get("history", [])]
    return pd.DataFrame(rows)


def histogram(records: list[dict], **config) -> np.ndarray:
    """Counts of all weights between measures.HISTOGRAM_EDGES, summed over the finished runs whose config has these
    values."""
    chosen = [
        np.array(record["histogram"])
        for record in records
        if record["status"] == "done" and all(record["config"][name] == value for name, value in config.items())
    ]
    if not chosen:
        raise ValueError(f"no finished run has {config}; run it first")
    return np.sum(chosen, axis=0)


def run_table(recorded: list[dict]) -> pd.DataFrame:
    """One row per finished run: its configuration, metrics, ``network`` (title), ``method`` (case without numbers), the
    scenario's parameters, the last phase's plasticity metrics, and those at the end of the first phase as
    ``first_<metric>``. Accuracies are of the network that predicts, plasticity metrics of the trained one (a hare, not
    its tortoise) before the method acts at the epoch's end.

    `COLUMNS` are there even without runs; `NUMBERS` are floats, NaN where a run has none.
    """
    rows = [_row(record) for record in recorded if record["status"] == "done"]
    frame = pd.DataFrame(rows, columns=dict.fromkeys((*COLUMNS, *(name for row in rows for name in row))))
    return frame.astype(dict.fromkeys(NUMBERS, float))


def _row(record: dict) -> dict:
    config, history = _config(record), record["history"]
    kind, title = config["scenario"].partition("(")[0], architecture(config["architecture"]).title
    ends = [entry for entry in history if "weight_magnitude" in entry] or [{}]
    seen = [entry["test_accuracy"] for entry in history if "test_accuracy" in entry]
    row = config | record["metrics"] | asdict(scenarios.build(config["scenario"]))
    row |= {"status": "done", "kind": kind, "network": title, "method": plain(config["case"])}
    row |= {"online_accuracy": float(np.mean(seen)) if seen else np.nan} | {
        name: ends[-1].get(name) for name in METRICS
    }
    return row | {f"first_{name}": ends[0].get(name) for name in METRICS}


def by_part(parts: dict[str, list[Run]], runs: list[Run], recorded: list[dict]) -> dict[str, pd.DataFrame]:
    """The `run_table` of each part of a study whose ``runs`` have these records, in this order."""
    record_of = dict(zip(runs, recorded, strict=True))
    return {part: run_table([record_of[run] for run in chosen]) for part, chosen in parts.items()}


def learning_curves(chosen: list[Run], runs: list[Run], recorded: list[dict]) -> pd.DataFrame:
    """One row per epoch of the chosen runs: network, scenario, case, seed, epoch, phase, test accuracy (NaN if not
    evaluated)."""
    record_of = dict(zip(runs, recorded, strict=True))
    rows = histories([record_of[run] for run in dict.fromkeys(chosen)])
    rows = rows.reindex(columns=dict.fromkeys((*EPOCHS, *rows.columns))).astype({"test_accuracy": float})
    return rows.assign(network=[architecture(name).title for name in rows.architecture])


def only(frame: pd.DataFrame, **values) -> pd.DataFrame:
    """The rows whose columns have these values."""
    for name, value in values.items():
        frame = frame[frame[name] == value]
    return frame


def without(frame: pd.DataFrame, *methods: str) -> pd.DataFrame:
    """The rows of other methods."""
    return frame[~frame.method.isin(methods)]


def among(frame: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The rows of networks and data sets that ``other`` has, too."""
    cells, there = (pd.MultiIndex.from_frame(rows[PAIR[:2]]) for rows in (frame, other))
    return frame[cells.isin(there)]


def plain(case: str) -> str:
    """A case without its methods' numbers in parentheses; ``crop`` is the digits' augmentation."""
    return re.sub(r"\bcrop\b", "augmentation", re.sub(r"\([^)]*\)", "", case))
