"""What Coetzer et al. 2026 claim, sentence by sentence as data, and what the runs of a profile say to each.

Every claim is turned into a difference that is positive if the claim is right. Of its 95% interval over pairs (network x data set x
seed, which share split, head and batch order): "supported" lies above zero, "contradicted" below; "not supported" holds zero and leaves
no room for as much as `MARGINS`; "undecided" is everything else. Intervals tell of these networks and data sets, not of others.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats
from statsmodels.regression.linear_model import OLS

from ...analysis import evidence
from ...analysis.frames import PAIR
from ...analysis.paired import holm, interval
from ...analysis.verdict import verdict
from ...data import PAPER_NAMES
from ...networks import table as models
from ...networks.table import architecture
from ...profiles import CASES, FRACTIONS
from ...reinit import reinitialize
from ...run import Run

BASE, METHODS = ("base",), CASES[1:]
GENTLE = evidence.TO_MEAN  # M and MN, the paper's most effective functions (section 5)
HARSH = tuple(f"{p}{rf}" for p in FRACTIONS for rf in ("NS", "N"))
GROUPS = {  # cells of a grid: network's families, and data sets by the paper's names (miniatures by those they mirror)
    "all": (None, None),
    "CNNs": (("simplenet", "resnet", "efficientnet"), None),
    "ViT": (("vit",), None),
    "SimpleNet": (("simplenet",), None),
    "ResNet and ViT": (("resnet", "vit"), None),
    "DTD": (None, ("DTD",)),
    "Fruit25": (None, ("Fruit25",)),
    "Brain Tumor and Fruit25": (None, ("Brain Tumor", "Fruit25")),
    "DTD and Brain Tumor": (None, ("DTD", "Brain Tumor")),
}
UNITS = {"accuracy": "points", "epochs": "% of base's epochs", "moved": "% of the weights", "seconds": "% of a run"}
MARGINS = {
    "points": 0.5,
    "% of base's epochs": 5.0,
    "% of the weights": 1.0,
}  # 0.5: the least gain of section 5.1; the others are ours
VERDICTS = ("supported", "not supported", "contradicted", "undecided", "not tested")
LEVEL = 0.05
ENOUGH = 20  # pairs for a bootstrap; of fewer its intervals are too narrow, and Student's t are taken


@dataclass(frozen=True)
class Contrast:
    """Mean of the cases ``plus`` minus that of ``minus``, pair by pair in the cells ``where``, less the same in the cells ``less``.

    ``shift`` is added. ``around_zero``: the claim is not that the difference is positive, but that it is within the margin of zero.
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
    """One sentence of the paper that claims something, in our words, and what decides it: a `Contrast` or the name of a function."""

    key: str
    section: str
    says: str
    decided_by: Contrast | str


def _best(p):
    return tuple(f"{p}{rf}" for rf in ("M", "MN"))


def _of(rf, among=FRACTIONS):
    return tuple(f"{p}{rf}" for p in among)


