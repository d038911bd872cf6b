"""A table as CSV, Markdown and LaTeX, and numbers and names as texts.

A table is a DataFrame of strings to display. ``attrs["bold"]`` lists its bold cells as (row, column); with
``attrs["grouped"]`` the first column is printed once per group.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from ..data import TITLES
from ..files import atomic
from ..networks.table import ARCHITECTURES
from ..profiles import CONTROL_CASES

SHOWN = TITLES | {name: network.title for name, network in ARCHITECTURES.items()}
SHOWN |= {"base": "Base", "": "-"} | {case: f"{case.title()} (control)" for case in CONTROL_CASES}
MARKDOWN = str.maketrans({"|": r"\|", "*": r"\*", "<": "&lt;", "\n": " "})
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "\n": " "}
LATEX = str.maketrans(LATEX | {"<": "$<$", ">": "$>$"} | {sign: "\\" + sign for sign in "&%$#_{}"})


def write(table: pd.DataFrame, folder: str | Path, name: str, caption: str) -> list[Path]:
    """Write ``folder/name`` as .csv, .md (GitHub's) and .tex (booktabs), each whole or not at all; return the paths."""
    csv = table.to_csv(index=False, lineterminator="\n")
    texts = {"csv": csv, "md": _markdown(table, caption), "tex": _latex(table, name, caption)}
    paths = [Path(folder) / f"{name}.{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        with atomic(path) as partial:
            partial.write_text(text, encoding="utf-8", newline="\n")
    return paths


def shown(table: pd.DataFrame, **digits: int) -> pd.DataFrame:
    """A table of strings to write: column names and networks in words, numbers with ``digits`` decimals by column, "-"
    for NaN."""
    texts = {}
    for name, column in table.items():
        form = f".{digits[name]}f" if name in digits else "g"
        texts[name] = [_text(value, form) for value in (column.astype(float) if name in digits else column)]
    words = [str(name).replace("_", " ") for name in texts]
    heads = [word if re.match(r"(n|p|bh)\b|\d", word) else word[0].upper() + word[1:] for word in words]
    return text_table(zip(*texts.values(), strict=True), heads)


def _text(value, form):
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return in_words(value) if isinstance(value, str) else format_number(value, form)


def format_number(value, form, after=""):
    """A number as text, "-" for NaN."""
    return format(value, form) + after if value == value else "-"


def in_words(name):
    """How tables write a case, network or data set: "10M" is "10 M"."""
    return SHOWN.get(name) or re.sub(r"^(\d+)(?=[A-Z])", r"\1 ", name)


def text_table(rows, columns, bold=(), grouped=False):
    """A table of texts; ``bold``: its bold cells as (row, column); ``grouped``: blank a repeated first column."""
    table = pd.DataFrame([[str(value) for value in row] for row in rows], columns=columns, dtype=str)
    table.attrs |= {"bold": list(bold), "grouped": grouped}
    return table


def _lines(table, escapes, bold):
    """The cells as escaped text, bold ones within ``bold``; in a group, the first column is blank where it repeats."""
    lines = []
    for number, row in enumerate(table.itertuples(index=False)):
        texts = [str(value).translate(escapes) for value in row]
        repeats = table.attrs.get("grouped") and number and row[0] == table.iloc[number - 1, 0]
        for i, column in enumerate(table.columns):
            texts[i] = bold % texts[i] if (number, column) in table.attrs.get("bold", ()) else texts[i]
        lines.append(["", *texts[1:]] if repeats else texts)
    return lines


def _markdown(table, caption):
    lines = [[name.translate(MARKDOWN) for name in table.columns], ["---"] * table.shape[1]]
    lines = [f"| {' | '.join(line)} |" for line in (*lines, *_lines(table, MARKDOWN, "**%s**"))]
    return "\n".join([caption.translate(MARKDOWN), "", *lines, ""])


def _latex(table, name, caption):
    head, *lines = [[column.translate(LATEX) for column in table.columns], *_lines(table, LATEX, r"\textbf{%s}")]
    rules = ["\\midrule\n" if i and table.attrs.get("grouped") and line[0] else "" for i, line in enumerate(lines)]
    body = [rule + " & ".join(line) + r" \\" for rule, line in zip(rules, lines, strict=True)]
    start = [r"\begin{table}", r"\centering", rf"\caption{{{caption.translate(LATEX)}}}", rf"\label{{tab:{name}}}"]
    start += [rf"\begin{{tabular}}{{{'l' * len(head)}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    return "\n".join([*start, *body, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])
