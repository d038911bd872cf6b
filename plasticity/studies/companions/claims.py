"""Each claim of the companion papers, the difference of ours that decides it, and what its interval says by `verdict`'s
rule.

Intervals are over pairs (network x seed) and uncorrected: of many lines at zero, one in forty would look like support.
"""

from collections import namedtuple

import numpy as np
import pandas as pd

from ...analysis.frames import METRICS, among, only
from ...analysis.paired import Difference, correlations, difference
from ...analysis.verdict import MARGINS, NO_DIFFERENCE, UNTESTED, verdict
from ...networks.table import ARCHITECTURES
from .numbers import CLAIMS
from .sizes import TRAINABILITY
from .tables import NOTHING, hares, optimisers

STRONG = 0.5  # a correlation that is worth a warning
BOTH, CLOSE = f" + {NOTHING}", f"(within {NO_DIFFERENCE:g} points)"
Frames = dict[str, pd.DataFrame]
Line = namedtuple("Line", "key compared found verdict")  # the claim's key, what is compared, its `Difference`
NO_LINE = Line("", "-", Difference(0, *[np.nan] * 3), UNTESTED)


def line(key: str, compared: str, found: Difference, side: int = 1, margin: float = MARGINS["points"]) -> Line:
    """One line of evidence for a claim that the difference is on this ``side`` of zero; 0: within `NO_DIFFERENCE` of
    it."""
    return Line(key, compared, found, verdict(found.low, found.high, side, margin if side else NO_DIFFERENCE))


def warm_start(frames: Frames) -> list[Line]:
    """H&T sections 3, 5.1 and appendix D on study 50."""
    return _warm_starts_cost(frames) + _what_helps(frames) + _hare_and_tortoise(frames)


def _warm_starts_cost(frames: Frames) -> list[Line]:
    cells, warm, fresh = frames["cells"], only(frames["methods"], method="base"), only(frames["fresh"], method="base")
    trained = difference(warm, fresh, "train_accuracy") + NO_DIFFERENCE  # it trains: by no more than that is it worse
    said, whole = (
        f"training accuracy, hardest warm start minus none, + {NO_DIFFERENCE:g}",
        only(cells, subset=1, noise=0),
    )
    part, noisy = only(cells, subset=0.1, noise=0), only(cells, subset=1, noise=0.5)
    lines = [
        line("two_sides", said, trained),
        line("trains_not_generalises", "test accuracy, hardest warm start minus none", difference(warm, fresh), -1),
        line("less_and_noisier", "a tenth minus all of the data in phase one, no noise", difference(part, whole), -1),
        line(
            "less_and_noisier",
            "half of the labels wrong minus none, all data in phase one",
            difference(noisy, whole),
            -1,
        ),
    ]
    settings = optimisers(frames["optimiser"]).groupby("setting")
    if tried := {name: found for name, runs in settings if (found := difference(runs, fresh)).n}:
        best = max(tried, key=lambda name: tried[name].mean)
        lines.append(line("optimiser", f"the best setting ({best}) minus no warm start", tried[best], -1))
    return lines


def _what_helps(frames: Frames) -> list[Line]:
    methods, lines = frames["methods"], []
    keys = dict.fromkeys(TRAINABILITY, "trainability_methods") | dict.fromkeys(("l2", "augmentation"), "regularisers")
    for name, key in (keys | dict.fromkeys(("shrink_perturb", "head_reset"), "reinitialisation")).items():
        found, no_help = difference(only(methods, method=name), only(methods, method="base")), name in TRAINABILITY
        lines.append(line(key, f"{name} minus nothing done" + f" {CLOSE}" * no_help, found, 0 if no_help else 1))
    return lines


def _hare_and_tortoise(frames: Frames) -> list[Line]:
    remedies, ablation = frames["remedies"], frames["ablation"]
    fresh, plain = only(frames["fresh"], method=NOTHING), only(remedies, method=NOTHING)
    hare, reset, ema, distilled = (
        only(remedies, method=name + BOTH) for name in ("hare_tortoise", "shrink_perturb", "ema", "self_distillation")
    )
    easy, hard = _by_ease(hare)
    lines = [
        line("ht_beats_averages", "H&T minus ema", difference(hare, ema)),
        line("ht_beats_averages", "H&T minus self_distillation", difference(hare, distilled)),
        line("ht_beats_resets", "H&T minus shrink & perturb, ResNet and ViT", difference(easy, reset)),
        line("ht_beats_resets", "H&T minus no warm start, ResNet and ViT", difference(easy, fresh)),
        line("resets_beat_ht", "shrink & perturb minus H&T, VGG", difference(reset, hard)),
    ]
    settings = hares(ablation, among(remedies, ablation)).groupby(["momentum", "epochs"])
    if tried := {setting: found for setting, runs in settings if (found := difference(runs, plain)).n}:
        momentum, every = worst = min(tried, key=lambda setting: tried[setting].mean)
        said = f"the worst H&T (momentum {momentum:g}, every {every:g} epochs) minus nothing more"
        lines.append(line("ht_robust", said, tried[worst]))
    return lines


