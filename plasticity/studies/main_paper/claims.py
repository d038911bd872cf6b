"""What Coetzer et al. 2026 claim, sentence by sentence as data, and what the runs of a profile say to each.

Every claim is turned into one or several differences that are positive if the claim is right (`verdict` has the rule);
a sentence that says "most", "best" or "consistently" has one for each comparison, or for each cell. Their intervals are
`paired.interval`'s over pairs (which share split, head and batch order) stratified by cell of network x data set, since
a profile chooses both and repeats seeds alone: they tell of these cells, not of others.
"""

import math
import time
from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy.stats import binom

from ...analysis import evidence
from ...analysis.evidence import CELL, MEAN_CASES, TWELVE
from ...analysis.frames import PAIR
from ...analysis.paired import Difference, holm, interval, short_title
from ...analysis.power import power_of_best, spreads
from ...analysis.tables import PAPER_NAMES
from ...analysis.verdict import ALPHA, MARGINS, UNTESTED, Line, of_claim, of_count
from ...networks import table as models
from ...networks.table import architecture
from ...profiles import FRACTIONS
from ...reinit import reinitialize
from ...run import Run

FAR, REST = "DTD and Brain Tumor", "Brain Tumor and Fruit25"
GROUPS = {  # cells of a grid: network's families, and data sets by the paper's names (miniatures by those they mirror)
    "all": (None, None),
    "CNNs": (("simplenet", "resnet", "efficientnet"), None),
    "ViT": (("vit",), None),
    "ResNet and ViT": (("resnet", "vit"), None),
    "DTD": (None, ("DTD",)),
    "Brain Tumor": (None, ("Brain Tumor",)),
    "Fruit25": (None, ("Fruit25",)),
    REST: (None, ("Brain Tumor", "Fruit25")),
    FAR: (None, ("DTD", "Brain Tumor")),
}
UNITS = {"accuracy": "points", "epochs": "% of base's epochs", "moved": "% of the weights", "seconds": "% of a run"}
Judged = namedtuple("Judged", "decided_by effect low high n unit by_network p verdict")  # p is one-sided


