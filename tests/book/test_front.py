"""The first page: links from the root, a finding for each chapter, and whose it is."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from plasticity.book import front

ROOT = Path(__file__).resolve().parents[2]
TEXT = """# Q

[a](words.md), [b](../reference/x.md#y), ![c](../reference/c.png), [d](https://e.org), [e](#the-answer)

<!-- chapters -->
Gone.
<!-- end of the chapters -->

End."""
OWN, THEIRS = (front.Chapter(f"notebooks/{i}_x", f"{i} · X", f"Found {i}.", i == 2) for i in (1, 2))
SILENT = front.Chapter("notebooks/3_x", "3 · X", "", True)


def test_links_lead_from_the_root_and_chapters_stand_in_their_place():
    shown = front.page(TEXT, {"One": [OWN], "Two": [THEIRS, SILENT]}, "quick", [])
    assert (
        "[a](docs/words.md), [b](reference/x.md#y), ![c](reference/c.png), [d](https://e.org), [e](#the-answer)"
        in shown
    )
    assert "### One\n\n* [1 · X](notebooks/1_x.ipynb): Found 1.\n" in shown and "Gone." not in shown
    assert "* [2 · X](notebooks/2_x.ipynb): Found 2.¹\n* [3 · X](notebooks/3_x.ipynb)\n" in shown
    assert "of this site's own runs, of the protocol `quick`; ¹ marks" in shown and shown.endswith("\n\nEnd.")


def test_the_mark_is_explained_only_where_it_is_used():
    shown = front.page(TEXT, {"One": [OWN, SILENT]}, "mini", ["20_a.partial.ipynb"])
    assert "¹" not in shown and "the traceback is in the file: `20_a.partial.ipynb`." in shown


@pytest.fixture
def folders(tmp_path):
    for folder in ("own", "reference"):
        (tmp_path / folder / "findings").mkdir(parents=True)
        (tmp_path / folder / "findings" / "07.md").write_text(f"Of {folder}.\nMore.\n")
    return tmp_path / "own", tmp_path / "reference"


def test_a_chapters_own_finding_comes_before_the_committed_one(folders):
    own, reference = folders
    book = new_notebook(cells=[new_markdown_cell("# 07 · Title\n\nProse.\n\n## Section")])
    mine = front.chapter("07_title", book, 7, own, reference)
    assert mine == front.Chapter("notebooks/07_title", "07 · Title", "Of own.", False)
    assert front.chapter("07_title", book, 7, None, reference).finding == "Of reference."
    assert front.chapter("08_title", new_notebook(), 8, own, reference) == front.Chapter(
        "notebooks/08_title", "08_title", "", True
    )


def test_docs_front_has_the_place_of_the_chapters_and_no_other_comment():
    text = (ROOT / "docs" / "front.md").read_text("utf-8")
    assert len(front.PLACE.findall(text)) == 1 and text.count("<!--") == 2


@pytest.mark.parametrize("word", ["fine-tuned", "plasticity", "base", "interval", "points", "controls", "profile"])
def test_words_that_the_first_page_uses_are_explained(word):
    explained = (ROOT / "docs" / "words.md").read_text("utf-8").lower()
    front_page = (ROOT / "docs" / "front.md").read_text("utf-8").lower()
    stem = {"fine-tuned": "fine-tuning", "controls": "control"}.get(word, word)
    assert word in front_page and (f"**{stem}" in explained or f"*{stem}*" in explained)


def test_every_word_is_explained_once():
    text = (ROOT / "docs" / "words.md").read_text("utf-8")
    words = [word for line in text.splitlines() if line.startswith("* ") for word in line.split("**")[1:2]]
    assert len(words) > 50 and len(words) == len(set(words))


def test_titles_of_all_notebooks_are_found():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        title = front.chapter(path.stem, nbformat.read(path, as_version=4), 0, None, ROOT).title
        assert title.startswith(f"{path.stem[:2]} · "), path
