"""How often each claim is called wrongly: experiments without any effect, with the spread of the recorded ones.

    python benchmarks/verdict_false_alarms.py [draws]

Writes reference/checks/verdict_false_alarms.csv and .md from the committed runs of all profiles. Every line of evidence
of a claim is drawn anew ``draws`` times: normal, with as many seeds in each cell as were run, and with the recorded
variances and covariances within it, so that lines which share runs (a common base) hang together as they do. The truth
of every line is put at the border of what it claims: no effect, or the size that the claim names. There "supported" and
"contradicted" are both false alarms. Claims that no contrast decides are judged on runs drawn in the same way.
"""

import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy import stats as scipy_stats

from plasticity.analysis.evidence import CELL, MEAN_CASES
from plasticity.analysis.frames import METRICS
from plasticity.analysis.paired import standard_error
from plasticity.analysis.verdict import CONFIDENCE, Line, of_claim
from plasticity.analysis.writing import text_table, write
from plasticity.running import provenance
from plasticity.studies.companions import claims as companions
from plasticity.studies.companions import runs as companion_runs
from plasticity.studies.main_paper import claims as main_paper

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
SLOW = 20  # claims that are judged run by run get so many times fewer draws
FIELDS = ["architecture", "dataset", "case", "seed", "scenario", "schedule", "max_epochs", "beta1", "beta2", "epsilon"]
STUDIES = {"50": "50_warm_start", "51": "51_continual", "52": "52_soft_rescaling", "53": "50_warm_start"}
COLUMNS = ["Paper", "Claim", "Profile", "Lines", "n", "Supported", "Contradicted", "False Alarms"]
COLUMNS += ["Contradicted, No Effect"]


class Drawn:
    """A drawn difference: its interval's ends at the confidences that the rule asks for."""

    def __init__(self, ends: dict[float, tuple[float, float]]):
        self.within = ends.__getitem__


def noise(block: np.ndarray, generator: Generator, draws: int) -> np.ndarray:
    """Normal numbers [draws, seeds, columns] about zero with the covariance of a cell's ``block`` [seeds, columns]."""
    residuals = (block - block.mean(0)) / np.sqrt(len(block) - 1)
    return generator.standard_normal((draws, len(block), len(block))) @ residuals


def drawn_lines(lines: list[Line], truths: list[float], generator: Generator, draws: int) -> list[list[Line]]:
    """The lines of a claim as ``draws`` experiments would have them in which the true differences are ``truths``."""
    pairs = pd.concat([line.found.pairs for line in lines], axis=1, keys=range(len(lines)))
    parts = [[] for _ in lines]  # of each line: its numbers [draws, seeds] in each of its cells
    for _, block in pairs.groupby(level=[name for name in pairs.index.names if name != "seed"], sort=False):
        block = block.dropna(axis=1, how="all").dropna()
        for number, column in zip(block, np.moveaxis(noise(block.to_numpy(), generator, draws), 2, 0), strict=True):
            parts[number].append(column)
    confidences, founds = (CONFIDENCE, 1 - (1 - CONFIDENCE) / len(lines)), []
    for cells, truth in zip(parts, truths, strict=True):
        variances, counts = np.stack([cell.var(1, ddof=1) for cell in cells], 1), [cell.shape[1] for cell in cells]
        error, freedom = standard_error(variances, counts)
        mean = truth + np.mean([cell.mean(1) for cell in cells], 0)
        halves = [scipy_stats.t.ppf(0.5 + confidence / 2, freedom) * error for confidence in confidences]
        founds.append([(mean - half, mean + half) for half in halves])
    return [
        [
            line._replace(found=Drawn({c: (low[i], high[i]) for c, (low, high) in zip(confidences, ends, strict=True)}))
            for line, ends in zip(lines, founds, strict=True)
        ]
        for i in range(draws)
    ]


def shares(says: list[str]) -> tuple[float, float]:
    return says.count("supported") / len(says), says.count("contradicted") / len(says)


def of_lines(lines: list[Line], shifts: list[float], generator: Generator, draws: int) -> list:
    """A claim's row: how often it is called at its border; and with no effect at all, where that is no border."""
    tested = [(line, shift) for line, shift in zip(lines, shifts, strict=True) if line.found.low == line.found.low]
    if not tested:
        return []
    lines, shifts = map(list, zip(*tested, strict=True))
    borders = [line.bound if line.side else line.margin for line in lines]
    supported, contradicted = shares([*map(of_claim, drawn_lines(lines, borders, generator, draws))])
    row, without = [len(lines), draws, supported, contradicted, supported + contradicted], np.nan
    if borders != shifts:
        without = shares([*map(of_claim, drawn_lines(lines, shifts, generator, draws))])[1]
    return [*row, np.nan if any(shift < 0 for shift in shifts) else without]


