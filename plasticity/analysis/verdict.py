"""What the evidence says of a claim: one rule and one vocabulary for every study of this project.

1. A line of evidence is a difference that is positive if the claim is right, with an interval: the line is "supported"
   if the interval lies above zero, "contradicted" if it lies below, "not supported" if it does neither but excludes the
   margin (the least gain that counts), else "undecided" (side -1: mirrored).
2. A claim with a size ("at least half a point", "loses less than two points") has it taken off its difference and no
   margin besides; that something makes no difference (side 0) is supported within the margin and contradicted beyond.
3. A claim that speaks of several things ("all", "both", "best", "consistently", "never") has a line for each, and is
   supported if every line is, at 95% (an intersection-union test, Berger 1982, needs no correction).
4. It is contradicted, and failing that not supported, if one of its k lines is with an interval of 100% - 5% / k
   (Bonferroni); else it is undecided, and "not tested" if no line has an interval.
5. A count of significant cells is supported if luck alone gives so many with a chance below 2.5%, and not supported if
   so few had a chance below 2.5% were the margin's gain in every cell; else it is undecided.

So a claim is called wrongly in at most 5% of experiments without any effect, supports and contradictions together:
`benchmarks/verdict_false_alarms.py` measures it for every claim. `MARGINS` are by unit: half a point of accuracy is the
least gain that Coetzer et al. 2026 report (section 5.1), the others are ours; for "makes no difference" the companion
studies take `NO_DIFFERENCE`.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95  # of every interval
ALPHA = 0.05  # p-values below it are called significant
MARGINS = {"points": 0.5, "% of base's epochs": 5.0, "% of the weights": 1.0}
NO_DIFFERENCE = 2.0  # points
VERDICTS = ("supported", "not supported", "contradicted", "undecided")
UNTESTED = "not tested"


class Line(NamedTuple):
    """A line of evidence: that ``found``, a `paired.Difference`, lies on this side of ``bound``; the margin."""

    found: object
    side: int = 1
    margin: float = 0.0
    bound: float = 0.0

    def says(self, confidence: float = CONFIDENCE) -> str:
        low, high = self.found.within(confidence)
        return verdict(low - self.bound, high - self.bound, self.side, self.margin)


def verdict(low: float, high: float, side: int = 1, margin: float = 0.0) -> str:
    """What the interval from ``low`` to ``high`` says of a line (1 and 2 above). With a margin of zero nothing is "not
    supported"."""
    if low != low:
        return UNTESTED
    if side == 0:
        supported, contradicted, excluded = -margin < low and high < margin, low > margin or high < -margin, False
    else:
        low, high = (low, high) if side > 0 else (-high, -low)
        supported, contradicted, excluded = low > 0, high < 0, high < margin
    if supported:
        return "supported"
    if contradicted:
        return "contradicted"
    return "not supported" if excluded else "undecided"


def of_claim(lines: Sequence[Line]) -> str:
    """What all lines of a claim say together (3 and 4 above); lines without an interval keep it from being supported
    and count for no correction."""
    each = [line.says() for line in lines]
    tested = [line for line, says in zip(lines, each, strict=True) if says != UNTESTED]
    if not tested:
        return UNTESTED
    if set(each) == {"supported"}:
        return "supported"
    corrected = {line.says(1 - (1 - CONFIDENCE) / len(tested)) for line in tested}
    return next((says for says in ("contradicted", "not supported") if says in corrected), "undecided")


def of_count(count: int, by_luck: Sequence[float], by_effect: Sequence[float]) -> str:
    """What ``count`` significant cells say (5 above); each cell's chance to be one without and with the claimed
    effect."""
    luck, effect = (reduce(np.convolve, ([1 - p, p] for p in chances), [1.0]) for chances in (by_luck, by_effect))
    tail = (1 - CONFIDENCE) / 2
    if luck[count:].sum() < tail:
        return "supported"
    return "not supported" if effect[: count + 1].sum() < tail else "undecided"