@dataclass(frozen=True)
class Contrast:
    """Mean of the cases ``plus`` minus that of ``minus``, pair by pair in the cells ``where``, less the same in the
    cells ``less``.

    ``shift`` is added. ``around_zero``: the claim is not that the difference is positive, but that it is within the
    margin of zero. ``each``: it is claimed of each cell, not of their mean.
    """

    plus: tuple[str, ...]
    minus: tuple[str, ...]
    value: str = "accuracy"
    where: str = "all"
    less: str = ""
    shift: float = 0.0
    around_zero: bool = False
    each: bool = False

    def __str__(self):
        text = f"{self.value}, {named(self.plus)} minus {named(self.minus)}"
        text += "" if self.where == "all" else f", {self.where}"
        text += f" minus the same, {self.less}" if self.less else ""
        text += f", {'plus' if self.shift > 0 else 'minus'} {abs(self.shift):g}" if self.shift else ""
        return text + (" (about zero)" if self.around_zero else "") + (", in each cell" if self.each else "")


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper that claims something, in our words, and what decides it: `Contrast`s that must all
    hold, or a key of `FUNCTIONS`. ``counted``: so many that the table shows how many do not."""

    key: str
    section: str
    says: str
    decided_by: tuple[Contrast, ...] | str
    counted: bool = False

    def __post_init__(self):
        if isinstance(self.decided_by, Contrast):
            object.__setattr__(self, "decided_by", (self.decided_by,))


def _cases(functions: Sequence[str], fractions: Sequence[int] = FRACTIONS) -> tuple[str, ...]:
    return tuple(f"{fraction}{function}" for fraction in fractions for function in functions)


BASE, NS_CASES, N_CASES, NOISE_CASES = ("base",), _cases(["NS"]), _cases(["N"]), _cases(["NS", "N"])
FIVE, TEN, TWENTY_FIVE = (_cases(["M", "MN"], [percent]) for percent in FRACTIONS)
TEN_M, OTHERS = ("10M",), tuple(case for case in MEAN_CASES if case != "10M")
_gain, _saving = partial(Contrast, MEAN_CASES, BASE), partial(Contrast, BASE, MEAN_CASES, "epochs")
_NEVER_WORSE = tuple(Contrast((case,), BASE, shift=0.5, each=True) for case in TWELVE)


def _most_on(data: str, *others: str) -> tuple[Contrast, ...]:
    return tuple(_gain(where=data, less=other) for other in others)


def _best(cases: tuple[str, ...], *others: tuple[str, ...], **fields) -> tuple[Contrast, ...]:
    return tuple(Contrast(cases, other, **fields) for other in others)


CLAIMS = (
    Claim("cnn_accuracy", "abstract", "CNNs gain test accuracy", _gain(where="CNNs")),
    Claim("vit_accuracy", "abstract", "ViTs gain test accuracy", _gain(where="ViT")),
    Claim("faster", "abstract", "training converges in fewer epochs", _saving()),
    Claim("cheap", "abstract", "the computational overhead is negligible", "overhead"),
    Claim("shift", "1", "the gain is larger where the target is unlike the source", _gain(where=FAR, less="Fruit25")),
    Claim("on_fruit", "5", "accuracy gains most on Fruit25", _most_on("Fruit25", "DTD", "Brain Tumor")),
    Claim("on_dtd", "5", "accuracy gains most on DTD", _most_on("DTD", "Brain Tumor", "Fruit25")),
    Claim("larger", "5", "larger networks (ResNet, ViT) gain consistently", _gain(where="ResNet and ViT", each=True)),
    Claim("cnn_faster", "5", "CNNs converge faster", _saving("CNNs")),
    Claim("vit_as_fast", "5", "for the ViT convergence hardly changes", _saving("ViT", around_zero=True)),
    Claim("significant", "5", "the gains are statistically significant", "significant"),
    Claim("beyond_runtime", "5", "the gains exceed what the length of training explains", "beyond_runtime"),
    Claim("m_and_mn", "5", "M and MN are the most effective functions", _best(MEAN_CASES, NS_CASES, N_CASES)),
    Claim("ns_hurts", "5", "NS degrades performance", Contrast(BASE, NS_CASES)),
    Claim("n_hurts", "5", "N degrades performance", Contrast(BASE, N_CASES)),
    Claim(
        "moved", "5", "25N changes the final weights more than 25M (Figure 1)", Contrast(("25N",), ("25M",), "moved")
    ),
    Claim("noise_less", "5", "of N and NS, less is better: 5% beats 25%", Contrast(("5NS", "5N"), ("25NS", "25N"))),
    Claim("mean_more", "5", "of M and MN, more is better: 25% beats 5% in accuracy", Contrast(TWENTY_FIVE, FIVE)),
    Claim("mean_more_speed", "5", "... or in convergence", Contrast(FIVE, TWENTY_FIVE, "epochs")),
    Claim("dtd_five", "5", "on DTD 5% is best", _best(FIVE, TEN, TWENTY_FIVE, where="DTD")),
    Claim(
        "others_more",
        "5",
        f"on {REST} 10% to 25% are best",
        (Contrast(TEN, FIVE, where=REST), Contrast(TWENTY_FIVE, FIVE, where=REST)),
    ),
    Claim("half_a_point", "5.1", "the gain in accuracy is at least half a point", _gain(shift=-0.5)),
    Claim("ten_m", "6", "10M is worth recommending: it beats base", Contrast(TEN_M, BASE)),
    Claim("ten_m_best", "6", "... and the other M and MN cases", _best(TEN_M, *((case,) for case in OTHERS))),
    Claim("five_atypical", "6", "for very atypical data 5% is better than 10%", Contrast(FIVE, TEN, where=FAR)),
    Claim("never_worse", "6", "base never beats a re-initialised case significantly", _NEVER_WORSE, counted=True),
    Claim("no_harm", "6", "M and MN do no harm: less than half a point is lost", _gain(shift=0.5)),
)


def named(cases: tuple[str, ...]) -> str:
    """Cases in words: whole families by their name."""
    whole = {BASE: "base", MEAN_CASES: "M and MN", NOISE_CASES: "N and NS", N_CASES: "N", NS_CASES: "NS"}
    return whole.get(cases) or (", ".join(cases) if len(cases) < 5 else "the other M and MN")


def one_protocol(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame itself. Raises ValueError if runs of several profiles are mixed in it, or if there are none."""
    if frame.empty:
        raise ValueError("there are no runs to judge: run the profile first, `make reproduce PROFILE=...`")
    mixed = "runs of several profiles are mixed"
    for name in (name for name in Run.__dataclass_fields__ if name in frame and name not in (*PAIR, "case")):
        for network, runs in frame.groupby("architecture", sort=False):
            if len(values := runs[name].drop_duplicates()) > 1:
                differ = f"{network} has {name} {' and '.join(map(repr, values))}"
                raise ValueError(f"{mixed}: {differ}; give the runs of one profile, from one results folder")
    if (twice := frame.duplicated([*PAIR, "case"])).any():
        which = tuple(frame.loc[twice, [*PAIR, "case"]].iloc[0])
        raise ValueError(f"{mixed}: {which} is there more than once; give the runs of one profile")
    return frame


