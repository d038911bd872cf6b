"""Each claim of the companion papers, the differences of ours that decide it, and what they say by `verdict`'s rule.

Intervals are `paired.interval`'s, stratified by network. A claim about several methods, settings or data sets has a
line for each and one verdict.
"""

from collections import namedtuple
from dataclasses import replace

import numpy as np
import pandas as pd

from ...analysis.frames import METRICS, among, only
from ...analysis.paired import Difference, correlations, difference, short_title
from ...analysis.verdict import CONFIDENCE, MARGINS, NO_DIFFERENCE, Line, of_claim
from ...networks.table import ARCHITECTURES
from .numbers import CLAIMS
from .sizes import TRAINABILITY
from .tables import NOTHING, hares, optimisers

STRONG = 0.5  # a correlation that is worth a warning
BOTH, CLOSE = f" + {NOTHING}", f"(within {NO_DIFFERENCE:g} points)"
Frames = dict[str, pd.DataFrame]
Row = namedtuple("Row", "key compared line verdict", defaults=("",))  # a line of evidence for the claim of this key
NONE = Difference(0, *[np.nan] * 3)


def row(key: str, compared: str, found: Difference, side: int = 1, margin: float = MARGINS["points"]) -> Row:
    """A line of evidence for a claim that the difference is on this ``side`` of zero; 0: within `NO_DIFFERENCE` of
    it."""
    return Row(key, compared, Line(found, side, margin if side else NO_DIFFERENCE))


def no_worse(key: str, compared: str, found: Difference) -> Row:
    """... for a claim that nothing is lost, or less than `NO_DIFFERENCE`."""
    return Row(key, f"{compared} (above -{NO_DIFFERENCE:g})", Line(found, bound=-NO_DIFFERENCE))


def no_better(key: str, compared: str, found: Difference) -> Row:
    """... for a claim that nothing is gained, or less than `NO_DIFFERENCE`: a loss does not contradict it."""
    return Row(key, f"{compared} (below {NO_DIFFERENCE:g})", Line(found, side=-1, bound=NO_DIFFERENCE))


def warm_start(frames: Frames) -> list[Row]:
    """H&T sections 3, 5.1 and appendix D on study 50."""
    return _warm_starts_cost(frames) + _what_helps(frames) + _hare_and_tortoise(frames)


def _warm_starts_cost(frames: Frames) -> list[Row]:
    cells, warm, fresh = frames["cells"], only(frames["methods"], method="base"), only(frames["fresh"], method="base")
    cost = "hardest warm start minus none"
    whole, part = only(cells, subset=1, noise=0), only(cells, subset=0.1, noise=0)
    noisy = only(cells, subset=1, noise=0.5)
    rows = []
    for key in ("two_sides", "trains_not_generalises"):
        rows.append(no_worse(key, f"training accuracy, {cost}", difference(warm, fresh, "train_accuracy")))
        rows.append(row(key, f"test accuracy, {cost}", difference(warm, fresh), -1))
    few, wrong = "a tenth minus all of the data in phase one, no noise", "half of the labels wrong minus none, all data"
    rows.append(row("less_and_noisier", few, difference(part, whole), -1))
    rows.append(row("less_and_noisier", f"{wrong} in phase one", difference(noisy, whole), -1))
    for setting, runs in optimisers(frames["optimiser"]).groupby("setting"):
        rows.append(row("optimiser", f"{setting} minus no warm start", difference(runs, fresh), -1))
    return rows


def _what_helps(frames: Frames) -> list[Row]:
    methods, rows = frames["methods"], []
    keys = dict.fromkeys(TRAINABILITY, "trainability_methods") | dict.fromkeys(("l2", "augmentation"), "regularisers")
    for name, key in (keys | dict.fromkeys(("shrink_perturb", "head_reset"), "reinitialisation")).items():
        found = difference(only(methods, method=name), only(methods, method="base"))
        rows.append((no_better if name in TRAINABILITY else row)(key, f"{name} minus nothing done", found))
    return rows


def _hare_and_tortoise(frames: Frames) -> list[Row]:
    remedies, ablation = frames["remedies"], frames["ablation"]
    fresh, plain = only(frames["fresh"], method=NOTHING), only(remedies, method=NOTHING)
    hare, reset, ema, distilled = (
        only(remedies, method=name + BOTH) for name in ("hare_tortoise", "shrink_perturb", "ema", "self_distillation")
    )
    easy, hard = _by_ease(hare)
    rows = [
        row("ht_beats_averages", "H&T minus ema", difference(hare, ema)),
        row("ht_beats_averages", "H&T minus self_distillation", difference(hare, distilled)),
        *_each("ht_beats_resets", "H&T minus shrink & perturb", easy, reset),
        *_each("ht_beats_resets", "H&T minus no warm start", easy, fresh),
        row("resets_beat_ht", "shrink & perturb minus H&T, VGG", difference(reset, hard)),
    ]
    for (momentum, every), runs in hares(ablation, among(remedies, ablation)).groupby(["momentum", "epochs"]):
        said = f"H&T (momentum {momentum:g}, every {every:g} epochs) minus nothing more"
        rows.append(row("ht_robust", said, difference(runs, plain)))
    return rows


