"""What Coetzer et al. 2026 claim, sentence by sentence as data, and what the runs of a profile say to each.

Every claim is turned into a difference that is positive if the claim is right. `verdict` judges its 95% interval over
pairs (network x data set x seed, which share split, head and batch order). Intervals tell of these networks and data
sets, not of others.
"""

import math
import time
from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy import stats as scipy_stats
from statsmodels.regression.linear_model import OLS

from ...analysis import evidence
from ...analysis.evidence import MEAN_CASES, TWELVE
from ...analysis.frames import PAIR
from ...analysis.paired import holm, interval
from ...analysis.tables import PAPER_NAMES
from ...analysis.verdict import ALPHA, CONFIDENCE, MARGINS, UNTESTED, verdict
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
    "Fruit25": (None, ("Fruit25",)),
    REST: (None, ("Brain Tumor", "Fruit25")),
    FAR: (None, ("DTD", "Brain Tumor")),
}
UNITS = {"accuracy": "points", "epochs": "% of base's epochs", "moved": "% of the weights", "seconds": "% of a run"}
ENOUGH = 20  # pairs for a bootstrap; of fewer its intervals are too narrow, and Student's t are taken
Judged = namedtuple("Judged", "effect low high n unit p verdict")  # p is one-sided


@dataclass(frozen=True)
class Contrast:
    """Mean of the cases ``plus`` minus that of ``minus``, pair by pair in the cells ``where``, less the same in the
    cells ``less``.

    ``shift`` is added. ``around_zero``: the claim is not that the difference is positive, but that it is within the
    margin of zero.
    """

    plus: tuple[str, ...]
    minus: tuple[str, ...]
    value: str = "accuracy"
    where: str = "all"
    less: str = ""
    shift: float = 0.0
    around_zero: bool = False

    def __str__(self):
        text = f"{self.value}, {named(self.plus)} minus {named(self.minus)}"
        text += "" if self.where == "all" else f", {self.where}"
        text += f" minus the same, {self.less}" if self.less else ""
        text += f", {'plus' if self.shift > 0 else 'minus'} {abs(self.shift):g}" if self.shift else ""
        return text + (" (about zero)" if self.around_zero else "")


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper that claims something, in our words, and what decides it: a `Contrast`, or a key of
    `FUNCTIONS`."""

    key: str
    section: str
    says: str
    decided_by: Contrast | str


def _cases(functions: Sequence[str], fractions: Sequence[int] = FRACTIONS) -> tuple[str, ...]:
    return tuple(f"{fraction}{function}" for fraction in fractions for function in functions)


BASE, NS_CASES, N_CASES, NOISE_CASES = ("base",), _cases(["NS"]), _cases(["N"]), _cases(["NS", "N"])
FIVE, TEN, TWENTY_FIVE, MORE = (_cases(["M", "MN"], percent) for percent in ([5], [10], [25], [10, 25]))
TEN_M, OTHERS = ("10M",), tuple(case for case in MEAN_CASES if case != "10M")
_gain, _saving = partial(Contrast, MEAN_CASES, BASE), partial(Contrast, BASE, MEAN_CASES, "epochs")
CLAIMS = (
    Claim("cnn_accuracy", "abstract", "CNNs gain test accuracy", _gain(where="CNNs")),
    Claim("vit_accuracy", "abstract", "ViTs gain test accuracy", _gain(where="ViT")),
    Claim("faster", "abstract", "training converges in fewer epochs", _saving()),
    Claim("cheap", "abstract", "the computational overhead is negligible", "overhead"),
    Claim("shift", "1", "the gain is larger where the target is unlike the source", _gain(where=FAR, less="Fruit25")),
    Claim("on_fruit", "5", "accuracy gains most on Fruit25", _gain(where="Fruit25", less=FAR)),
    Claim("on_dtd", "5", "accuracy gains most on DTD", _gain(where="DTD", less=REST)),
    Claim("larger", "5", "larger networks (ResNet, ViT) gain consistently", _gain(where="ResNet and ViT")),
    Claim("cnn_faster", "5", "CNNs converge faster", _saving("CNNs")),
    Claim("vit_as_fast", "5", "for the ViT convergence hardly changes", _saving("ViT", around_zero=True)),
    Claim("significant", "5", "the gains are statistically significant", "significant"),
    Claim("beyond_runtime", "5", "the gains exceed what the length of training explains", "beyond_runtime"),
    Claim("m_and_mn", "5", "M and MN are the most effective functions", Contrast(MEAN_CASES, NOISE_CASES)),
    Claim("ns_hurts", "5", "NS degrades performance", Contrast(BASE, NS_CASES)),
    Claim("n_hurts", "5", "N degrades performance", Contrast(BASE, N_CASES)),
    Claim(
        "moved", "5", "25N changes the final weights more than 25M (Figure 1)", Contrast(("25N",), ("25M",), "moved")
    ),
    Claim("noise_less", "5", "of N and NS, less is better: 5% beats 25%", Contrast(("5NS", "5N"), ("25NS", "25N"))),
    Claim("mean_more", "5", "of M and MN, more is better: 25% beats 5% in accuracy", Contrast(TWENTY_FIVE, FIVE)),
    Claim("mean_more_speed", "5", "... or in convergence", Contrast(FIVE, TWENTY_FIVE, "epochs")),
    Claim("dtd_five", "5", "on DTD 5% is best", Contrast(FIVE, MORE, where="DTD")),
    Claim("others_more", "5", f"on {REST} 10% to 25% are best", Contrast(MORE, FIVE, where=REST)),
    Claim("half_a_point", "5.1", "the gain in accuracy is at least half a point", _gain(shift=-0.5)),
    Claim("ten_m", "6", "10M is worth recommending: it beats base", Contrast(TEN_M, BASE)),
    Claim("ten_m_best", "6", "... and the other M and MN cases", Contrast(TEN_M, OTHERS)),
    Claim("five_atypical", "6", "for very atypical data 5% is better than 10%", Contrast(FIVE, TEN, where=FAR)),
    Claim("never_worse", "6", "base never beats a re-initialised case significantly", "never_worse"),
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


def differences(frame: pd.DataFrame, test: Contrast) -> np.ndarray:
    """The test's difference, one number per pair [pairs], in the unit of its value; a pair without all of its cases is
    left out."""
    if test.value not in frame:
        return np.empty(0)
    wide = frame[frame.status == "done"].pivot_table(index=PAIR, columns="case", values=test.value)
    if {*test.plus, *test.minus} - {*wide.columns}:  # a profile with fewer cases, such as quick, can't test this one
        return np.empty(0)
    plus, minus = (wide[list(cases)].mean(axis=1, skipna=False) for cases in (test.plus, test.minus))
    found = plus - minus
    if test.value == "epochs":
        found = found / wide["base"].groupby(["architecture", "dataset"]).transform("mean")
    found = 100 * found.dropna() + test.shift
    here = found[_inside(found.index, test.where)]
    if not test.less:
        return here.to_numpy()
    both = [part.groupby(["architecture", "seed"]).mean() for part in (here, found[_inside(found.index, test.less)])]
    return (both[0] - both[1]).dropna().to_numpy()  # paired by what the two groups share


def _inside(index: pd.MultiIndex, group: str) -> list[bool]:
    families, datasets = GROUPS[group]
    return [
        (families is None or architecture(network).family in families)
        and (datasets is None or PAPER_NAMES.get(data) in datasets)
        for network, data, _ in index
    ]


def significant(frame: pd.DataFrame, generator: Generator) -> Judged:
    """In how many cells the best of M and MN beats base by more than chance lets the best of six: permutation test of
    the maximum.

    The six, because the test takes all cases to be alike under chance, which N is not. By luck one cell in twenty would
    pass: the claim is that more do. Its margin is half of the cells: not supported if so many can be excluded.
    """
    present = tuple(case for case in MEAN_CASES if case in set(frame.case))
    if not present or "base" not in set(frame.case):
        return _untested("cells")
    p = evidence.best_of(frame, generator, present).p.dropna()
    if p.empty or frame.seed.nunique() < 3:
        return _untested("cells")
    count, n = int((p < ALPHA).sum()), len(p)
    low, high = _count_interval(count, n)
    by_luck, chance = n * ALPHA, scipy_stats.binomtest(count, n, ALPHA, alternative="greater").pvalue
    return Judged(count, low, high, n, "cells", chance, verdict(low - by_luck, high - by_luck, margin=n / 2 - by_luck))


def never_worse(frame: pd.DataFrame, generator: Generator) -> Judged:
    """In how many (cell, case) base beats the case by a one-sided Mann-Whitney test, Holm-corrected within the cell.

    One is enough to contradict the claim; that nothing was found does not show that nothing is there.
    """
    present = tuple(case for case in TWELVE if case in set(frame.case))
    if not present or "base" not in set(frame.case):
        return _untested("cases")
    turned = frame.assign(accuracy=-frame.accuracy)  # then "case > base" asks whether base is on top
    table = evidence.mann_whitney(turned, present).dropna(subset="p")
    if table.empty:
        return _untested("cases")
    worse = int((table.holm < ALPHA).sum())
    low, high = _count_interval(worse, len(table))
    return Judged(worse, low, high, len(table), "cases", np.nan, verdict(low, high, side=-1))


def _count_interval(count: int, n: int) -> tuple[float, float]:
    low, high = scipy_stats.binomtest(count, n).proportion_ci(CONFIDENCE)
    return n * low, n * high


def beyond_runtime(frame: pd.DataFrame, generator: Generator) -> Judged:
    """The gain of M and MN at equal length of training: the intercept of gain on difference in epochs, clustered by
    pair."""
    parts = [_gains(frame, case) for case in MEAN_CASES if case in set(frame.case)]
    table = pd.concat([part for part in parts if not part.empty] or [pd.DataFrame(columns=[*PAIR, "gain", "longer"])])
    pairs = table.groupby(PAIR)
    if pairs.ngroups < 3 or table.longer.nunique() < 2:
        return _untested("points")
    design = np.column_stack([np.ones(len(table)), table.longer.astype(float)])
    clusters = {"groups": pairs.ngroup().to_numpy()}
    fitted = OLS(table.gain.to_numpy(float), design).fit(cov_type="cluster", cov_kwds=clusters)
    (low, high), mean = fitted.conf_int()[0], fitted.params[0]
    p = fitted.pvalues[0] / 2 if mean > 0 else 1 - fitted.pvalues[0] / 2
    return Judged(mean, low, high, pairs.ngroups, "points", p, verdict(low, high, margin=MARGINS["points"]))


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
    low, high = share.min(), share.max()
    return Judged(share.mean(), low, high, len(share), UNITS["seconds"], np.nan, verdict(low - 1, high - 1, side=-1))


FUNCTIONS = {  # what decides a claim that is no contrast, and how the table says so
    "significant": (significant, "cells whose best of M and MN beats base, permutation test of the maximum, p < .05"),
    "never_worse": (never_worse, "cases that base beats, Mann-Whitney, Holm within the cell, p < .05"),
    "beyond_runtime": (beyond_runtime, "accuracy, M and MN minus base, at equal epochs (regression)"),
    "overhead": (overhead, "seconds of reinitialize(model, '10M') in a run's, under 1%"),
}


def _untested(unit: str) -> Judged:
    return Judged(np.nan, np.nan, np.nan, 0, unit, np.nan, UNTESTED)


def judge(claim: Claim, frame: pd.DataFrame, generator: Generator) -> Judged:
    """Effect, interval, n, unit, one-sided p and verdict of one claim."""
    test = claim.decided_by
    if isinstance(test, str):
        return FUNCTIONS[test][0](frame, generator)
    unit, values = UNITS[test.value], differences(frame, test)
    if len(values) < 2:
        return _untested(unit)
    found = evidence.bootstrap(values, generator) if len(values) >= ENOUGH else interval(values)
    constant = np.ptp(values) == 0
    p = np.nan if constant or test.around_zero else scipy_stats.ttest_1samp(values, 0, alternative="greater").pvalue
    says = verdict(found.low, found.high, 0 if test.around_zero else 1, MARGINS[unit])
    return Judged(found.mean, found.low, found.high, len(values), unit, p, says)


def verdicts(frame: pd.DataFrame, generator: Generator) -> pd.DataFrame:
    """One row per claim: key, section, claim, decided_by, the fields of `Judged`, holm (p corrected over the claims).

    ``frame``: `frames.frame` of one profile's grid, with `with_moved`'s column if Figure 1 is to be judged. Raises as
    `one_protocol`.
    """
    one_protocol(frame)
    rows = []
    for claim in CLAIMS:
        by = claim.decided_by if isinstance(claim.decided_by, Contrast) else FUNCTIONS[claim.decided_by][1]
        row = {"key": claim.key, "section": claim.section, "claim": claim.says, "decided_by": str(by)}
        rows.append(row | judge(claim, frame, generator)._asdict())
    table = pd.DataFrame(rows)
    return table.assign(holm=holm(table.p))


def by_case(frame: pd.DataFrame, cases: Sequence[str], generator: Generator) -> pd.DataFrame:
    """Accuracy minus base's over all cells, in points, one row per case: difference, low and high (bootstrap over
    pairs), cells_low and cells_high (over cells, then pairs), delta (Cliff's, mean of the cells), p_equivalent (TOST,
    half a point), p_family, n pairs."""
    deltas, family = evidence.cliffs_deltas(frame, cases), evidence.sign_flip_max(frame, generator, cases).p_family
    rows = []
    for case, p_family in zip(cases, family, strict=True):
        pairs = evidence.paired(frame, case)
        found, cells = evidence.bootstrap(pairs.difference, generator), evidence.bootstrap_by_cell(pairs, generator)
        same = evidence.p_equivalent(pairs.difference, MARGINS["points"])
        bounds = found.mean, found.low, found.high, cells.low, cells.high
        rows.append((case, *bounds, deltas[case], same, p_family, found.n))
    names = "case difference low high cells_low cells_high delta p_equivalent p_family n"
    return pd.DataFrame(rows, columns=names.split())


def written(table: pd.DataFrame) -> pd.DataFrame:
    """`verdicts` as a table of strings to show."""
    columns = ["section", "claim", "decided_by", "unit", "n", "verdict"]
    shown = table[columns].astype(str).rename(columns=lambda name: name.replace("_", " ").capitalize())
    shown = shown.rename(columns={"N": "n"})
    shown.insert(3, "Effect", [_shown(row) for row in table.itertuples()])
    shown.insert(6, "p (Holm)", [f"{p:.3f}" if p == p else "-" for p in table.holm])
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
    """The claims of `verdicts` about accuracy and epochs, to draw: effects beyond two points get a panel of their
    own."""
    shown = table[table.unit.isin([UNITS["accuracy"], UNITS["epochs"]])]
    large = (shown.unit == "points") & (shown.effect.abs() > 2)
    return shown.assign(unit=shown.unit.mask(large, "points, large effects"))


def reference_frames(folder: str | Path) -> dict[str, pd.DataFrame]:
    """The runs of finished profiles that come with the project: ``folder/runs.csv`` (mini) and
    ``folder/<profile>/runs.csv``."""
    paths = [path for path in (Path(folder) / "runs.csv", *sorted(Path(folder).glob("*/runs.csv"))) if path.is_file()]
    return {"mini" if path.parent == Path(folder) else path.parent.name: pd.read_csv(path) for path in paths}


def beside(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The verdicts of several profiles beside each other: one row per claim, one column per profile."""
    first = next(iter(tables.values()))
    shown = {
        name: [f"{row.verdict} ({_shown(row)})" if row.n else row.verdict for row in table.itertuples()]
        for name, table in tables.items()
    }
    return pd.DataFrame({"Section": first.section, "Claim": first.claim} | shown)