def with_moved(frame: pd.DataFrame, records: list[dict]) -> pd.DataFrame:
    """``frame`` with a column ``moved``: how far a run's final weights, as a histogram, are from base's of the same
    seed, 0..1.

    Half the sum of absolute differences of the shares in each bin (total variation): the share of weights that would
    have to move.
    """
    shares, moved = {}, []
    for record in (record for record in records if record["status"] == "done"):
        counts = np.asarray(record["histogram"], float)
        shares[tuple(record["config"][name] for name in (*PAIR, "case"))] = counts / counts.sum()
    for *pair, case in frame[[*PAIR, "case"]].itertuples(index=False):
        one, base = shares.get((*pair, case)), shares.get((*pair, "base"))
        moved.append(np.nan if one is None or base is None else abs(one - base).sum() / 2)
    return frame.assign(moved=moved)


def differences(frame: pd.DataFrame, test: Contrast) -> pd.Series:
    """The test's difference in the unit of its value, one number per pair, by what names it; a pair without all of its
    cases is left out."""
    if test.value not in frame:
        return pd.Series(dtype=float)
    wide = frame[frame.status == "done"].pivot_table(index=PAIR, columns="case", values=test.value)
    if {*test.plus, *test.minus} - {*wide.columns}:  # a profile with fewer cases, such as quick, can't test this one
        return pd.Series(dtype=float)
    plus, minus = (wide[list(cases)].mean(axis=1, skipna=False) for cases in (test.plus, test.minus))
    found = plus - minus
    if test.value == "epochs":
        found = found / wide["base"].groupby(["architecture", "dataset"]).transform("mean")
    found = 100 * found.dropna() + test.shift
    here = found[_inside(found.index, test.where)]
    if not test.less:
        return here
    both = [part.groupby(["architecture", "seed"]).mean() for part in (here, found[_inside(found.index, test.less)])]
    return (both[0] - both[1]).dropna()  # paired by what the two groups share


def _inside(index: pd.MultiIndex, group: str) -> list[bool]:
    families, datasets = GROUPS[group]
    return [
        (families is None or architecture(network).family in families)
        and (datasets is None or PAPER_NAMES.get(data) in datasets)
        for network, data, _ in index
    ]


def significant(frame: pd.DataFrame, generator: Generator, draws: int = evidence.DRAWS) -> Judged:
    """In how many cells the best of M and MN beats base by more than chance lets the best of six: permutation test of
    the maximum.

    The six, because the test takes all cases to be alike under chance, which N is not. Judged as a count (`verdict`,
    5): by luck one cell in twenty passes; had all six gained half a point, `power.power_of_best` of them would.
    """
    present = tuple(case for case in MEAN_CASES if case in set(frame.case))
    if not present or "base" not in set(frame.case):
        return _untested("cells")
    cells = evidence.best_of(frame, generator, present, draws).dropna(subset="p")
    if cells.empty or frame.seed.nunique() < 3:
        return _untested("cells")
    count, by_luck = int((cells.p < ALPHA).sum()), [ALPHA] * len(cells)
    noise = spreads(frame).set_index(CELL).paired_t
    seen = [
        power_of_best(noise[row.architecture, row.dataset], MARGINS["points"], row.n, row.cases, generator)
        for row in cells.itertuples()
    ]
    chance = float(binom.sf(count - 1, len(cells), ALPHA))
    return _untested("cells")._replace(effect=count, n=len(cells), p=chance, verdict=of_count(count, by_luck, seen))


def beyond_runtime(frame: pd.DataFrame, generator: Generator) -> Judged:
    """The gain of M and MN at equal length of training: each gain less what its difference in epochs explains, by the
    slope of gains on differences within cells."""
    parts = [_gains(frame, case) for case in MEAN_CASES if case in set(frame.case)]
    table = pd.concat([part for part in parts if not part.empty] or [pd.DataFrame(columns=[*PAIR, "gain", "longer"])])
    within = (table[["gain", "longer"]] - table.groupby(CELL)[["gain", "longer"]].transform("mean")).astype(float)
    if not (within.longer**2).sum():
        return _untested("points")
    slope = (within.gain * within.longer).sum() / (within.longer**2).sum()
    found = interval(table.assign(gain=table.gain - slope * table.longer).groupby(PAIR).gain.mean().astype(float))
    return _judged("", found, "points", of_claim([Line(found, margin=MARGINS["points"])]), found.p())


