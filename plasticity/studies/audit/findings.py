"""What the printed digits allow, in sentences, from the audit's tables as they are written (notebook 40)."""

import pandas as pd

from ...analysis.sentences import counted, listed

ASSUMED = "one n a row, divisor n - 1"  # what a reader takes the tables to mean


def runs(table: pd.DataFrame) -> list[str]:
    """`rows.rows_table`: of how many rows "repeated ten times" can be true, and which number fits most rows."""
    answers = table["10 runs"].value_counts()
    no, possible, yes = (int(answers.get(answer, 0)) for answer in ("no", "possible", "yes"))
    most, rows = next(iter(table["Runs by both"].value_counts().items()))
    return [
        f"That each row is a mean of ten runs is impossible for {no} of the {len(table)} published rows, possible for "
        f"{possible} and certain for {yes}",
        f"The most frequent answer is {most} runs, in {counted(int(rows), 'row')}",
    ]


def sizes(table: pd.DataFrame) -> list[str]:
    """`rows.sizes_table`: the smallest test set that all rows of a data set allow."""
    plain = table[table["Assumed"] == ASSUMED].set_index("Dataset")["Test items"]
    fits = [f"{size.partition(',')[0]} items for {name}" for name, size in plain.items() if size != "none"]
    none = [name for name, size in plain.items() if size == "none"]
    said = [f"The printed digits allow test sets of {listed(fits)}, or multiples"]
    return said + [f"No size from 50 to 4000 fits {listed(none)} as its table stands"] * bool(none)


def stated(table6: pd.DataFrame, sentences: pd.DataFrame) -> list[str]:
    """`contradictions.cells_of_table6` and `.sentences`: what does not agree with tables 3 to 5."""
    wrong = [int((table["Agrees"] == "no").sum()) for table in (table6, sentences)]
    return [
        f"{counted(wrong[0], 'number', len(table6))} of table 6 and {wrong[1]} of {len(sentences)} in the text of "
        "section 4 don't agree with tables 3 to 5"
    ]


def p_values(table: pd.DataFrame) -> list[str]:
    """`p_values.table`: how many p-values such rows can have."""
    answers = table["Is the printed p possible?"].value_counts()
    no, by_table, open_ = (int(answers.get(answer, 0)) for answer in ("no", "only by a table of z", "not excluded"))
    return [
        f"Of {len(table)} printed p-values {no} can't come from a Mann-Whitney test of such rows, {by_table} only by a "
        f"table of z, and {open_} are not excluded"
    ]


def trust(table: pd.DataFrame) -> list[str]:
    """`simulation.claims`: how often ten runs are refuted where five, or ten, were made."""
    refuted = table.set_index(table["Runs"].astype(str))["Refuted by both"].astype(str)
    return [
        f"In simulated tables whose runs are known, ten runs are refuted in {refuted['5']} of rows that have five, and "
        f"in {refuted['10']} of those that have ten"
    ]
