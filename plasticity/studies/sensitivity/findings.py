"""What the effect of 10 M depends on, in sentences, from the study's tables as they are written (notebook 42)."""

import pandas as pd

from ...analysis.sentences import compared, counted, listed, measured, parsed
from ...analysis.verdict import ALPHA


def effects(table: pd.DataFrame) -> list[str]:
    """`tables.effects`: how many altered settings change the effect, after Holm's correction."""
    corrected = next(name for name in table.columns if name.startswith("p (Holm"))
    own, others = table.iloc[0], table.iloc[1:]
    p = pd.to_numeric(others[corrected], errors="coerce")
    changed = [f"{row.factor}: {row.level}" for row in others[p < ALPHA].itertuples()]
    said = [
        f"Of {counted(len(others), 'altered setting')} {len(changed)} change the effect of 10 M, after a correction "
        f"for their number{': ' * bool(changed)}{'; '.join(changed)}",
        f"With the profile's own settings {compared(parsed(own['10M minus base'], own['n']), '10 M')}",
    ]
    uncorrected = pd.to_numeric(others["p"], errors="coerce")
    return said + [f"The smallest p before the correction is {uncorrected.min():.2f}"] * bool(uncorrected.notna().any())


def parts(table: pd.DataFrame) -> list[str]:
    """`tables.gain_parts`: mean against zero, and how far a new head moves a run."""
    rows = {row.compared: row for row in table.itertuples()}
    zero, case, head = (rows[name] for name in ("10M minus 10Z", "10M minus base", "another head minus base"))
    said = [f"Whether the weights get their mean or zero makes {measured(parsed(zero.difference, zero.n))}"]
    if head.spread == "-" or case.spread == "-":
        return said
    return [
        *said,
        f"Another draw of the fresh head moves a run by {float(head.spread):.1f} points (standard deviation over "
        f"pairs), 10 M by {float(case.spread):.1f}",
    ]


def flattery(table: pd.DataFrame) -> list[str]:
    """`tables.flatter`: what the test items give when they may decide."""
    rows = {row.compared: parsed(row.difference, row.n) for row in table.itertuples()}
    return [f"To stop and choose by the test items gives {measured(rows['best weights, both'])}"]


def networks(table: pd.DataFrame) -> list[str]:
    """`tables.by_network`: settings under which 10 M is off zero in some network."""
    names = list(table.columns[2:])
    off = [
        f"{name}, {row['factor']} {row['level']}".strip()
        for _, row in table.iterrows()
        for name in names
        if _off_zero(row[name])
    ]
    total = int((table[names] != "-").to_numpy().sum())
    said = f"The interval of 10 M lies off zero in {counted(len(off), 'pair', total)} of network and setting"
    return [f"{said}{': ' * bool(off)}{listed(off, none='')}"]


def _off_zero(text: str) -> bool:
    found = parsed(text)
    return found.low > 0 or found.high < 0
