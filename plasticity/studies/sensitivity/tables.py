"""What a sensitivity study's runs say: 10M minus base at each level, whether it changes, what it consists of, what test
items flatter.

Pairs share network, data set and seed; differences are points of test accuracy; intervals are `paired.interval`'s,
95%, uncorrected. ``frames`` are those of `frames.by_part` for `runs.study`.
"""

import numpy as np
import pandas as pd

from ...analysis.frames import OF_IMAGES, PAIR, only
from ...analysis.paired import Difference, holm, interval
from ...analysis.verdict import ALPHA, MARGINS, verdict
from ...analysis.writing import format_number
from .runs import CASE, CONSISTS, OTHER_HEAD, OWN, part

BEST = part("tested weights", "best")
KEPT = part("biases", "kept")
MONITORED = part("stopped and chosen by", "test items")
BOUNDS = ("n", "mean", "low", "high")
COLUMNS = ["factor", "level", *BOUNDS, *(f"{of}_{name}" for of in ("base", "change") for name in BOUNDS), "p", "p_holm"]
Frames = dict[str, pd.DataFrame]


def values(frame: pd.DataFrame, case: str, value: str = "accuracy", scale: float = 100) -> pd.Series:
    """``value`` of a case's runs by network, data set and seed. ValueError where several runs have the same."""
    rows = only(frame, case=case)
    if (twice := rows.duplicated(PAIR)).any():
        raise ValueError(f"several runs of case {case!r} for {rows[twice].iloc[0][PAIR].to_dict()}: choose one part")
    return scale * rows.set_index(PAIR)[value].astype(float).sort_index()


def gains(frame: pd.DataFrame, case: str = CASE) -> pd.Series:
    """A case minus base in points, for each pair."""
    return (values(frame, case) - values(frame, "base")).dropna()


def effects(frames: Frames) -> pd.DataFrame:
    """One row for the profile's own setting, one for each level, and one for the best instead of the last weights.

    factor, level; n, mean, low, high: 10M minus base there; base_mean, base_low, base_high: base there minus base by
    default (NaN where it is the same run); change_n, change_mean, change_low, change_high: how far 10M's effect differs
    from the same pairs' by default, its p (`p_value`), and p_holm, corrected for all the rows that have one.
    verdict: whether 10M is ahead of base there (`verdict`, uncorrected), with "more than by default" or "less than by
    default" where p_holm is below `ALPHA`.
    """
    own = frames[OWN]
    rows = [{"factor": OWN, "level": ""} | interval(gains(own)).row()]
    for name, frame in with_best(frames).items():
        factor, _, level = name.partition(": ")
        moved = interval((values(frame, "base") - values(own, "base")).dropna())
        if _same(only(frame, case="base"), only(own, case="base")):
            moved = Difference(0, np.nan, np.nan, np.nan)
        changes = interval((gains(frame) - gains(own)).dropna())
        row = {"factor": factor, "level": level} | interval(gains(frame)).row()
        rows.append(row | _named("base", moved) | _named("change", changes) | {"p": p_value(changes)})
    table = pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[3:], float))
    table["p_holm"] = holm(table.p)
    return table.assign(verdict=[_says(row) for row in table.itertuples()])


def _says(row) -> str:
    changed = {True: "; more than by default", False: "; less than by default"}[row.change_mean > 0]
    return verdict(row.low, row.high, margin=MARGINS["points"]) + (changed if row.p_holm < ALPHA else "")


def by_network(frames: Frames) -> pd.DataFrame:
    """10M minus base at each level, one text per network; ``-`` where a network has no such level."""
    networks, rows = list(frames[OWN].network.unique()), []
    for name, frame in ({OWN: frames[OWN]} | with_best(frames)).items():
        factor, _, level = name.partition(": ")
        each = [str(interval(gains(only(frame, network=network)))) for network in networks]
        rows.append([factor, level, *each])
    return pd.DataFrame(rows, columns=["factor", "level", *networks])


