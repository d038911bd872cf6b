"""What a sensitivity study's runs say: 10M minus base at each level, whether it changes, what it consists of, what test items flatter.

Pairs share network, data set and seed; differences are points of test accuracy; intervals are Student's t over the pairs, 95%,
uncorrected (see `comparisons`). ``frames`` are those of `comparisons.by_part` for `sensitivity.study`.
"""

from dataclasses import asdict

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from ...analysis.frames import PAIR, only
from ...analysis.paired import LEVEL, Difference, holm, interval
from ...running.records import NAMES
from .runs import CASE, CONSISTS, OTHER_HEAD, OWN, part

BEST = part("tested weights", "best")
KEPT = part("biases", "kept")
MONITORED = part("stopped and chosen by", "test items")
Frames = dict[str, pd.DataFrame]


def values(frame: pd.DataFrame, case: str, value: str = "accuracy", scale: float = 100) -> pd.Series:
    """``value`` of a case's runs by network, data set and seed. ValueError where several runs have the same."""
    rows = only(frame, case=case)
    if rows.duplicated(PAIR).any():
        raise ValueError(
            f"several runs of case {case!r} for {rows[rows.duplicated(PAIR)].iloc[0][PAIR].to_dict()}: choose one part"
        )
    return scale * rows.set_index(PAIR)[value].astype(float).sort_index()


def gains(frame: pd.DataFrame, case: str = CASE) -> pd.Series:
    """A case minus base in points, for each pair."""
    return (values(frame, case) - values(frame, "base")).dropna()


def effects(frames: Frames) -> pd.DataFrame:
    """A row for the profile's own setting, one for each level, and one for the best instead of the last weights.

    factor, level; n, mean, low, high: 10M minus base there; base_mean, base_low, base_high: base there minus base by default (NaN
    where it is the same run); change_n, change_mean, change_low, change_high: how far 10M's effect differs from the same pairs' by
    default, its p (paired t test), and p_holm, corrected for all the rows that have one. verdict: see `verdict`.
    """
    own = frames[OWN]
    rows = [{"factor": OWN, "level": ""} | asdict(interval(gains(own).to_numpy()))]
    for name, frame in with_best(frames).items():
        factor, _, level = name.partition(": ")
        moved = (values(frame, "base") - values(own, "base")).dropna().to_numpy()
        changes = (gains(frame) - gains(own)).dropna().to_numpy()
        same = _same(only(frame, case="base"), only(own, case="base"))
        rows.append(
            {"factor": factor, "level": level}
            | asdict(interval(gains(frame).to_numpy()))
            | _named("base", Difference(0, np.nan, np.nan, np.nan) if same else interval(moved))
            | _named("change", interval(changes))
            | {"p": p_value(changes)}
        )
    table = pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[3:-1], float))
    table["p_holm"] = holm(table.p)
    return table.assign(verdict=[verdict(row, first=i == 0) for i, row in enumerate(table.itertuples())])


COLUMNS = [
    "factor",
    "level",
    "n",
    "mean",
    "low",
    "high",
    *(f"{of}_{what}" for of in ("base", "change") for what in ("n", "mean", "low", "high")),
    "p",
    "p_holm",
    "verdict",
]


def by_network(frames: Frames) -> pd.DataFrame:
    """10M minus base at each level, one text a network; ``-`` where a network has no such level."""
    networks, rows = list(frames[OWN].network.unique()), []
    for name, frame in ({OWN: frames[OWN]} | with_best(frames)).items():
        factor, _, level = name.partition(": ")
        each = {network: str(interval(gains(only(frame, network=network)).to_numpy())) for network in networks}
        rows.append({"factor": factor, "level": level} | each)
    return pd.DataFrame(rows, columns=["factor", "level", *networks])


def with_best(frames: Frames) -> Frames:
    """The levels' frames, and the profile's own runs tested with the weights of the lowest validation loss as a level more."""
    levels = {name: frame for name, frame in frames.items() if name not in (OWN, CONSISTS)}
    return levels | {BEST: frames[OWN].assign(accuracy=frames[OWN].get("best_accuracy", np.nan))}


