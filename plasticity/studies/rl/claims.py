"""A verdict on each claim of Lee et al. 2024, section 5.3, by the project's common rule (`analysis.verdict`)."""

from collections.abc import Mapping

import pandas as pd

from ...analysis.paired import Difference
from ...analysis.verdict import Line, of_claim
from ...analysis.writing import text_table
from .numbers import CLAIMS
from .runs import PLAIN
from .tables import difference

MARGIN = 0.1  # normalised: the least gain that counts, a tenth of what the agent without resets learns
MINI = {"plain": PLAIN, "ht": "Hare & Tortoise", "hr": "EMA, head reset", "sp": "EMA, S&P"}
MINI |= {"optimiser": "EMA, fresh optimiser"}
PAPER = {"plain": "DrQ", "ht": "DrQ, H&T", "hr": "DrQ, HR 40k", "sp": "DrQ, S&P", "hr20": "DrQ, HR 20k"}
PAPER |= {"both": "DrQ, HR 40k, H&T", "bbf": "BBF", "bbf_ht": "BBF, H&T", "bbf_ssl": "BBF, SSL"}
LINES = {  # claim: what its rows' difference is, and on which side of zero the claim has it (0: within the margin)
    "ht_helps_drq": [("ht", "plain", 1)],
    "head_reset_helps": [("hr", "plain", 1), ("hr", "optimiser", 1)],
    "shrink_perturb_harms": [("sp", "plain", -1)],
    "head_reset_best": [("hr20", other, 1) for other in ("plain", "ht", "hr", "both", "sp")],
    "ht_with_resets": [("both", "hr20", 0)],
    "ht_helps_bbf": [("bbf_ht", "bbf", 1)],
    "ssl_ahead": [("bbf_ssl", "bbf_ht", 1)],
}


def evidence(table: pd.DataFrame, key: str) -> list[tuple[str, Line]]:
    """(what is compared, the line) of a claim, at the lowest replay ratio there is; those whose rows were run."""
    rows, replay = set(table.row), table.replay.min()
    roles: Mapping[str, str] = MINI if PLAIN in rows else PAPER
    lines = []
    for one, other, side in LINES[key]:
        if roles.get(one) in rows and roles.get(other) in rows:
            found = difference(table, roles[one], roles[other], replay)
            lines.append((f"{roles[one]} minus {roles[other]}", Line(found, side, MARGIN)))
    return lines


def verdicts(table: pd.DataFrame) -> dict[str, str]:
    """Claim -> verdict; "not tested" without evidence."""
    return {claim.key: of_claim([line for _, line in evidence(table, claim.key)]) for claim in CLAIMS}


def claims(table: pd.DataFrame) -> pd.DataFrame:
    """One row per line of evidence, section, claim and verdict once per claim."""
    rows, says = [], verdicts(table)
    for claim in CLAIMS:
        once = claim.section, claim.says, says[claim.key]
        for compared, line in evidence(table, claim.key) or [("-", None)]:
            shown, n = ("-", "0") if line is None else (_shown(line.found), str(line.found.n))
            rows.append([*once[:2], compared, shown, n, once[2]])
            once = "", "", ""
    return text_table(rows, ["Section", "Claim", "Decided by", "Difference", "n", "Verdict"])


def _shown(found: Difference) -> str:
    bounds = f" [{found.low:+.2f}, {found.high:+.2f}]" if found.low == found.low else ""
    return f"{found.mean:+.2f}{bounds}"
