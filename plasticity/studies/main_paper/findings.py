"""What the runs of a profile's grid say, in sentences: the findings of notebooks 00 to 30 and 41.

Functions of `frames.frame`, or of a table as it is written, so that the committed ones say the same. The first sentence
of each is its answer.
"""

from collections.abc import Sequence

import pandas as pd

from ...analysis import evidence, sentences
from ...analysis.evidence import CELL, MEAN_CASES
from ...analysis.frames import only
from ...analysis.paired import Difference, interval
from ...analysis.sentences import compared, counted, listed, measured, span
from ...analysis.tables import transfer as transfer_table
from ...analysis.tables import versus_base
from ...analysis.verdict import ALPHA
from ...analysis.writing import in_words
from ...profiles import CASES, CONTROL_CASES
from .claims import BASE, N_CASES, NS_CASES, UNITS, Contrast, differences
from .numbers import P_VALUES

RECOMMENDED = "10M"


def transfer(frame: pd.DataFrame) -> list[str]:
    """Base against ``scratch``: does pretraining help? From `tables.transfer`'s gains."""
    table = transfer_table(frame)
    gains = table["Gain"].astype(float)
    if not len(gains):
        return ["No cell has runs of base and of `scratch`: whether pretraining helps is open."]
    cells, n = counted(int((gains > 0).sum()), "cell", len(gains)), table["n"].iloc[0].replace(", ", " and ")
    said = [
        f"Pretrained weights are ahead of a fresh start in {cells} of network and data set (by {span(gains)} points of "
        f"test accuracy, n = {n} runs a cell)"
    ]
    weak = [
        f"{row.Architecture} on {row.Dataset}" for row, gain in zip(table.itertuples(), gains, strict=True) if gain <= 0
    ]
    return said + [f"Read with care what follows on {', '.join(weak)}: nothing was transferred there"] * bool(weak)


def network(frame: pd.DataFrame, name: str) -> list[str]:
    """10 M, the best of the twelve and the paper's test of it, for one network."""
    here = only(frame, architecture=name)
    best = versus_base(here)
    won = int(((best.p_accuracy < ALPHA) & (best.gain > 0)).sum())
    case = recommended(here)
    return [
        f"On the {in_words(name)} {compared(effect(here, [case]), in_words(case))}",
        f"The best of all cases gains {span(best.gain)} points, by data set; the paper's test, uncorrected for the "
        f"choice, calls {counted(won, 'of these gains', len(best)).removesuffix('s')} significant",
    ]


def methods(frame: pd.DataFrame) -> list[str]:
    """M and MN together, NS, N and the control ``biases`` against base, over all cells."""
    groups = {"the mean of M and MN": MEAN_CASES, "NS": NS_CASES, "N": N_CASES, "the control `biases`": ["biases"]}
    found = {name: effect(frame, cases) for name, cases in groups.items()}
    return [compared(each, name) for name, each in found.items() if each.n]


def analysis(frame: pd.DataFrame) -> list[str]:
    """Mean effects by method over all cells, and 10 M."""
    parts = {"M and MN": MEAN_CASES, "NS": NS_CASES, "N": N_CASES}
    spans = {name: means(frame, cases) for name, cases in parts.items()}
    case, cells = recommended(frame), frame.groupby(CELL).ngroups
    ranges = listed([f"{name} to {span(values)}" for name, values in spans.items() if values])
    control = effect(frame, ["biases"])
    said = f"the control `biases`, which touches no weight, comes to {measured(control)}"
    return [
        f"Against base {ranges.replace(' to ', ' come to ', 1)} points of test accuracy (means over "
        f"{counted(cells, 'cell')} of network and data set)",
        compared(effect(frame, [case]), in_words(case)),
        *[said] * bool(control.n),
    ]


def tests(frame: pd.DataFrame) -> list[str]:
    """The paper's own test on our runs, beside what the paper prints."""
    best = versus_base(frame)
    significant = best.p_accuracy < ALPHA
    ahead = int((significant & (best.gain > 0)).sum())
    printed = [p for p in P_VALUES if p.metric == "accuracy"]
    theirs = sum(float(p.p) < ALPHA for p in printed)
    return [
        f"By the paper's test the best case is significantly ahead of base in {counted(ahead, 'cell', len(best))}, and "
        f"behind it in {int((significant & (best.gain < 0)).sum())}",
        f"The paper prints {counted(theirs, 'such p-value', len(printed))} below {ALPHA:g}",
    ]


def beside(table: pd.DataFrame) -> list[str]:
    """`tables.beside_paper`: signs of the best case's gain, and whether it is the same case."""
    both = table[(table["Ours: Case"] != "-") & (table["Paper: Case"] != "-")]
    if both.empty:
        return ["The paper has none of these networks: there is nothing to put beside these runs"]
    ours, theirs = (both[f"{whose}: Gain"].astype(float) for whose in ("Ours", "Paper"))
    same = int((both["Ours: Case"] == both["Paper: Case"]).sum())
    return [
        f"The best case is ahead of base in {counted(int((ours > 0).sum()), 'cell', len(both))} here and in "
        f"{int((theirs > 0).sum())} in the paper; it is the same case in {same}",
        f"Its gain is {span(ours)} points here, {span(theirs)} in the paper",
    ]


