"""What a 95% interval says of a claim: one rule and one vocabulary for every study of this project.

A claim says that a difference is positive (side 1), that it is negative (-1), or that it lies within a margin of zero
(0).

| verdict       | positive (negative: mirrored)        | within the margin of zero       |
| ------------- | ------------------------------------ | ------------------------------- |
| supported     | low > 0                              | -margin < low and high < margin |
| contradicted  | high < 0                             | low > margin or high < -margin  |
| not supported | high < margin: it is less, if any    | -                               |
| undecided     | anything else                        | anything else                   |

Without an interval a claim is "not tested". `MARGINS` are by unit: half a point of accuracy is the least gain that
Coetzer et al. 2026 report (section 5.1), the others are ours. For "makes no difference" the companion studies take
`NO_DIFFERENCE`.
"""

CONFIDENCE = 0.95  # of every interval
ALPHA = 0.05  # p-values below it are called significant
MARGINS = {"points": 0.5, "% of base's epochs": 5.0, "% of the weights": 1.0}
NO_DIFFERENCE = 2.0  # points
VERDICTS = ("supported", "not supported", "contradicted", "undecided")
UNTESTED = "not tested"


def verdict(low: float, high: float, side: int = 1, margin: float = 0.0) -> str:
    """What the interval from ``low`` to ``high`` says of a claim (see above). With a margin of zero nothing is "not
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
