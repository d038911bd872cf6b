"""The site's first page: docs/front.md, with each chapter's one-sentence finding."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat

PLACE = re.compile(r"<!-- chapters -->.*<!-- end of the chapters -->", re.S)
OTHER_RUNS = "¹"


@dataclass(frozen=True)
class Chapter:
    """A notebook on the first page: its page, its title, its finding, and whether that is of the committed results."""

    page: str
    title: str
    finding: str
    committed: bool

    def __str__(self) -> str:
        said = f": {self.finding}{OTHER_RUNS * self.committed}" if self.finding else ""
        return f"* [{self.title}]({self.page}.ipynb){said}"


def chapter(stem: str, book: nbformat.NotebookNode, number: int, own: Path | None, reference: Path) -> Chapter:
    """A chapter with the finding of this site's own results, or else the committed one, if there is any."""
    prose = (cell.source for cell in book.cells if cell.cell_type == "markdown")
    title = next(
        (line.removeprefix("# ") for text in prose for line in text.splitlines() if line.startswith("# ")), stem
    )
    mine, theirs = (first_sentence(folder, number) for folder in (own, reference))
    return Chapter(f"notebooks/{stem}", title, mine or theirs, not mine)


def first_sentence(results: Path | None, number: int) -> str:
    """Of the finding that is named by a chapter's number alone; "" where there is none."""
    path = results and results / "findings" / f"{number:02d}.md"
    return path.read_text("utf-8").splitlines()[0] if path and path.is_file() else ""


def page(text: str, groups: Mapping[str, Sequence[Chapter]], profile: str, unfinished: Sequence[str]) -> str:
    """docs/front.md as the site's first page: its links from the root, and the chapters in their place."""
    text = re.sub(r"\]\((?!\.\./|#|[a-z]+:)", "](docs/", text).replace("](../", "](")
    parts = [f"### {caption}\n\n" + "\n".join(map(str, chapters)) for caption, chapters in groups.items()]
    said = f"n counts runs or pairs of runs. A finding is of this site's own runs, of the protocol `{profile}`"
    if any(chapter.committed and chapter.finding for chapters in groups.values() for chapter in chapters):
        said += f"; {OTHER_RUNS} marks one of the committed results, where a chapter has none of its own"
    parts.insert(0, f"{said}.")
    if unfinished:
        names = ", ".join(f"`{name}`" for name in unfinished)
        parts.append(f"Executions that did not run to their end are not shown; the traceback is in the file: {names}.")
    return PLACE.sub(lambda _: "\n\n".join(parts), text)