def with_best(frames: Frames) -> Frames:
    """The levels' frames, and the profile's own runs tested with the weights of the lowest validation loss as one more
    level."""
    levels = {name: frame for name, frame in frames.items() if name not in (OWN, CONSISTS)}
    return levels | {BEST: frames[OWN].assign(accuracy=frames[OWN].get("best_accuracy", np.nan))}


def p_value(found: Difference) -> float:
    """Two-sided p that goes with the interval; 1 where no pair differs at all, NaN without an interval."""
    if found.low != found.low or not found.mean:
        return np.nan if found.low != found.low else 1.0
    return 2 * min(found.p(), 1 - found.p())


def gain_parts(frames: Frames) -> pd.DataFrame:
    """What 10M consists of: compared, n, mean, low, high, and ``spread``, the standard deviation of the pairs'
    differences.

    Another head's mean should be zero; its spread says how far two runs lie apart that differ in nothing of interest.
    """
    case, zero, biases, head = (gains(frames[CONSISTS], name) for name in (CASE, "10Z", "biases", OTHER_HEAD))
    lines = {
        "10M minus base": case,
        "10Z minus base": zero,
        "biases minus base": biases,
        "another head minus base": head,
    }
    lines |= {"10M minus 10Z": case - zero, "10M minus biases": case - biases}
    if KEPT in frames:
        kept = gains(frames[KEPT])
        lines |= {"10M, biases kept, minus base": kept, "10M minus 10M, biases kept": case - kept}
    return _spread(lines)


def flatter(frames: Frames) -> pd.DataFrame:
    """What it gives to stop and choose by the test items instead of the validation split: compared, n, mean, low, high,
    spread.

    In points for the best weights and for the last (at the stop), in epochs for the length; base, 10M, and the mean of
    both.
    """
    lines, monitored, own = {}, frames[MONITORED], frames[OWN]
    for said, value, scale in (
        ("best weights", "best_accuracy", 100),
        ("last weights", "accuracy", 100),
        ("epochs", "epochs", 1),
    ):
        base, case = (
            values(monitored, name, value, scale) - values(own, name, value, scale) for name in ("base", CASE)
        )
        lines |= {f"{said}, base": base, f"{said}, {CASE}": case, f"{said}, both": (base + case) / 2}
    return _spread(lines)


def _spread(lines: dict[str, pd.Series]) -> pd.DataFrame:
    """Each line's interval, and the standard deviation of its pairs."""
    kept = {name: pairs.dropna() for name, pairs in lines.items()}
    rows = [{"compared": name} | interval(pairs).row() | {"spread": pairs.std()} for name, pairs in kept.items()]
    return pd.DataFrame(rows)


def written(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `effects`, `gain_parts` or `flatter` as texts, as it is read."""
    shown = pd.DataFrame({name: table[name] for name in ("factor", "level", "compared") if name in table})
    shown["10M minus base" if "verdict" in table else "difference"] = _texts(table)
    shown["n"] = table.n.astype(int)
    if "spread" in table:
        return shown.assign(spread=[format_number(value, ".2f") for value in table.spread])
    shown["base, minus base by default"] = _texts(table, "base_")
    shown["change of 10M's effect"] = _texts(table, "change_")
    for name, p in (("p", table.p), (f"p (Holm of {int(table.p.notna().sum())})", table.p_holm)):
        shown[name] = [format_number(value, ".3f") for value in p]
    return shown.assign(verdict=table.verdict)


def _texts(table: pd.DataFrame, prefix: str = "") -> list[str]:
    rows = table[[f"{prefix}{name}" for name in BOUNDS[1:]]].itertuples(index=False)
    return [
        format_number(mean, "+.2f") + (f" [{low:+.2f}, {high:+.2f}]" if low == low else "") for mean, low, high in rows
    ]


def _named(prefix: str, found: Difference) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in found.row().items()}


def _same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether a level's base runs are the default's own: then the level does nothing to base."""
    each = [
        set(frame[[*OF_IMAGES, "accuracy"]].astype(str).itertuples(index=False, name=None)) for frame in (one, other)
    ]
    return bool(each[0]) and each[0] <= each[1]
