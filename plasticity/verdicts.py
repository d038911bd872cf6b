"""Each claim of the companion papers, the difference of ours that decides it, and what its interval says.

A claim is "supported" if the whole 95% interval lies on its side, "contradicted" if on the other, else "undecided". Intervals are over
pairs (network x seed) and uncorrected: of many lines at zero, one in forty would look like support.
"""

import pandas as pd

from .companion_papers import CLAIMS
from .companion_tables import hares, optimisers
from .comparisons import METRICS, Difference, among, correlations, difference, only
from .models import ARCHITECTURES

MARGIN = 2.0  # points: what counts as no difference
TRAINABILITY = ("spectral_decoupling", "l2_init", "redo", "crelu", "layer_norm", "continual_backprop")
BOTH = " + l2 + augmentation"
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
    both, fresh_both = only(remedies, method=BOTH[3:]), only(frames["fresh"], method=BOTH[3:])
    lines = [
        line("two_sides", "training accuracy, hardest warm start minus none (within 2 points)", difference(warm, fresh, "train_accuracy"), 0),
        line("trains_not_generalises", "test accuracy, hardest warm start minus none", difference(warm, fresh), -1),
        line("less_and_noisier", "a tenth minus all of the data in phase one, no noise",
             difference(only(cells, subset=0.1, noise=0), only(cells, subset=1, noise=0)), -1),
        line("less_and_noisier", "half of the labels wrong minus none, all data in phase one",
             difference(only(cells, subset=1, noise=0.5), only(cells, subset=1, noise=0)), -1),
    ]  # fmt: skip
    tried = {name: difference(part, fresh) for name, part in optimisers(frames["optimiser"]).groupby("setting")}
    if tried:
        best = max(tried, key=lambda name: tried[name].mean)
        lines.append(line("optimiser", f"the best setting ({best}) minus no warm start", tried[best], -1))
    for name in TRAINABILITY:
        lines.append(line("trainability_methods", f"{name} minus nothing done (within 2 points)", difference(only(methods, method=name), warm), 0))
    for key, names in (("regularisers", ("l2", "augmentation")), ("reinitialisation", ("shrink_perturb", "head_reset"))):
        lines += [line(key, f"{name} minus nothing done", difference(only(methods, method=name), warm), 1) for name in names]
    hare, reset = (only(remedies, method=name + BOTH) for name in ("hare_tortoise", "shrink_perturb"))
    for name in ("ema", "self_distillation"):
        lines.append(line("ht_beats_averages", f"H&T minus {name}", difference(hare, only(remedies, method=name + BOTH)), 1))
    easy, hard = (hare[[(ARCHITECTURES[name].family == "vgg") is wanted for name in hare.architecture]] for wanted in (False, True))
    lines += [line("ht_beats_resets", "H&T minus shrink & perturb, ResNet and ViT", difference(easy, reset), 1),
              line("ht_beats_resets", "H&T minus no warm start, ResNet and ViT", difference(easy, fresh_both), 1),
              line("resets_beat_ht", "shrink & perturb minus H&T, VGG", difference(among(reset, hard), hard), 1)]  # fmt: skip
    settings = [(values, difference(part, both)) for values, part in hares(frames["ablation"], remedies).groupby(["momentum", "every"])
                if set(part.architecture) <= set(frames["ablation"].architecture) or len(part)]  # fmt: skip
    if settings:
        (momentum, every), found = min(settings, key=lambda item: item[1].mean)
        lines.append(line("ht_robust", f"the worst H&T (momentum {momentum:g}, every {every:g} epochs) minus nothing more", found, 1))
    return lines


def continual(frames: dict[str, pd.DataFrame]) -> list[Line]:
    """H&T section 5.2 on study 51."""
    lines, rows = [], {access: frames[f"{access} drops"] for access in ("full", "limited")}
    falls = rows["full"]
    lines.append(line("ht_no_drops", "drop at new phases, shrink & perturb minus H&T, full access",
                      difference(only(falls, method="shrink_perturb" + BOTH), only(falls, method="hare_tortoise" + BOTH), "drop"), 1))  # fmt: skip
    limited = frames["limited"]
    hare = only(limited, method="hare_tortoise" + BOTH)
    for name, compared in (("shrink_perturb" + BOTH, "shrink & perturb"), (BOTH[3:], "nothing more")):
        lines.append(line("ht_limited_access", f"H&T minus {compared}, limited access, at the end", difference(hare, only(limited, method=name)), 1))
    return lines


def rescaling(frames: dict[str, pd.DataFrame]) -> list[Line]:
    """SWR's abstract on study 52."""
    lines, keys = [], {"single task": "swr_single_task", "single task, decaying": "swr_single_task", "warm start": "swr_warm_start",
                       "continual, full": "swr_continual", "continual, limited": "swr_continual"}  # fmt: skip
    for title, frame in frames.items():
        soft = frame[(frame.method == "soft_rescaling") & ~frame.case.str.contains("reinit=true")]
        if title == "warm start":
            lines.append(line("swr_bounds", "weight magnitude, soft rescaling minus nothing done, warm start (no unit)",
                              difference(soft, only(frame, method="base"), "weight_magnitude", 1), -1))  # fmt: skip
        for name in ("base", "l2"):
            lines.append(line(keys[title], f"soft rescaling minus {name}, {title}", difference(soft, only(frame, method=name)), 1))
    return lines


def indicators(frames: dict[str, pd.DataFrame]) -> list[Line]:
    """H&T appendix C on study 50's warm starts: supported if no metric's correlation has one sign, off zero, in every network."""
    table = correlations(frames["cells"])
    consistent = [name for name in METRICS if len(rows := only(table, metric=name)) and rows.r.notna().all() and
                  ((rows.low > 0).all() or (rows.high < 0).all())]  # fmt: skip
    tested = int(table.r.notna().sum())
    said = f"metrics whose correlation with accuracy has one sign in all {table.network.nunique()} networks: {', '.join(consistent) or 'none'}"
    result = "not tested" if not tested else "contradicted" if consistent else "supported"
    return [("no_indicator", said, Difference(int(table.n.max()), float("nan"), float("nan"), float("nan")), result)]


STUDIES = {"50": warm_start, "51": continual, "52": rescaling, "53": indicators}


def claims(frames: dict[str, pd.DataFrame], study: str) -> pd.DataFrame:
    """A row a line of evidence for the claims that a study (its notebook's number) is about; a claim with none is "not tested"."""
    known, rows = {claim.key: claim for claim in CLAIMS}, []
    for key, compared, found, says in STUDIES[study](frames):
        claim = known[key]
        shown = f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]" if found.low == found.low else "-"
        rows.append({"Section": claim.section, "Claim": claim.says, "Decided by": compared, "Difference": shown, "n": str(found.n), "Verdict": says})
    return pd.DataFrame(rows)
