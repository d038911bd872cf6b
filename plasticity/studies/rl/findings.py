"""What the games say, in sentences: the findings of notebook 56, functions of `tables.frame`."""

import pandas as pd

from ...analysis.sentences import compared, listed, tally
from .claims import MINI, PAPER, verdicts
from .numbers import published
from .runs import PLAIN
from .tables import difference, learned

UNIT = "of the scale from random play to 1"


def answer(table: pd.DataFrame) -> list[str]:
    """Does Hare & Tortoise help, and the head reset? Then what the verdicts are."""
    roles, replay = (MINI if PLAIN in set(table.row) else PAPER), table.replay.min()
    said = []
    for role in ("ht", "hr", "sp"):
        if roles[role] in set(table.row):
            found = difference(table, roles[role], roles["plain"], replay)
            said.append(compared(found, roles[role], roles["plain"], UNIT))
    return said + [tally(verdicts(table).values(), "of the {} claims")]


def regime(table: pd.DataFrame) -> list[str]:
    """Whether the agents learn at all: where they do not, nothing below says anything."""
    found = learned(table)
    failed = found[found.Learns == "no"].Game.tolist()
    if not failed:
        return [f"The base agent learns clearly in {listed(list(map(str, found.Game)))}: better than random play, 95%"]
    return [f"**The base agent does not learn clearly in {listed(failed)}: what is said below says nothing of them**"]


def five_seeds() -> list[str]:
    """What Table 1's gains are beside chance, from the published noise."""
    table = published("noise")
    five = table[table.seeds == 5].set_index("algorithm")
    gain, reset = (five.loc["DrQ(eps)", name] for name in ("p_0.044", "p_0.089"))
    return [
        f"Table 1's gain of H&T over DrQ has p = {gain:.3f} if DrQ's seeds differ as those of DrQ(eps) do: undecided; "
        f"that of a head reset every 20,000 updates p = {reset:.3f}",
        f"With the noise of the first DrQ the gain of H&T has p = {five.loc['DrQ', 'p_0.044']:.3f}; which of them it "
        "is, the paper leaves open",
    ]
