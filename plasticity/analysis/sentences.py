"""Results in words: numbers with their interval and n, counts, and what an interval says, for the notebooks' findings.

A finding is a list of sentences, made from records or tables by a function in a study's ``findings.py``. So no sentence
about a result is typed by hand, and a new run says new words.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from .paired import Difference
from .verdict import MARGINS, UNTESTED, VERDICTS

WRITTEN = re.compile(r"([-+]?[\d.]+)(?: \[([-+]?[\d.]+), ([-+]?[\d.]+)\])?(?: \(n = (\d+)\))?")


def signed(value: float, digits: int = 2) -> str:
    """A signed number, "-" for NaN; what rounds to zero has no sign."""
    if value != value:
        return "-"
    return f"{value:+.{digits}f}" if round(value, digits) else f"{0:.{digits}f}"


def measured(found: Difference, unit: str = "points", digits: int = 2) -> str:
    """A difference as it is quoted: "-0.26 points [-0.84, +0.31], n = 45"."""
    if not found.n:
        return "nothing measured"
    bounds = f" [{signed(found.low, digits)}, {signed(found.high, digits)}]"
    if found.low != found.low:
        bounds = ", too few seeds for an interval"
    return f"{signed(found.mean, digits)}{'' if unit.startswith('%') else ' '}{unit}{bounds}, n = {found.n}"


def compared(found: Difference, one: str, other: str = "base", unit: str = "points", digits: int = 2) -> str:
    """What a difference and its interval say of two things, with the numbers: "10 M is behind base (...)".

    Ahead or behind if the interval lies on one side of zero; as good if it lies within the unit's margin on both; else
    they can't be told apart.
    """
    margin = MARGINS.get(unit, 0.0)
    if found.low != found.low:
        says = f"{one} can't be compared with {other}"
    elif found.low > 0 or found.high < 0:
        says = f"{one} is {'ahead of' if found.low > 0 else 'behind'} {other}"
    elif -margin < found.low and found.high < margin:
        says = f"{one} is as good as {other}"
    else:
        says = f"{one} can't be told from {other}"
    return f"{says} ({measured(found, unit, digits)})"


def parsed(text: str, n: int | str = 0) -> Difference:
    """A difference as tables write it, "+1.2 [-0.3, +2.7] (n = 9)", as numbers; ``n`` where the text has none.

    Raises ValueError for another text than that or "-".
    """
    if text == "-":
        return Difference(0, *[np.nan] * 3)
    found = WRITTEN.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no difference as tables write it, such as '+1.2 [-0.3, +2.7] (n = 9)'")
    mean, low, high, pairs = found.groups()
    return Difference(int(pairs or n), *(np.nan if bound is None else float(bound) for bound in (mean, low, high)))


def sides(differences: Mapping[str, Difference]) -> tuple[list[str], list[str]]:
    """The names of those whose interval lies above zero, and of those below."""
    above = [name for name, found in differences.items() if found.low > 0]
    return above, [name for name, found in differences.items() if found.high < 0]


def counted(number: int, noun: str, of: int | None = None) -> str:
    """ "1 run", "2 runs", "0 of 9 cells"; the noun is given in the singular."""
    total = number if of is None else of
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number}{'' if of is None else f' of {of}'} {noun if total == 1 else several}"


def tally(verdicts: Iterable[str], of: str) -> str:
    """How many claims got which verdict: "of the 3 claims 1 is supported and 2 are undecided"; ``of`` with "{}" for
    their number."""
    counts = Counter(verdicts)
    order = [says for says in (*VERDICTS, UNTESTED) if counts[says]]
    parts = [f"{counts[says]} {'is' if counts[says] == 1 else 'are'} {says}" for says in order]
    return f"{of.format(counts.total())} {listed(parts)}"


def claims(verdicts: Mapping[str, str], of: str) -> list[str]:
    """What became of claims, by claim: `tally`, and which are supported and which contradicted."""
    said = [tally(verdicts.values(), of)]
    for verdict in ("supported", "contradicted"):
        names = [claim.rstrip(".") for claim, says in verdicts.items() if says == verdict]
        said += [f"{verdict.capitalize()}: {'; '.join(names)}"] * bool(names)
    return said


def span(values: Iterable[float], digits: int = 2) -> str:
    """From the least to the greatest: "-0.26 to +0.46"; of equal ones that one."""
    ends = [signed(end(values), digits) for values in [list(values)] for end in (min, max)]
    return " to ".join(dict.fromkeys(ends))


def listed(names: Sequence[str], none: str = "none") -> str:
    """ "a", "a and b", "a, b and c"; ``none`` if there is nothing."""
    names = list(names)
    return " and ".join([*filter(None, [", ".join(names[:-1])]), names[-1]]) if names else none


def sentence(text: str) -> str:
    """A text with a capital at its beginning and a full stop at its end."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", ":")) else ".")
