"""What a notebook makes: tables, figures and findings, shown, saved under the results folder and, at the end, held
against its title."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from IPython import get_ipython
from IPython.core.pylabtools import select_figure_formats
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from ..analysis import figures
from ..analysis.sentences import sentence
from ..analysis.writing import write
from ..cli.surroundings import another_checkout
from ..files import atomic
from ..running import provenance
from ..running.engine import Place

KINDS = ("tables", "figures", "findings", "data")


class Report:
    """Begun in a notebook's setup cell; its summary cell calls `check`. A name is the file's, without its ending."""

    def __init__(self, place: Place):
        self.folder, self.made = Path(place.results), {kind: {} for kind in KINDS}
        if note := another_checkout():
            print(note)
        if shell := get_ipython():
            select_figure_formats(shell, {"png"})  # pictures, whatever MPLBACKEND says

    def table(self, table: pd.DataFrame, name: str, caption: str, show: bool = True) -> None:
        """Save a table as ``tables/<name>`` .csv, .md and .tex, and show it."""
        paths = self.made["tables"][name] = write(table, self.folder / "tables", name, caption)
        if show:
            display(Markdown(filename=paths[1]))

    def figure(self, figure: Figure, name: str) -> None:
        """Save a figure as ``figures/<name>`` .pdf and .png, and show it."""
        self.made["figures"][name] = figures.save(figure, self.folder / "figures", name)
        display(figure)

    def found(self, sentences: Sequence[str], name: str) -> None:
        """Save what was found as ``findings/<name>.md``, one sentence a line, and show it.

        What is named by the notebook's number alone is the chapter's finding, and its first sentence stands on the
        site's front page. Raises ValueError for a finding without a sentence, or with a line break in one.
        """
        lines = [sentence(text) for text in sentences]
        if wrong := [text for text in lines if "\n" in text or text == "."] or not lines:
            raise ValueError(f"finding {name!r} needs sentences of one line each, got {wrong if lines else lines!r}")
        path = self.folder / "findings" / f"{name}.md"
        with atomic(path) as partial:
            partial.write_text("\n".join([*lines, ""]), encoding="utf-8", newline="\n")
        self.made["findings"][name] = [path]
        display(Markdown(f"> **What we found.** {' '.join(lines)}"))

    def data(self, frame: pd.DataFrame, name: str) -> None:
        """Save the numbers behind tables and figures as ``<name>.csv``."""
        path = self.folder / f"{name}.csv"
        with atomic(path) as partial:
            frame.to_csv(partial, index=False)
        self.made["data"][name] = [path]

    def check(self, runs=None, **promised) -> None:
        """Check that what the title promises was made, nothing else, and is there; say how many of ``runs`` (records)
        failed.

        ``promised``: names of ``tables``, ``figures``, ``findings`` and ``data``. Raises AssertionError naming what is
        lacking or not promised.
        """
        for kind, made in self.made.items():
            differs = sorted(set(promised.get(kind, ())) ^ set(made))
            if differs:
                raise AssertionError(f"{kind} promised but not made, or made but not promised: {', '.join(differs)}")
            lacking = [
                str(path) for paths in made.values() for path in paths if not path.is_file() or not path.stat().st_size
            ]
            if lacking:
                raise AssertionError(f"not there, or empty: {', '.join(lacking)}")
        if runs is not None:
            failed = sum(record["status"] == "failed" for record in runs)
            print(f"{len(runs)} runs, {failed} of them failed; {provenance.machine()}")