CLAIMS = (
    Claim("cnn_accuracy", "abstract", "CNNs gain test accuracy", Contrast(GENTLE, BASE, where="CNNs")),
    Claim("vit_accuracy", "abstract", "ViTs gain test accuracy", Contrast(GENTLE, BASE, where="ViT")),
    Claim("faster", "abstract", "training converges in fewer epochs", Contrast(BASE, GENTLE, "epochs")),
    Claim("cheap", "abstract", "the computational overhead is negligible", "overhead"),
    Claim(
        "shift",
        "1",
        "the gain is larger where the target is unlike the source",
        Contrast(GENTLE, BASE, where="DTD and Brain Tumor", less="Fruit25"),
    ),
    Claim(
        "on_fruit",
        "5",
        "accuracy gains most on Fruit25",
        Contrast(GENTLE, BASE, where="Fruit25", less="DTD and Brain Tumor"),
    ),
    Claim(
        "on_dtd", "5", "accuracy gains most on DTD", Contrast(GENTLE, BASE, where="DTD", less="Brain Tumor and Fruit25")
    ),
    Claim(
        "larger", "5", "larger networks (ResNet, ViT) gain consistently", Contrast(GENTLE, BASE, where="ResNet and ViT")
    ),
    Claim("cnn_faster", "5", "CNNs converge faster", Contrast(BASE, GENTLE, "epochs", "CNNs")),
    Claim(
        "vit_as_fast",
        "5",
        "for the ViT convergence hardly changes",
        Contrast(BASE, GENTLE, "epochs", "ViT", around_zero=True),
    ),
    Claim("significant", "5", "the gains are statistically significant", "significant"),
    Claim("beyond_runtime", "5", "the gains exceed what the length of training explains", "beyond_runtime"),
    Claim("m_and_mn", "5", "M and MN are the most effective functions", Contrast(GENTLE, HARSH)),
    Claim("ns_hurts", "5", "NS degrades performance", Contrast(BASE, _of("NS"))),
    Claim("n_hurts", "5", "N degrades performance", Contrast(BASE, _of("N"))),
    Claim(
        "n_moves", "5", "25N changes the final weights more than 25M (Figure 1)", Contrast(("25N",), ("25M",), "moved")
    ),
    Claim("harsh_less", "5", "of N and NS, less is better: 5% beats 25%", Contrast(("5NS", "5N"), ("25NS", "25N"))),
    Claim("gentle_more", "5", "of M and MN, more is better: 25% beats 5% in accuracy", Contrast(_best(25), _best(5))),
    Claim("gentle_more_speed", "5", "... or in convergence", Contrast(_best(5), _best(25), "epochs")),
    Claim("dtd_five", "5", "on DTD 5% is best", Contrast(_best(5), (*_best(10), *_best(25)), where="DTD")),
    Claim(
        "others_more",
        "5",
        "on Brain Tumor and Fruit25 10% to 25% are best",
        Contrast((*_best(10), *_best(25)), _best(5), where="Brain Tumor and Fruit25"),
    ),
    Claim("half_a_point", "5.1", "the gain in accuracy is at least half a point", Contrast(GENTLE, BASE, shift=-0.5)),
    Claim("ten_m", "6", "10M is worth recommending: it beats base", Contrast(("10M",), BASE)),
    Claim(
        "ten_m_best",
        "6",
        "... and the other M and MN cases",
        Contrast(("10M",), tuple(case for case in GENTLE if case != "10M")),
    ),
    Claim(
        "five_atypical",
        "6",
        "for very atypical data 5% is better than 10%",
        Contrast(_best(5), _best(10), where="DTD and Brain Tumor"),
    ),
    Claim("never_worse", "6", "base never beats a re-initialised case significantly", "never_worse"),
    Claim("no_harm", "6", "M and MN do no harm: less than half a point is lost", Contrast(GENTLE, BASE, shift=0.5)),
)


def named(cases: tuple[str, ...]) -> str:
    """Cases in words: whole families by their name."""
    whole = {BASE: "base", GENTLE: "M and MN", HARSH: "N and NS", _of("N"): "N", _of("NS"): "NS"}
    return whole.get(cases) or (", ".join(cases) if len(cases) < 5 else "the other M and MN")