def null_frame(frame: pd.DataFrame, generator: Generator) -> pd.DataFrame:
    """A main grid's base, M and MN runs drawn anew, in which no case differs from base in accuracy or epochs."""
    rows = frame[frame.case.isin(["base", *MEAN_CASES]) & (frame.status == "done")]
    parts = []
    for _, cell in rows.groupby(CELL, sort=False):
        wide = cell.pivot(index="seed", columns="case", values=["accuracy", "epochs"]).dropna()
        means = np.array([wide[value, "base"].mean() for value, _ in wide.columns])
        made = pd.DataFrame(means + noise(wide.to_numpy(float), generator, 1)[0], wide.index, wide.columns)
        made = made.stack("case", future_stack=True).reset_index()
        parts.append(made.assign(**cell[CELL].iloc[0], status="done"))
    return pd.concat(parts)


def of_main_paper(generator: Generator, draws: int) -> list[list]:
    rows = []
    for profile, frame in main_paper.reference_frames(REFERENCE).items():
        for claim in main_paper.CLAIMS:
            named = ["Coetzer et al. 2026", claim.says, profile]
            if not isinstance(claim.decided_by, str):
                lines = main_paper.lines(claim, frame)
                row = of_lines([line for *_, line in lines], [test.shift for test, *_ in lines], generator, draws)
            elif claim.decided_by == "overhead":  # measured without a sampling error
                row = []
            else:
                judge, few = main_paper.FUNCTIONS[claim.decided_by][0], draws // SLOW
                more = {"draws": 399} if claim.decided_by == "significant" else {}
                says = [judge(null_frame(frame, generator), generator, **more).verdict for _ in range(few)]
                row = ["-", few, *shares(says), sum(shares(says)), np.nan]
            rows += [[*named, *row]] if row else []
    return rows


def study_frames(number: str) -> dict[str, pd.DataFrame]:
    """A companion study's committed runs by part. Drops at new phases are no column of theirs."""
    profile, name = companion_runs.companion("mini"), STUDIES[number]
    table = pd.read_csv(REFERENCE / "companions" / f"runs_{name[:2]}.csv")
    table = table.set_index(pd.MultiIndex.from_frame(table[FIELDS]))
    frames = {}
    for part, runs in companion_runs.study(profile, name).items():
        keys = [tuple(asdict(run)[field] for field in FIELDS) for run in runs]
        frames[part] = table.loc[keys].reset_index(drop=True)
    return frames | ({"full drops": frames["full"][:0].assign(drop=np.nan)} if number == "51" else {})


def metrics_without_effect(cells: pd.DataFrame, r: float, generator: Generator) -> pd.DataFrame:
    """Study 50's warm starts with the metrics of another warm start of the same network, whose runs stay together, and
    with a correlation of ``r`` put in."""
    parts = []
    for _, part in cells.groupby("network", sort=False):
        part = part.sort_values(["subset", "noise", "seed"])
        groups = part.groupby(["subset", "noise"]).ngroup().to_numpy()
        names = [f"first_{name}" for name in METRICS]
        order = generator.permutation(groups.max() + 1)
        moved = part[names].to_numpy(float)[np.concatenate([np.flatnonzero(groups == group) for group in order])]
        with np.errstate(invalid="ignore"):  # a constant metric has no correlation
            moved, accuracy = ((v - v.mean(0)) / v.std(0) for v in (moved, part[["accuracy"]].to_numpy(float)))
        parts.append(part.assign(**dict(zip(names, (r * accuracy + np.sqrt(1 - r**2) * moved).T, strict=True))))
    return pd.concat(parts)


def of_companions(generator: Generator, draws: int) -> list[list]:
    rows = []
    for number in STUDIES:
        frames = study_frames(number)
        for claim, evidence in companions.evidence(frames, number).items():
            named = [claim.paper, claim.says, "companions"]
            if number == "53":
                few, says = draws // SLOW // 2, {}
                for r in (companions.STRONG, 0):
                    made = (metrics_without_effect(frames["cells"], r, generator) for _ in range(few))
                    says[r] = [companions.indicators({"cells": cells})[0].verdict for cells in made]
                border, without = (shares(says[r]) for r in (companions.STRONG, 0))
                rows.append([*named, "-", few, *border, sum(border), without[1]])
            elif row := of_lines([each.line for each in evidence], [0.0] * len(evidence), generator, draws):
                rows.append([*named, *row])
    return rows


def main(draws: int = 10_000):
    started = time.perf_counter()
    rows = of_main_paper(np.random.default_rng(1), draws) + of_companions(np.random.default_rng(2), draws)
    texts = [[*row[:5], *("-" if share != share else f"{100 * share:.1f}%" for share in row[5:])] for row in rows]
    caption = (
        "How often a claim comes out supported or contradicted where the truth is at its border (no effect, or the "
        "size that it names), n experiments drawn with the recorded spreads."
    )
    *paths, tex = write(text_table(texts, COLUMNS), REFERENCE / "checks", "verdict_false_alarms", caption)
    tex.unlink()
    print(max(rows, key=lambda row: row[7]), *paths, sep="\n")
    print(f"{time.perf_counter() - started:.0f} s; {provenance.machine()}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
