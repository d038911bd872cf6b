"""Each claim of the companion papers, the difference of ours that decides it, and what its interval says.

A claim is "supported" if the whole 95% interval lies on its side, "contradicted" if on the other, else "undecided". Intervals are over
pairs (network x seed) and uncorrected: of many lines at zero, one in forty would look like support.
"""

import numpy as np
import pandas as pd

from ...analysis.frames import METRICS, among, only
from ...analysis.paired import Difference, correlations, difference
from ...networks.table import ARCHITECTURES
from .numbers import CLAIMS
from .runs import TRAINABILITY
from .tables import NOTHING, hares, optimisers

MARGIN = 2.0  # points: what counts as no difference
STRONG = 0.5  # a correlation that is worth a warning
BOTH = f" + {NOTHING}"
Line = tuple[str, str, Difference, str]  # claim's key, what is compared, the difference, the verdict


def verdict(found: Difference, side: int) -> str:
    """What an interval says of the claim that the difference is positive (side 1), negative (-1) or within `MARGIN` of zero (0)."""
    if found.n < 2 or not found.low == found.low:
        return "not tested"
    if side == 0:
        within, beyond = -MARGIN < found.low and found.high < MARGIN, found.low > MARGIN or found.high < -MARGIN
    else:
        within, beyond = (found.low > 0, found.high < 0)[::side]
    return "supported" if within else "contradicted" if beyond else "undecided"


def line(key: str, compared: str, found: Difference, side: int) -> Line:
    """One line of evidence."""
    return key, compared, found, verdict(found, side)


def warm_start(frames: dict[str, pd.DataFrame]) -> list[Line]:
    """H&T sections 3, 5.1 and appendix D on study 50."""
    cells, methods, remedies = frames["cells"], frames["methods"], frames["remedies"]
    warm, fresh = only(methods, method="base"), only(frames["fresh"], method="base")
    both, fresh_both = only(remedies, method=NOTHING), only(frames["fresh"], method=NOTHING)
    whole, close = only(cells, subset=1, noise=0), f"(within {MARGIN:g} points)"
    lines = [
        line(
            "two_sides",
            f"training accuracy, hardest warm start minus none, + {MARGIN:g}",
            difference(warm, fresh, "train_accuracy") + MARGIN,
            1,
        ),  # it trains: by no more than that is it worse
        line("trains_not_generalises", "test accuracy, hardest warm start minus none", difference(warm, fresh), -1),
        line(
            "less_and_noisier",
            "a tenth minus all of the data in phase one, no noise",
            difference(only(cells, subset=0.1, noise=0), whole),
            -1,
        ),
        line(
            "less_and_noisier",
            "half of the labels wrong minus none, all data in phase one",
            difference(only(cells, subset=1, noise=0.5), whole),
            -1,
        ),
    ]
    tried = {name: difference(part, fresh) for name, part in optimisers(frames["optimiser"]).groupby("setting")}
    if tried := {name: found for name, found in tried.items() if found.n}:
        best = max(tried, key=lambda name: tried[name].mean)
        lines.append(line("optimiser", f"the best setting ({best}) minus no warm start", tried[best], -1))
    for name in TRAINABILITY:
        found = difference(only(methods, method=name), warm)
        lines.append(line("trainability_methods", f"{name} minus nothing done {close}", found, 0))
    for key, names in (
        ("regularisers", ("l2", "augmentation")),
        ("reinitialisation", ("shrink_perturb", "head_reset")),
    ):
        lines += [
            line(key, f"{name} minus nothing done", difference(only(methods, method=name), warm), 1) for name in names
        ]
    hare, reset = (only(remedies, method=name + BOTH) for name in ("hare_tortoise", "shrink_perturb"))
    for name in ("ema", "self_distillation"):
        lines.append(
            line("ht_beats_averages", f"H&T minus {name}", difference(hare, only(remedies, method=name + BOTH)), 1)
        )
    easy, hard = _by_ease(hare)
    lines += [
        line("ht_beats_resets", "H&T minus shrink & perturb, ResNet and ViT", difference(easy, reset), 1),
        line("ht_beats_resets", "H&T minus no warm start, ResNet and ViT", difference(easy, fresh_both), 1),
        line("resets_beat_ht", "shrink & perturb minus H&T, VGG", difference(reset, hard), 1),
    ]
    ablation = frames["ablation"]
    settings = [
        (values, found)
        for values, part in hares(ablation, among(remedies, ablation)).groupby(["momentum", "every"])
        if (found := difference(part, both)).n
    ]
    if settings:
        (momentum, every), found = min(settings, key=lambda item: item[1].mean)
        said = f"the worst H&T (momentum {momentum:g}, every {every:g} epochs) minus nothing more"
        lines.append(line("ht_robust", said, found, 1))
    return lines