def one_protocol(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame itself. Raises ValueError if runs of several profiles are mixed in it, or if there are none."""
    if frame.empty:
        raise ValueError("there are no runs to judge: run the profile first, `make reproduce PROFILE=...`")
    names = [name for name in Run.__dataclass_fields__ if name in frame and name not in (*PAIR, "case")]
    for network, runs in frame.groupby("architecture", sort=False):
        for name in names:
            if len(values := runs[name].drop_duplicates()) > 1:
                raise ValueError(
                    f"runs of several profiles are mixed: {network} has {name} {' and '.join(map(repr, values))}; "
                    f"give the runs of one profile, from one results folder"
                )
    if frame.duplicated([*PAIR, "case"]).any():
        which = tuple(frame.loc[frame.duplicated([*PAIR, "case"]), [*PAIR, "case"]].iloc[0])
        raise ValueError(
            f"runs of several profiles are mixed: {which} is there more than once; give the runs of one profile"
        )
    return frame


def with_moved(frame: pd.DataFrame, records: list[dict]) -> pd.DataFrame:
    """``frame`` with a column ``moved``: how far a run's final weights, as a histogram, are from base's of the same seed, 0..1.

    Half the sum of absolute differences of the shares in each bin (total variation): the share of weights that would have to move.
    """
    shares = {}
    for record in (record for record in records if record["status"] == "done"):
        config, counts = record["config"], np.asarray(record["histogram"], float)
        shares[*(config[name] for name in PAIR), config["case"]] = counts / counts.sum()
    keys = list(zip(*(frame[name] for name in (*PAIR, "case")), strict=True))
    there = [key in shares and (*key[:3], "base") in shares for key in keys]
    moved = [
        abs(shares[key] - shares[*key[:3], "base"]).sum() / 2 if ok else np.nan
        for key, ok in zip(keys, there, strict=True)
    ]
    return frame.assign(moved=moved)


def differences(frame: pd.DataFrame, test: Contrast) -> np.ndarray:
    """The test's difference, one number a pair [pairs], in the unit of its value; a pair without all of its cases is left out."""
    if test.value not in frame:
        return np.empty(0)
    runs = frame[frame.status == "done"]
    wide = runs.pivot_table(index=PAIR, columns="case", values=test.value)
    if {*test.plus, *test.minus} - {*wide.columns}:  # a profile with fewer cases, such as quick, can't test this one
        return np.empty(0)
    sides = [wide[list(cases)].mean(axis=1, skipna=False) for cases in (test.plus, test.minus)]
    found = sides[0] - sides[1]
    found = found / _base_epochs(wide) if test.value == "epochs" else found
    found = 100 * found.dropna() + test.shift
    here = found[_inside(found.index, test.where)]
    if not test.less:
        return here.to_numpy()
    there = found[_inside(found.index, test.less)]
    both = [
        part.groupby(["architecture", "seed"]).mean() for part in (here, there)
    ]  # paired by what the two groups share
    return (both[0] - both[1]).dropna().to_numpy()


def _base_epochs(wide: pd.DataFrame) -> pd.Series:
    return wide["base"].groupby(["architecture", "dataset"]).transform("mean")


def _inside(index: pd.MultiIndex, group: str) -> list[bool]:
    families, datasets = GROUPS[group]
    return [
        (families is None or architecture(network).family in families)
        and (datasets is None or PAPER_NAMES.get(data) in datasets)
        for network, data, _ in index
    ]


def significant(frame: pd.DataFrame, generator: np.random.Generator) -> dict:
    """In how many cells the best of M and MN beats base by more than chance lets the best of six: permutation test of the maximum.

    The six, because the test takes all cases to be alike under chance, which N is not. By luck one cell in twenty would pass.
    """
    present = tuple(case for case in GENTLE if case in set(frame.case))
    if not present or "base" not in set(frame.case):
        return _nothing("cells")
    p = evidence.best_of(frame, generator, present).p.dropna()
    if p.empty or frame.seed.nunique() < 3:
        return _nothing("cells")
    count = int((p < LEVEL).sum())
    chance = scipy_stats.binomtest(count, len(p), LEVEL, alternative="greater").pvalue
    low, high = (len(p) * bound for bound in scipy_stats.binomtest(count, len(p)).proportion_ci(0.95))
    says = "supported" if chance < LEVEL else "not supported"
    return {"effect": count, "low": low, "high": high, "n": len(p), "unit": "cells", "p": chance, "verdict": says}


def never_worse(frame: pd.DataFrame, generator: np.random.Generator) -> dict:
    """In how many (cell, case) base beats the case by a one-sided Mann-Whitney test, Holm-corrected within the cell."""
    present = tuple(case for case in METHODS if case in set(frame.case))
    if not present or "base" not in set(frame.case):
        return _nothing("cases")
    turned = frame.assign(accuracy=-frame.accuracy)  # then "case > base" asks whether base is on top
    table = evidence.mann_whitney(turned, cases=present).dropna(subset="p")
    if table.empty:
        return _nothing("cases")
    worse = int((table.holm < LEVEL).sum())
    low, high = (len(table) * bound for bound in scipy_stats.binomtest(worse, len(table)).proportion_ci(0.95))
    says = "contradicted" if worse else "undecided"  # that nothing was found does not show that nothing is there
    return {"effect": worse, "low": low, "high": high, "n": len(table), "unit": "cases", "p": np.nan, "verdict": says}


def beyond_runtime(frame: pd.DataFrame, generator: np.random.Generator) -> dict:
    """The gain of M and MN at equal length of training: the intercept of gain on difference in epochs, clustered by pair."""
    parts = [
        part.assign(case=case) for case in GENTLE if case in set(frame.case) and not (part := _gains(frame, case)).empty
    ]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*PAIR, "gain", "longer"])
    if table.groupby(PAIR).ngroups < 3 or table.longer.nunique() < 2:
        return _nothing("points")
    design = np.column_stack([np.ones(len(table)), table.longer.astype(float)])
    fitted = OLS(table.gain.astype(float).to_numpy(), design).fit(
        cov_type="cluster", cov_kwds={"groups": table.groupby(PAIR).ngroup()}
    )
    (low, high), mean = fitted.conf_int()[0], fitted.params[0]
    p = fitted.pvalues[0] / 2 if mean > 0 else 1 - fitted.pvalues[0] / 2
    return {
        "effect": mean,
        "low": low,
        "high": high,
        "n": table.groupby(PAIR).ngroups,
        "unit": "points",
        "p": p,
        "verdict": verdict(mean, low, high, MARGINS["points"]),
    }