def continual(frames: Frames) -> list[Line]:
    """H&T section 5.2 on study 51, with `tables.drops` as "full drops"."""
    falls, limited, end = frames["full drops"], frames["limited"], "limited access, at the end"
    found = difference(only(falls, method="shrink_perturb" + BOTH), only(falls, method="hare_tortoise" + BOTH), "drop")
    reset, nothing = (only(limited, method=name) for name in ("shrink_perturb" + BOTH, NOTHING))
    easy, hard = _by_ease(only(limited, method="hare_tortoise" + BOTH))
    key, minus_reset = "ht_limited_access", f"H&T minus shrink & perturb, {end}"
    return [
        line("ht_no_drops", "drop at new phases, shrink & perturb minus H&T, full access", found),
        line(key, f"{minus_reset}, all but VGG", difference(easy, reset)),
        line(key, f"H&T minus nothing more, {end}, all but VGG", difference(easy, nothing)),
        line(key, f"{minus_reset}, VGG {CLOSE}", difference(hard, reset), 0),
    ]


def rescaling(frames: Frames) -> list[Line]:
    """SWR's abstract on study 52."""
    lines = []
    for title, frame in frames.items():
        key = "swr_" + title.partition(",")[0].replace(" ", "_")  # single_task, warm_start, continual
        soft = frame[(frame.method == "soft_rescaling") & ~frame.case.str.contains("reinit=true")]
        if title == "warm start":
            found = difference(soft, only(frame, method="base"), "weight_magnitude", 1)
            said = "weight magnitude, soft rescaling minus nothing done, warm start (no unit)"
            lines.append(line("swr_bounds", said, found, -1, margin=0))
        for name in ("base", "l2"):
            found = difference(soft, only(frame, method=name))
            lines.append(line(key, f"soft rescaling minus {name}, {title}", found))
    return lines


def indicators(frames: Frames) -> list[Line]:
    """H&T appendix C on study 50's warm starts. Contradicted if a metric's intervals lie on one side of zero in all of
    several networks; supported if each metric's lie on both sides, or within `STRONG` of zero somewhere; wide intervals
    decide nothing."""
    table = correlations(frames["cells"])
    defined, networks = table.dropna(subset="r"), table.network.nunique()
    consistent, refuted = [], []
    for name, rows in defined.groupby("metric", sort=False):
        bounds = list(zip(rows.low, rows.high, strict=True))
        signs = {verdict(*each) for each in bounds}  # of the claim that the correlation is positive
        if len(rows) == networks > 1 and signs in ({"supported"}, {"contradicted"}):
            consistent.append(name)
        if signs >= {"supported", "contradicted"} or "supported" in (verdict(*each, 0, STRONG) for each in bounds):
            refuted.append(name)
    if defined.empty:
        return []
    metrics = ", ".join(name for name in METRICS if name in consistent) or "none"
    said = f"metrics whose correlation lies on one side of zero in all {networks} networks: {metrics}"
    says = "contradicted" if consistent else "supported" if len(refuted) == defined.metric.nunique() else "undecided"
    return [Line("no_indicator", said, Difference(int(defined.n.max()), *[np.nan] * 3), says)]


STUDIES = {  # a notebook's number: its lines, and the sections whose claims it is about
    "50": (warm_start, ("3", "5.1", "D")),
    "51": (continual, ("5.2",)),
    "52": (rescaling, ("abstract",)),
    "53": (indicators, ("C",)),
}


def claims(frames: Frames, study: str) -> pd.DataFrame:
    """One row per line of evidence for the claims that a study (its notebook's number) is about; a claim with none is
    "not tested"."""
    evidence, sections = STUDIES[study]
    lines, rows = evidence(frames), []
    for claim in (claim for claim in CLAIMS if claim.section in sections):
        for _, compared, found, says in [each for each in lines if each.key == claim.key] or [NO_LINE]:
            form = "+.3g" if "no unit" in compared else "+.2f"
            shown = f"{found.mean:{form}} [{found.low:{form}}, {found.high:{form}}]" if found.low == found.low else "-"
            rows.append((claim.section, claim.says, compared, shown, str(found.n), says))
    return pd.DataFrame(rows, columns=["Section", "Claim", "Decided by", "Difference", "n", "Verdict"])


def _by_ease(runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs of other networks than VGG, and of VGG, where H&T found resets ahead."""
    vgg = runs.architecture.isin([name for name, network in ARCHITECTURES.items() if network.family == "vgg"])
    return runs[~vgg], runs[vgg]