def _gains(frame: pd.DataFrame, case: str) -> pd.DataFrame:
    gain, longer = evidence.paired(frame, case), evidence.paired(frame, case, "epochs", 1)
    return gain.rename(columns={"difference": "gain"}).merge(longer.rename(columns={"difference": "longer"}), on=PAIR)


def with_overhead(frame: pd.DataFrame, rounds: int = 20) -> pd.DataFrame:
    """``frame`` with a column ``overhead``: the seconds of ``reinitialize(model, "10M")`` here, as a share of the mean
    seconds of the network's base runs, wherever those were made; in base's rows. The least of ``rounds``: other work on
    the machine only adds."""
    frame = frame.assign(overhead=np.nan)
    for name in frame.architecture.unique():
        seconds = []
        for _ in range(rounds):
            model = models.build(name, 10, seed=0)
            start = time.perf_counter()
            reinitialize(model, "10M")
            seconds.append(time.perf_counter() - start)
        base = (frame.architecture == name) & (frame.case == "base") & (frame.status == "done")
        frame.loc[base, "overhead"] = min(seconds) / frame.seconds[base].mean()
    return frame


def overhead(frame: pd.DataFrame, generator: Generator) -> Judged:
    """Seconds of re-initialisation as a share of a run's, lowest to highest network: needs `with_overhead`'s column."""
    if "overhead" not in frame or frame.overhead.isna().all():
        return _untested(UNITS["seconds"])
    share = 100 * frame.groupby("architecture").overhead.mean().dropna()
    says = "supported" if share.max() < 1 else "contradicted"  # of all networks, and without a sampling error
    numbers = dict(effect=share.mean(), low=share.min(), high=share.max(), n=len(share))
    return _untested(UNITS["seconds"])._replace(**numbers, verdict=says)


FUNCTIONS = {  # what decides a claim that is no contrast, and how the table says so
    "significant": (significant, "cells whose best of M and MN beats base, permutation test of the maximum, p < .05"),
    "beyond_runtime": (beyond_runtime, "accuracy, M and MN minus base, at equal epochs (regression)"),
    "overhead": (overhead, "seconds of reinitialize(model, '10M') in a run's, under 1%"),
}


def _untested(unit: str) -> Judged:
    return _judged("", interval(pd.Series(dtype=float)), unit, UNTESTED)


def _judged(decided_by: str, found: Difference, unit: str, says: str, p: float = np.nan) -> Judged:
    return Judged(decided_by, found.mean, found.low, found.high, found.n, unit, found.by_network(), p, says)


def lines(claim: Claim, frame: pd.DataFrame) -> list[tuple[Contrast, str, Line]]:
    """Each line of evidence for a claim that contrasts decide: the contrast, in words, and what `verdict` judges."""
    found = []
    for test in claim.decided_by:
        pairs = differences(frame, test)
        parts = {str(test): pairs}
        if test.each and len(pairs):
            cells = pairs.groupby(level=CELL, sort=False)
            parts = {
                f"{replace(test, where='all', each=False)}: {short_title(name)} on {data}": part
                for (name, data), part in cells
            }
        margin = 0.0 if test.shift else MARGINS[UNITS[test.value]]
        found += [
            (test, text, Line(interval(part), 0 if test.around_zero else 1, margin)) for text, part in parts.items()
        ]
    return found


def judge(claim: Claim, frame: pd.DataFrame, generator: Generator) -> list[Judged]:
    """A claim's rows of evidence, each with the claim's one verdict: effect, interval, n pairs, unit, means by network,
    one-sided p."""
    if isinstance(claim.decided_by, str):
        decide, text = FUNCTIONS[claim.decided_by]
        return [decide(frame, generator)._replace(decided_by=text)]
    judged = lines(claim, frame)
    says = of_claim([line for _, _, line in judged])
    if claim.counted:
        each = [line.found for _, _, line in judged if line.found.n > 1]
        wrong = sum(Line(found).says(1 - ALPHA / len(each)) == "contradicted" for found in each)
        text = "of all cases and cells, those whose accuracy minus base's, plus 0.5, lies below zero (corrected)"
        return [_untested("cases")._replace(decided_by=text, effect=wrong, n=len(each), verdict=says)]
    p = [np.nan if test.around_zero else line.found.p() for test, _, line in judged]
    return [
        _judged(text, line.found, UNITS[test.value], says, p_line)
        for (test, text, line), p_line in zip(judged, p, strict=True)
    ]