def _gains(frame, case):
    gain, longer = (
        evidence.paired(frame, case, value=value, scale=scale)
        for value, scale in (("accuracy", 100.0), ("epochs", 1.0))
    )
    return gain.rename(columns={"difference": "gain"}).merge(longer.rename(columns={"difference": "longer"}), on=PAIR)


def with_overhead(frame: pd.DataFrame, rounds: int = 20) -> pd.DataFrame:
    """``frame`` with a column ``overhead``: the seconds of ``reinitialize(model, "10M")`` here, as a share of the mean seconds of the
    network's base runs, wherever those were made; in base's rows. The least of ``rounds``: other work on the machine only adds."""
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


def overhead(frame: pd.DataFrame, generator: np.random.Generator) -> dict:
    """Seconds of re-initialisation as a share of a run's, lowest to highest network: needs `with_overhead`'s column."""
    if "overhead" not in frame or frame.overhead.isna().all():
        return _nothing(UNITS["seconds"])
    share = 100 * frame.groupby("architecture").overhead.mean().dropna()
    says = "supported" if share.max() < 1 else "contradicted" if share.min() > 1 else "undecided"
    return {
        "effect": share.mean(),
        "low": share.min(),
        "high": share.max(),
        "n": len(share),
        "unit": UNITS["seconds"],
        "p": np.nan,
        "verdict": says,
    }


FUNCTIONS = {
    "significant": significant,
    "never_worse": never_worse,
    "beyond_runtime": beyond_runtime,
    "overhead": overhead,
}
DECIDED = {
    "significant": "cells whose best of M and MN beats base, permutation test of the maximum, p < .05",
    "never_worse": "cases that base beats, Mann-Whitney, Holm within the cell, p < .05",
    "beyond_runtime": "accuracy, M and MN minus base, at equal epochs (regression)",
    "overhead": "seconds of reinitialize(model, '10M') in a run's, under 1%",
}


def _nothing(unit: str) -> dict:
    return {"effect": np.nan, "low": np.nan, "high": np.nan, "n": 0, "unit": unit, "p": np.nan, "verdict": "not tested"}


def judge(claim: Claim, frame: pd.DataFrame, generator: np.random.Generator) -> dict:
    """Effect, interval, n, unit, one-sided p and verdict of one claim."""
    if isinstance(claim.decided_by, str):
        return FUNCTIONS[claim.decided_by](frame, generator)
    test, values = claim.decided_by, differences(frame, claim.decided_by)
    unit = UNITS[test.value]
    if len(values) < 2:
        return _nothing(unit)
    found = evidence.bootstrap(values, generator) if len(values) >= ENOUGH else interval(values)
    constant = np.ptp(values) == 0
    p = np.nan if constant or test.around_zero else scipy_stats.ttest_1samp(values, 0, alternative="greater").pvalue
    says = verdict(found.mean, found.low, found.high, MARGINS[unit], test.around_zero)
    return {
        "effect": found.mean,
        "low": found.low,
        "high": found.high,
        "n": len(values),
        "unit": unit,
        "p": p,
        "verdict": says,
    }