def _each(key: str, compared: str, one: pd.DataFrame, other: pd.DataFrame) -> list[Row]:
    """A line for each network: of a claim that names the data sets it holds on."""
    return [
        row(key, f"{compared}, {short_title(name)}", difference(runs, other))
        for name, runs in one.groupby("architecture", sort=False)
    ]


def continual(frames: Frames) -> list[Row]:
    """H&T section 5.2 on study 51, with `tables.drops` as "full drops"."""
    falls, limited, end = frames["full drops"], frames["limited"], "limited access, at the end"
    found = difference(only(falls, method="shrink_perturb" + BOTH), only(falls, method="hare_tortoise" + BOTH), "drop")
    reset, nothing = (only(limited, method=name) for name in ("shrink_perturb" + BOTH, NOTHING))
    easy, hard = _by_ease(only(limited, method="hare_tortoise" + BOTH))
    key, minus_reset = "ht_limited_access", f"H&T minus shrink & perturb, {end}"
    return [
        row("ht_no_drops", "drop at new phases, shrink & perturb minus H&T, full access", found),
        *_each(key, minus_reset, easy, reset),
        *_each(key, f"H&T minus nothing more, {end}", easy, nothing),
        row(key, f"{minus_reset}, VGG {CLOSE}", difference(hard, reset), 0),
    ]


def rescaling(frames: Frames) -> list[Row]:
    """SWR's abstract on study 52."""
    rows = []
    for title, frame in frames.items():
        key = "swr_" + title.partition(",")[0].replace(" ", "_")  # single_task, warm_start, continual
        soft = frame[(frame.method == "soft_rescaling") & ~frame.case.str.contains("reinit=true")]
        if title == "warm start":
            found = difference(soft, only(frame, method="base"), "weight_magnitude", 1)
            said = "weight magnitude, soft rescaling minus nothing done, warm start (no unit)"
            rows.append(row("swr_bounds", said, found, -1, margin=0))
        for name in ("base", "l2"):
            found = difference(soft, only(frame, method=name))
            rows.append(row(key, f"soft rescaling minus {name}, {title}", found))
    return rows


def indicators(frames: Frames) -> list[Row]:
    """H&T appendix C on study 50's warm starts. A metric refutes the claim if its correlation lies beyond `STRONG` on
    one side in all of several networks (corrected for the metrics, any of which might); the claim is supported if each
    metric lies short of it on both sides in some network (corrected for the networks, any of which will do)."""
    table = correlations(frames["cells"]).dropna(subset="r")
    if table.empty:
        return []
    networks, names = frames["cells"].network.nunique(), list(table.metric.unique())
    strong = [name for name, rows in _bounds(frames, len(names)) if len(rows) == networks > 1 and _beyond(rows)]
    weak = [name for name, rows in _bounds(frames, networks) if rows.high.min() < STRONG and rows.low.max() > -STRONG]
    metrics = ", ".join(name for name in METRICS if name in strong) or "none"
    said = f"metrics whose correlation lies beyond {STRONG:g} on one side in all {networks} networks: {metrics}"
    says = "contradicted" if strong else "supported" if len(weak) == len(names) else "undecided"
    return [Row("no_indicator", said, Line(replace(NONE, n=int(table.n.max()))), says)]


def _bounds(frames: Frames, tried: int):
    """(metric, its networks' correlations with intervals corrected for so many)."""
    table = correlations(frames["cells"], 1 - (1 - CONFIDENCE) / tried).dropna(subset="r")
    return table.groupby("metric", sort=False)


def _beyond(rows: pd.DataFrame) -> bool:
    return rows.low.min() > STRONG or rows.high.max() < -STRONG


STUDIES = {  # a notebook's number: its lines, and the sections whose claims it is about
    "50": (warm_start, ("3", "5.1", "D")),
    "51": (continual, ("5.2",)),
    "52": (rescaling, ("abstract",)),
    "53": (indicators, ("C",)),
}


def evidence(frames: Frames, study: str) -> dict:
    """Claim -> its `Row`s, for the claims that a study (its notebook's number) is about."""
    gather, sections = STUDIES[study]
    rows = gather(frames)
    return {claim: [row for row in rows if row.key == claim.key] for claim in CLAIMS if claim.section in sections}


def claims(frames: Frames, study: str) -> pd.DataFrame:
    """One row per line of evidence, section, claim and the one verdict once per claim; a claim without evidence is "not
    tested"."""
    table = []
    for claim, rows in evidence(frames, study).items():
        rows = rows or [Row(claim.key, "-", Line(NONE))]
        once = claim.section, claim.says, rows[0].verdict or of_claim([row.line for row in rows])
        for row in rows:
            found, form = row.line.found, "+.3g" if "no unit" in row.compared else "+.2f"
            shown = f"{found.mean:{form}} [{found.low:{form}}, {found.high:{form}}]" if found.low == found.low else "-"
            networks = found.by_network("+.2g" if "no unit" in row.compared else "+.1f")
            table.append((*once[:2], row.compared, shown, networks, str(found.n), once[2]))
            once = "", "", ""
    return pd.DataFrame(table, columns=["Section", "Claim", "Decided by", "Difference", "By Network", "n", "Verdict"])


def _by_ease(runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs of other networks than VGG, and of VGG, where H&T found resets ahead."""
    vgg = runs.architecture.isin([name for name, network in ARCHITECTURES.items() if network.family == "vgg"])
    return runs[~vgg], runs[vgg]
