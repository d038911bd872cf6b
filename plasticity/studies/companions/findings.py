"""What the companion studies found, in sentences, from their tables as they are written (notebooks 50 to 55)."""

from collections.abc import Iterable

import pandas as pd

from ...analysis import sentences
from ...analysis.frames import plain
from ...analysis.paired import Difference
from ...analysis.sentences import compared, counted, listed, measured, parsed, sides
from ...analysis.verdict import UNTESTED
from .tables import NOTHING

NO_RUNS = ["There are no runs to judge by"]
CONTROLS = ("scratch",)  # of the ranking on transfer: no method
HARDEST = "accuracy, hardest warm start minus none"


def warm_start(claims: pd.DataFrame) -> list[str]:
    """`claims.claims` of study 50: what the hardest warm start costs, and how H&T's takeaways fare."""
    lines = claims.drop_duplicates("Decided by").set_index("Decided by")
    cost = {line.partition(" ")[0]: row for line, row in lines.iterrows() if HARDEST in line}
    test, train = (parsed(cost[what]["Difference"], cost[what]["n"]) for what in ("test", "training"))
    said = (
        f"After the hardest warm start test accuracy differs from that without one by {measured(test)} "
        f"({cost['test']['By Network']}), training accuracy by {measured(train)}"
    )
    return [*[said] * bool(test.n), *judged(claims, "of the {} claims of Lee et al. about warm starts")]


def judged(claims: pd.DataFrame, of: str) -> list[str]:
    """How many claims of a table got which verdict, and which are decided."""
    once = claims[claims["Verdict"].fillna("") != ""]
    return sentences.claims(dict(zip(once["Claim"], once["Verdict"], strict=True)), of)


def against(table: pd.DataFrame, reference: str = "nothing done", column: str = "all") -> list[str]:
    """`paired.against`, or another table with a method a row: which are ahead of and which behind the reference."""
    if table.empty:
        return NO_RUNS
    found = _methods(table, column)
    above, below = sides(found)
    return [
        f"{_are(above, len(found))} ahead of {reference}, and {_are(below)} behind it",
        *_best(found, 1),
    ]


def continual(full: pd.DataFrame, limited: pd.DataFrame) -> list[str]:
    """`tables.continual` of both accesses: who is ahead of nothing more at the end, and on the way."""
    if full.empty or limited.empty:
        return NO_RUNS
    said = []
    for access, table in (("full", full), ("limited", limited)):
        above, below = sides(_methods(table, "Final, Minus Nothing More"))
        said.append(f"with {access} access {_are(above)} ahead of nothing more at the end, and {_are(below)} behind")
    drops = _methods(full, "Drop, Minus Nothing More")
    if not drops:
        return ["; ".join(said)]
    worst = max(drops, key=lambda name: drops[name].mean)
    fall = measured(drops[worst], digits=1)
    return ["; ".join(said), f"At new phases {worst} falls furthest, further than nothing more by {fall}"]


def rescaling(table: pd.DataFrame) -> list[str]:
    """`tables.by_scenario`: soft rescaling against base in each scenario."""
    if table.empty:
        return NO_RUNS
    rows = table[table["Method"] == "soft_rescaling"]
    found = {row["Scenario"]: parsed(row["All"]) for _, row in rows.iterrows()}
    above, below = sides(found)
    return [
        f"Soft rescaling is ahead of doing nothing in {counted(len(above), 'scenario', len(found))}"
        f"{' (' * bool(above)}{listed(above, none='')}{')' * bool(above)}, and behind in {len(below)}",
        "; ".join(f"{name}: {measured(each, digits=1)}" for name, each in found.items()),
    ]


def metrics(claims: pd.DataFrame) -> list[str]:
    """`claims.claims` of study 53: the metrics that go with accuracy in all networks."""
    if claims.empty:
        return NO_RUNS
    row = claims.iloc[0]
    if row["Verdict"] == UNTESTED:
        return ["No correlation can be computed from so few runs"]
    what, _, names = row["Decided by"].rpartition(": ")
    return [
        f"{what[:1].upper()}{what[1:]}: {names} (n = {row['n']} warm starts)",
        f"That no metric foretells test accuracy everywhere is {row['Verdict']}",
    ]


def transfer(ranking: pd.DataFrame) -> list[str]:
    """`paired.ranking` as written: methods ahead of base on the main paper's transfer, and 10 M."""
    if ranking.empty:
        return NO_RUNS
    rows = ranking[~ranking["Method"].isin(CONTROLS)]
    texts = (rows["Difference"] + " " + rows["95% Interval"]).str.removesuffix(" -")
    found = _methods(rows.assign(difference=texts), "difference", rows["n"])
    above, below = sides(found)
    ten = [compared(found["10M"], "10 M")] if "10M" in found else []
    return [
        f"{_are(above, len(found))} ahead of base on transfer, and {_are(below)} behind it",
        *_best(found, 2),
        *ten,
    ]


def together(table: pd.DataFrame) -> list[str]:
    """`tables.together`: combinations against their parts."""
    if table.empty:
        return NO_RUNS
    found = {f"{row['Combination']} of {row['Minus']}": parsed(row["Difference"]) for _, row in table.iterrows()}
    above, below = sides(found)
    return [f"Ahead of one of their parts: {listed(above)}; behind: {listed(below)}"]


def lengths(table: pd.DataFrame) -> list[str]:
    """`lengths.by_length`: methods whose difference changes its sign between the shortest and the longest phase."""
    if table.empty:
        return NO_RUNS
    columns = [name for name in table.columns if name.endswith(", Minus Nothing More")]
    ends, turned, pairs = table["Epochs"].astype(int).agg(["min", "max"]), [], 0
    for network, rows in table.groupby("Network", sort=False):
        rows = rows.set_index(rows["Epochs"].astype(int)).loc[list(ends)]
        for column in columns:
            first, last = (parsed(text).mean for text in rows[column])
            pairs += first == first and last == last
            if first * last < 0:
                name = column.partition(",")[0].replace("Fresh", "no warm start")
                turned.append(f"{name} in {network} ({first:+.1f} to {last:+.1f})")
    return [
        f"From {ends.iloc[0]} to {ends.iloc[1]} epochs a phase the difference from nothing more changes its sign in "
        f"{counted(len(turned), 'case', pairs)} of method and network",
        *[f"These are {listed(turned)}"] * bool(turned),
    ]


def names(methods: pd.Series) -> list[str]:
    """Methods without numbers, and without what all of them have."""
    plain_ones = [plain(method) for method in methods]
    both = f" + {NOTHING}"
    shared = all(name.endswith(both) or name == NOTHING for name in plain_ones)
    return [name.removesuffix(both) for name in plain_ones] if shared else plain_ones


def _methods(table: pd.DataFrame, column: str, n: Iterable | None = None) -> dict[str, Difference]:
    """The differences of a table with a method a row; those that are none are left out."""
    counts = [0] * len(table) if n is None else n
    rows = zip(names(table.iloc[:, 0]), table[column], counts, strict=True)
    return {name: parsed(text, count) for name, text, count in rows if text != "-"}


def _best(found: dict[str, Difference], digits: int) -> list[str]:
    best = max(found, key=lambda name: found[name].mean, default=None)
    return [f"The best, {best}, comes to {measured(found[best], digits=digits)}"] if found else []


def _are(names: list[str], of: int | None = None) -> str:
    total = f" of {of} methods and combinations" if of is not None else ""
    if not names:
        return f"none{total} is"
    said = f"{len(names)}{total} ({listed(names)})" if total else listed(names)
    return f"{said} {'is' if len(names) == 1 else 'are'}"