def verdicts(frame: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """A row a claim: key, section, claim, decided_by, effect, low, high, n, unit, p (one-sided), holm (over the claims), verdict.

    ``frame``: `records.frame` of one profile's grid, with `with_moved`'s column if Figure 1 is to be judged. Raises as `one_protocol`.
    """
    one_protocol(frame)
    rows = []
    for claim in CLAIMS:
        by = claim.decided_by
        rows.append(
            {"key": claim.key, "section": claim.section, "claim": claim.says, "decided_by": DECIDED.get(by) or str(by)}
            | judge(claim, frame, generator)
        )
    table = pd.DataFrame(rows)
    return table.assign(holm=holm(table.p))


def by_case(
    frame: pd.DataFrame, cases: Sequence[str], generator: np.random.Generator, draws: int = 10_000
) -> pd.DataFrame:
    """Accuracy minus base's over all cells, in points, a row a case: difference, low and high (bootstrap over pairs), cells_low and
    cells_high (over cells, then pairs), delta (Cliff's, mean of the cells), p_equivalent (TOST, half a point), p_family, n pairs."""
    sizes = evidence.effect_sizes(frame, cases).groupby("case").delta.mean()
    family = evidence.sign_flip_max(frame, generator, cases, draws=draws).set_index("case").p_family
    rows = []
    for case in cases:
        pairs = evidence.paired(frame, case)
        found, cells = (
            evidence.bootstrap(pairs.difference, generator),
            evidence.bootstrap_by_cell(pairs, generator, draws=draws),
        )
        same = evidence.equivalence(pairs.difference, MARGINS["points"])
        rows.append(
            {
                "case": case,
                "difference": found.mean,
                "low": found.low,
                "high": found.high,
                "cells_low": cells.low,
                "cells_high": cells.high,
                "delta": sizes.get(case, np.nan),
                "p_equivalent": same.p,
                "p_family": family.get(case, np.nan),
                "n": found.n,
            }
        )
    return pd.DataFrame(rows)


def written(table: pd.DataFrame) -> pd.DataFrame:
    """`verdicts` as a table of strings to show."""
    rows = [
        {
            "Section": row.section,
            "Claim": row.claim,
            "Decided by": row.decided_by,
            "Effect": _shown(row),
            "Unit": row.unit,
            "n": str(row.n),
            "p (Holm)": f"{row.holm:.3f}" if row.holm == row.holm else "-",
            "Verdict": row.verdict,
        }
        for row in table.itertuples()
    ]
    return pd.DataFrame(rows)


def _shown(row) -> str:
    if row.n == 0:
        return "-"
    if row.unit == UNITS["seconds"]:  # rounded up, so that a table made again is the same
        return f"under {max(1, math.ceil(row.high))}"
    return (
        f"{row.effect:g} of {row.n}"
        if row.unit in ("cells", "cases")
        else f"{row.effect:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
    )


def drawn(table: pd.DataFrame) -> pd.DataFrame:
    """The claims of `verdicts` about accuracy and epochs, to draw: effects beyond two points get a panel of their own."""
    shown = table[table.unit.isin([UNITS["accuracy"], UNITS["epochs"]])]
    large = (shown.unit == "points") & (shown.effect.abs() > 2)
    return shown.assign(unit=shown.unit.mask(large, "points, large effects"))


def reference_frames(folder: str | Path) -> dict[str, pd.DataFrame]:
    """The runs of finished profiles that come with the project: ``folder/runs.csv`` (mini) and ``folder/<profile>/runs.csv``."""
    paths = [path for path in (Path(folder) / "runs.csv", *sorted(Path(folder).glob("*/runs.csv"))) if path.is_file()]
    return {"mini" if path.parent == Path(folder) else path.parent.name: pd.read_csv(path) for path in paths}


def beside(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The verdicts of several profiles beside each other: a row a claim, a column a profile."""
    first = next(iter(tables.values()))
    columns = {
        f"{name}": [f"{row.verdict} ({_shown(row)})" if row.n else row.verdict for row in table.itertuples()]
        for name, table in tables.items()
    }
    return pd.DataFrame({"Section": first.section, "Claim": first.claim} | columns)
