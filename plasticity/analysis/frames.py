"""Records as data frames."""

import re
from dataclasses import asdict, fields
from functools import lru_cache

import numpy as np
import pandas as pd

from ..networks.table import ARCHITECTURES
from ..reinit import Case
from ..run import Run
from ..running import records
from ..running.records import DEFAULTS
from ..training import scenarios


def frame(records: list[dict]) -> pd.DataFrame:
    """One row a record: the configuration's fields, status, the metrics (NaN for a failed run) and seconds."""
    rows = []
    for record in records:
        method, fraction = _parts(record["config"]["case"])
        rows.append(
            record["config"]
            | {
                "method": method,
                "fraction": fraction,
                "status": record["status"],
                "message": record.get("message", ""),
                "seconds": record["seconds"],
            }
            | record.get("metrics", {})
        )
    columns = [
        "architecture",
        "dataset",
        "case",
        "seed",
        "status",
        "accuracy",
        "best_accuracy",
        "epochs",
        "best_epoch",
        "seconds",
    ]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


@lru_cache
def _parts(case: str) -> tuple[str, float | None]:
    try:
        parsed = Case.parse(case)
        return parsed.method, parsed.fraction
    except ValueError:  # another method, or several
        return case, None


def histories(records: list[dict]) -> pd.DataFrame:
    """One row an epoch of every finished run: architecture, dataset, case, seed, epoch, losses and validation accuracy."""
    names = ("architecture", "dataset", "scenario", "case", "seed")
    return pd.DataFrame(
        [
            {name: record["config"].get(name, DEFAULTS.get(name)) for name in names} | row
            for record in records
            for row in record.get("history", [])
        ]
    )


def histogram(records: list[dict], **config) -> np.ndarray:
    """Counts of all weights between measures.HISTOGRAM_EDGES, summed over the finished runs whose config has these values."""
    chosen = [
        np.array(record["histogram"])
        for record in records
        if record["status"] == "done" and all(record["config"][name] == value for name, value in config.items())
    ]
    if not chosen:
        raise ValueError(f"no finished run has {config}; run it first")
    return np.sum(chosen, axis=0)


PAIR = ["architecture", "dataset", "seed"]  # what two runs of a pair have in common
METRICS = (
    "weight_magnitude",
    "weight_distance",
    "zero_gradient",
    "zero_activation",
    "srank",
    "effective_rank",
    "stable_rank",
    "dormant_normalised",
    "dormant_rarely",
    "dormant_never",
)
PARAMETERS = dict.fromkeys(field.name for kind in scenarios.SCENARIOS.values() for field in fields(kind))
NUMBERS = ("accuracy", "train_accuracy", "online_accuracy", "epochs", *METRICS, *(f"first_{name}" for name in METRICS))
COLUMNS = tuple(dict.fromkeys((*records.NAMES, "status", "kind", "network", "method", *PARAMETERS, *NUMBERS)))
EPOCHS = ("architecture", "dataset", "scenario", "case", "seed", "epoch", "phase", "test_accuracy")  # of `histories`


def run_table(recorded: list[dict]) -> pd.DataFrame:
    """A row a finished run: its configuration, metrics, ``network`` (title), ``method`` (case without numbers), the scenario's
    parameters, the last phase's plasticity metrics, and those at the end of the first phase as ``first_<metric>``.

    `COLUMNS` are there even without runs; `NUMBERS` are floats, NaN where a run has none.
    """
    rows = []
    for record in (record for record in recorded if record["status"] == "done"):
        config, history = record["config"], record["history"]
        ends = [entry for entry in history if "weight_magnitude" in entry] or [{}]
        seen = [entry["test_accuracy"] for entry in history if "test_accuracy" in entry]
        rows.append(
            config
            | record["metrics"]
            | asdict(scenarios.build(config["scenario"]))
            | {
                "status": "done",
                "kind": config["scenario"].partition("(")[0],
                "network": ARCHITECTURES[config["architecture"]].title,
                "method": plain(config["case"]),
                "online_accuracy": float(np.mean(seen)) if seen else np.nan,
            }
            | {name: ends[-1].get(name) for name in METRICS}
            | {f"first_{name}": ends[0].get(name) for name in METRICS}
        )
    frame = pd.DataFrame(rows, columns=dict.fromkeys((*COLUMNS, *(name for row in rows for name in row))))
    return frame.astype(dict.fromkeys(NUMBERS, float))


def by_part(parts: dict[str, list[Run]], runs: list[Run], recorded: list[dict]) -> dict[str, pd.DataFrame]:
    """The `table` of each part of a study whose ``runs`` have these records, in this order."""
    record_of = dict(zip(runs, recorded, strict=True))
    return {part: run_table([record_of[run] for run in chosen]) for part, chosen in parts.items()}


def learning_curves(chosen: list[Run], runs: list[Run], recorded: list[dict]) -> pd.DataFrame:
    """A row an epoch of the chosen runs: network, scenario, case, seed, epoch, phase, test accuracy (NaN where not evaluated)."""
    record_of = dict(zip(runs, recorded, strict=True))
    rows = histories([record_of[run] for run in dict.fromkeys(chosen)])
    rows = rows.reindex(columns=dict.fromkeys((*EPOCHS, *rows.columns))).astype({"test_accuracy": float})
    return rows.assign(network=[ARCHITECTURES[name].title for name in rows.architecture])


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
    there = set(zip(other.architecture, other.dataset, strict=True))
    return frame[
        pd.Series([pair in there for pair in zip(frame.architecture, frame.dataset, strict=True)], frame.index, bool)
    ]


def plain(case: str) -> str:
    """A case without its methods' numbers in parentheses; ``crop`` is the digits' augmentation."""
    return re.sub(r"\bcrop\b", "augmentation", re.sub(r"\([^)]*\)", "", case))