def contradictions(table: pd.DataFrame) -> list[str]:
    """`contradictions_frame`: how many, and of which kind."""
    kinds = table["kind"].value_counts()
    return [
        f"The published numbers disagree with each other in {counted(len(table), 'place')}",
        f"{kinds.get('arithmetic', 0)} of them are rows whose mean epochs can't come from ten runs",
    ]


def spreads(frame: pd.DataFrame) -> list[str]:
    """How far runs that mean the same lie apart, and how far M and MN move a mean."""
    done = frame[frame.status == "done"]
    base = 100 * only(done, case="base").groupby(CELL).accuracy.std()
    moved = [abs(each) for case in present(frame, MEAN_CASES) for each in by_cell(frame, case)]
    epochs = effect(frame, MEAN_CASES, "epochs")
    if base.isna().all():
        return ["With one seed for each case, no picture tells an effect from noise"]
    less = sum(each < base.median() for each in moved)
    return [
        f"Runs of base that differ in their seed alone lie {base.median():.1f} points apart (median standard deviation)"
        f", and M or MN move a cell's mean by less in {counted(less, 'comparison', len(moved))}",
        f"In length M and MN differ from base by {measured(epochs, UNITS['epochs'], 1)}",
    ]


def histograms(base, counts: dict) -> list[str]:
    """Figure 1: how much of the weights' distribution each case moves (half the sum of absolute differences)."""
    shares = base / base.sum()
    moved = {case: 50 * abs(shares - each / each.sum()).sum() for case, each in counts.items()}
    said = listed([f"{share:.1f}% with {in_words(case)}" for case, share in moved.items()])
    return [f"Of the weights' distribution after fine-tuning, what lies elsewhere than base's is {said}"]


def judged(table: pd.DataFrame) -> list[str]:
    """The written table of `claims.verdicts`: how many claims hold, and the recommendation."""
    once = table[table["Verdict"].fillna("") != ""]
    ten = once[once["Claim"].str.startswith("10M is worth recommending")].iloc[0]
    effect = "" if ten["Effect"] == "-" else f" ({ten['Effect']} points, n = {ten['n']})"
    verdicts = dict(zip(once["Claim"], once["Verdict"], strict=True))
    first, *more = sentences.claims(verdicts, "of the paper's {} claims")
    return [first, f"That 10 M beats base is {ten['Verdict']}{effect}", *more]


def selection(table: pd.DataFrame) -> list[str]:
    """`selection.over_cells` as written: what choosing the best of twelve does where nothing helps."""
    twelve = table[table["Cases"].astype(int) == 12].iloc[0]
    six = table[(table["Cases"].astype(int) == 6) & (table["n"] == twelve["n"])].iloc[0]
    return [
        f"If nothing helped, the best of twelve would be called significant in {100 * float(twelve['Rate']):.0f}% of "
        f"cells, and the best of the six M and MN in {100 * float(six['Rate']):.0f}%",
        f"That makes {float(twelve['Expected']):.1f} of {twelve['Cells']} cells by chance (of M and MN "
        f"{float(six['Expected']):.1f}); the paper prints {twelve['Printed']}, and so many or more come by chance with "
        f"probability {float(twelve['Chance']):.2f} ({float(six['Chance']):.2f})",
    ]


def chance(table: pd.DataFrame) -> list[str]:
    """`evidence.best_of` as written: cells in which the best is further ahead than chance makes it."""
    p = pd.to_numeric(table["p"], errors="coerce").dropna()
    if p.empty:
        return ["No cell has enough runs for this test"]
    return [
        f"The best of {table['Cases'].iloc[0]} is further ahead of base than chance makes it in "
        f"{counted(int((p < ALPHA).sum()), 'cell', len(p))} (p < {ALPHA:g}, one cell in twenty by luck)"
    ]


# --- what the sentences count -----------------------------------------------------------------------------------------
def recommended(frame: pd.DataFrame) -> str:
    """10 M, or in a profile without it the first M or MN case that it has."""
    return next(iter(present(frame, (RECOMMENDED, *MEAN_CASES))), RECOMMENDED)


def present(frame: pd.DataFrame, cases: Sequence[str]) -> list[str]:
    """The cases that a frame has, in the given order."""
    there = set(frame.case)
    return [case for case in dict.fromkeys(cases) if case in there]


def effect(frame: pd.DataFrame, cases: Sequence[str], value: str = "accuracy") -> Difference:
    """The mean of those of the cases that the frame has, minus base, paired by seed: points, or % of base's epochs."""
    return interval(differences(frame, Contrast(tuple(present(frame, cases)), BASE, value)))


def effects(frame: pd.DataFrame) -> pd.DataFrame:
    """Each case and control that a frame has, minus base: case, mean, low and high in points, n pairs."""
    rows = [{"case": case} | effect(frame, [case]).row() for case in present(frame, (*CASES[1:], *CONTROL_CASES))]
    return pd.DataFrame(rows, columns=["case", "n", "mean", "low", "high"])


def means(frame: pd.DataFrame, cases: Sequence[str]) -> list[float]:
    """The mean difference from base of each case, over all pairs."""
    return [evidence.paired(frame, case).difference.mean() for case in present(frame, cases)]


def by_cell(frame: pd.DataFrame, case: str) -> pd.Series:
    """The mean difference of a case from base in each cell."""
    return evidence.paired(frame, case).groupby(CELL).difference.mean()