def verdicts(frame: pd.DataFrame, generator: Generator) -> pd.DataFrame:
    """One row per line of evidence: the claim's key, section and words, the fields of `Judged`, holm (p corrected over
    all lines). The verdict is the claim's, in each of its rows.

    ``frame``: `frames.frame` of one profile's grid, with `with_moved`'s column if Figure 1 is to be judged. Raises as
    `one_protocol`.
    """
    one_protocol(frame)
    rows = []
    for claim in CLAIMS:
        named = {"key": claim.key, "section": claim.section, "claim": claim.says}
        rows += [named | judged._asdict() for judged in judge(claim, frame, generator)]
    table = pd.DataFrame(rows)
    return table.assign(holm=holm(table.p))


def by_case(frame: pd.DataFrame, cases: Sequence[str], generator: Generator) -> pd.DataFrame:
    """Accuracy minus base's over all cells, in points, one row per case: difference, low and high (`paired.interval`),
    cells_low and cells_high (bootstrap over cells, then pairs), delta (Cliff's, mean of the cells), p_equivalent (TOST,
    half a point), p_family, n pairs."""
    deltas, family = evidence.cliffs_deltas(frame, cases), evidence.sign_flip_max(frame, generator, cases).p_family
    rows = []
    for case, p_family in zip(cases, family, strict=True):
        pairs = evidence.paired(frame, case)
        values, cells = pairs.set_index(PAIR).difference, evidence.bootstrap_by_cell(pairs, generator)
        found, same = interval(values), evidence.p_equivalent(values, MARGINS["points"])
        bounds = found.mean, found.low, found.high, cells.low, cells.high
        rows.append((case, *bounds, deltas[case], same, p_family, found.n))
    names = "case difference low high cells_low cells_high delta p_equivalent p_family n"
    return pd.DataFrame(rows, columns=names.split())


def written(table: pd.DataFrame) -> pd.DataFrame:
    """`verdicts` as a table of strings to show: section, claim and verdict once per claim."""
    columns = ["section", "claim", "decided_by", "unit", "by_network", "n", "verdict"]
    shown = table[columns].astype(str).rename(columns=lambda name: name.replace("_", " ").title())
    shown = shown.rename(columns={"N": "n", "Decided By": "Decided by"})
    shown.insert(3, "Effect", [_shown(row) for row in table.itertuples()])
    shown.insert(7, "p (Holm)", [f"{p:.3f}" if p == p else "-" for p in table.holm])
    shown.loc[table.key.duplicated().to_numpy(), ["Section", "Claim", "Verdict"]] = ""
    return shown


def _shown(row) -> str:
    if row.n == 0:
        return "-"
    if row.unit == UNITS["seconds"]:  # rounded up, so that a table made again is the same
        return f"under {max(1, math.ceil(row.high))}"
    if row.unit in ("cells", "cases"):
        return f"{row.effect:g} of {row.n}"
    return f"{row.effect:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"


def drawn(table: pd.DataFrame) -> pd.DataFrame:
    """The lines of `verdicts` about accuracy and epochs, to draw: effects beyond two points get a panel of their
    own, and of a claim's several lines each says what it compares."""
    shown = table[table.unit.isin([UNITS["accuracy"], UNITS["epochs"]])]
    large, several = (shown.unit == "points") & (shown.effect.abs() > 2), shown.key.duplicated(keep=False)
    named = shown.claim.mask(shown.key.duplicated(), "...") + ": " + shown.decided_by.str.partition(", ")[2]
    return shown.assign(unit=shown.unit.mask(large, "points, large effects"), claim=shown.claim.mask(several, named))


def reference_frames(folder: str | Path) -> dict[str, pd.DataFrame]:
    """The runs of finished profiles that come with the project: ``folder/runs.csv`` (mini) and
    ``folder/<profile>/runs.csv``."""
    paths = [path for path in (Path(folder) / "runs.csv", *sorted(Path(folder).glob("*/runs.csv"))) if path.is_file()]
    return {"mini" if path.parent == Path(folder) else path.parent.name: pd.read_csv(path) for path in paths}


def beside(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The verdicts of several profiles beside each other: one row per claim, one column per profile."""
    first = next(iter(tables.values())).drop_duplicates("key")
    shown = {name: [_said(rows) for _, rows in table.groupby("key", sort=False)] for name, table in tables.items()}
    return pd.DataFrame({"Section": first.section, "Claim": first.claim} | shown).reset_index(drop=True)


def _said(rows: pd.DataFrame) -> str:
    """The verdict of one claim, and its effect: of several lines, from the lowest to the highest."""
    seen = rows[rows.n > 0]
    if seen.empty:
        return UNTESTED
    (first, *more) = seen.itertuples()
    text = f"{seen.effect.min():+.2f} to {seen.effect.max():+.2f}, {len(seen)} lines" if more else _shown(first)
    return f"{first.verdict} ({text})"