def continual(frames: dict[str, pd.DataFrame]) -> list[Line]:
    """H&T section 5.2 on study 51, with `companion_tables.drops` as "full drops"."""
    falls, limited = frames["full drops"], frames["limited"]
    found = difference(only(falls, method="shrink_perturb" + BOTH), only(falls, method="hare_tortoise" + BOTH), "drop")
    reset, nothing = (only(limited, method=name) for name in ("shrink_perturb" + BOTH, NOTHING))
    easy, hard = _by_ease(only(limited, method="hare_tortoise" + BOTH))
    end = "limited access, at the end"
    return [
        line("ht_no_drops", "drop at new phases, shrink & perturb minus H&T, full access", found, 1),
        line("ht_limited_access", f"H&T minus shrink & perturb, {end}, all but VGG", difference(easy, reset), 1),
        line("ht_limited_access", f"H&T minus nothing more, {end}, all but VGG", difference(easy, nothing), 1),
        line(
            "ht_limited_access",
            f"H&T minus shrink & perturb, {end}, VGG (within {MARGIN:g} points)",
            difference(hard, reset),
            0,
        ),
    ]


def rescaling(frames: dict[str, pd.DataFrame]) -> list[Line]:
    """SWR's abstract on study 52."""
    lines, keys = (
        [],
        {
            "single task": "swr_single_task",
            "single task, decaying": "swr_single_task",
            "warm start": "swr_warm_start",
            "continual, full": "swr_continual",
            "continual, limited": "swr_continual",
        },
    )
    for title, frame in frames.items():
        soft = frame[(frame.method == "soft_rescaling") & ~frame.case.str.contains("reinit=true")]
        if title == "warm start":
            found = difference(soft, only(frame, method="base"), "weight_magnitude", 1)
            lines.append(
                line(
                    "swr_bounds", "weight magnitude, soft rescaling minus nothing done, warm start (no unit)", found, -1
                )
            )
        for name in ("base", "l2"):
            lines.append(
                line(
                    keys[title], f"soft rescaling minus {name}, {title}", difference(soft, only(frame, method=name)), 1
                )
            )
    return lines


def indicators(frames: dict[str, pd.DataFrame]) -> list[Line]:
    """H&T appendix C on study 50's warm starts. Contradicted if a metric's intervals lie on one side of zero in all of several
    networks; supported if each metric's lie on both sides, or within `STRONG` of zero somewhere; wide intervals decide nothing."""
    table = correlations(frames["cells"])
    defined, networks = table.dropna(subset="r"), table.network.nunique()
    parts = {name: only(defined, metric=name) for name in METRICS if (defined.metric == name).any()}
    consistent = [
        name
        for name, rows in parts.items()
        if len(rows) == networks > 1 and (rows.low.gt(0).all() or rows.high.lt(0).all())
    ]
    refuted = [
        name
        for name, rows in parts.items()
        if (rows.low.gt(0).any() and rows.high.lt(0).any()) or (rows.low.gt(-STRONG) & rows.high.lt(STRONG)).any()
    ]
    said = f"metrics whose correlation lies on one side of zero in all {networks} networks: {', '.join(consistent) or 'none'}"
    result = "contradicted" if consistent else "supported" if len(refuted) == len(parts) else "undecided"
    return [("no_indicator", said, Difference(int(defined.n.max()), *[np.nan] * 3), result)] if parts else []


STUDIES = {  # a notebook's number: its lines, and the sections whose claims it is about
    "50": (warm_start, ("3", "5.1", "D")),
    "51": (continual, ("5.2",)),
    "52": (rescaling, ("abstract",)),
    "53": (indicators, ("C",)),
}


def claims(frames: dict[str, pd.DataFrame], study: str) -> pd.DataFrame:
    """A row a line of evidence for the claims that a study (its notebook's number) is about; a claim with none is "not tested"."""
    evidence, sections = STUDIES[study]
    lines, rows = evidence(frames), []
    for claim in (claim for claim in CLAIMS if claim.section in sections):
        for _, compared, found, says in [each for each in lines if each[0] == claim.key] or [
            ("", "-", None, "not tested")
        ]:
            form = "+.3g" if "no unit" in compared else "+.2f"
            shown = (
                f"{found.mean:{form}} [{found.low:{form}}, {found.high:{form}}]"
                if found and found.low == found.low
                else "-"
            )
            rows.append(
                {
                    "Section": claim.section,
                    "Claim": claim.says,
                    "Decided by": compared,
                    "Difference": shown,
                    "n": str(found.n if found else 0),
                    "Verdict": says,
                }
            )
    return pd.DataFrame(rows)


def _by_ease(runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs of other networks than VGG, and of VGG, where H&T found resets ahead."""
    vgg = pd.Series([ARCHITECTURES[name].family == "vgg" for name in runs.architecture], runs.index, bool)
    return runs[~vgg], runs[vgg]