def p_value(differences: np.ndarray) -> float:
    """Two-sided p of the paired t test; 1 where no pair differs at all, NaN with fewer than two pairs."""
    if len(differences) < 2:
        return np.nan
    return 1.0 if not differences.any() else float(scipy_stats.ttest_1samp(differences, 0).pvalue)


def verdict(row, first: bool = False) -> str:
    """In plain words: where the interval of 10M's effect lies (uncorrected), and whether the effect changes (Holm's p < 0.05)."""
    if not row.low == row.low:
        return "not tested: fewer than two pairs"
    here = (
        "10M ahead of base"
        if row.low > 0
        else "10M behind base"
        if row.high < 0
        else "10M not shown to differ from base"
    )
    if first:
        return here
    clear = row.p_holm < 1 - LEVEL
    return f"{here}; " + (
        (f"{'more' if row.change_mean > 0 else 'less'} than by default") if clear else "no change shown"
    )


def gain_parts(frames: Frames) -> pd.DataFrame:
    """What 10M consists of: compared, n, mean, low, high, and ``spread``, the standard deviation of the pairs' differences.

    Another head's mean should be zero; its spread says how far two runs lie apart that differ in nothing of interest.
    """
    frame = frames[CONSISTS]
    case, zero, biases, head = (gains(frame, name) for name in (CASE, "10Z", "biases", OTHER_HEAD))
    lines = {
        "10M minus base": case,
        "10Z minus base": zero,
        "biases minus base": biases,
        "another head minus base": head,
        "10M minus 10Z": case - zero,
        "10M minus biases": case - biases,
    }
    if KEPT in frames:
        kept = gains(frames[KEPT])
        lines |= {"10M, biases kept, minus base": kept, "10M minus 10M, biases kept": case - kept}
    return pd.DataFrame([_line(name, pairs.dropna()) for name, pairs in lines.items()])


def flatter(frames: Frames) -> pd.DataFrame:
    """What it gives to stop and choose by the test items instead of the validation split: compared, n, mean, low, high, spread.

    In points for the best weights and for the last (at the stop), in epochs for the length; base, 10M, and the mean of both.
    """
    lines, cases = [], ("base", CASE)
    for said, value, scale in (
        ("best weights", "best_accuracy", 100),
        ("last weights", "accuracy", 100),
        ("epochs", "epochs", 1),
    ):
        each = {
            case: values(frames[MONITORED], case, value, scale) - values(frames[OWN], case, value, scale)
            for case in cases
        }
        each["both"] = (each["base"] + each[CASE]) / 2
        lines += [_line(f"{said}, {case}", pairs.dropna()) for case, pairs in each.items()]
    return pd.DataFrame(lines)


def written(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `effects`, `gain_parts` or `flatter` as texts, as it is read."""
    shown = pd.DataFrame({name: table[name] for name in ("factor", "level", "compared") if name in table})
    shown["10M minus base" if "verdict" in table else "difference"] = _texts(table)
    shown["n"] = table.n.astype(int)
    if "spread" in table:
        return shown.assign(spread=[_number(value, ".2f") for value in table.spread])
    shown["base, minus base by default"] = _texts(table, "base_")
    shown["change of 10M's effect"] = _texts(table, "change_")
    return shown.assign(
        p=[_number(p, ".3f") for p in table.p],
        **{
            f"p (Holm of {int(table.p.notna().sum())})": [_number(p, ".3f") for p in table.p_holm],
            "verdict": table.verdict,
        },
    )


def _texts(table, prefix=""):
    rows = table[[f"{prefix}{name}" for name in ("mean", "low", "high")]].itertuples(index=False)
    return [_number(mean, "+.2f") + (f" [{low:+.2f}, {high:+.2f}]" if low == low else "") for mean, low, high in rows]


def _number(value, form):
    return f"{value:{form}}" if value == value else "-"


def _line(compared, pairs):
    return {"compared": compared} | asdict(interval(pairs.to_numpy())) | {"spread": pairs.std(ddof=1)}


def _named(prefix, found: Difference):
    return {f"{prefix}_{name}": value for name, value in asdict(found).items()}


def _same(one, other):
    """Whether a level's base runs are the default's own: then the level does nothing to base."""
    each = [set(frame[[*NAMES, "accuracy"]].astype(str).itertuples(index=False, name=None)) for frame in (one, other)]
    return bool(each[0]) and each[0] <= each[1]
