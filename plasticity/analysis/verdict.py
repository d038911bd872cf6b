"""What an interval says about a claim."""


def verdict(mean: float, low: float, high: float, margin: float = 0.0, around_zero: bool = False) -> str:
    """What an interval says of a claim that the difference is positive, or (``around_zero``) within ``margin`` of zero."""
    if not low == low:
        return "not tested"
    if around_zero:
        inside, outside = -margin < low and high < margin, low > margin or high < -margin
        return "supported" if inside else "contradicted" if outside else "undecided"
    if low > 0 or high < 0:
        return "supported" if low > 0 else "contradicted"
    return "not supported" if high < margin else "undecided"
