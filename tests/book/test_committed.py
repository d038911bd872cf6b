"""Committed results under the cells that make them: names read from source, by hand and for every notebook."""

import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from plasticity.book import committed

ROOT = Path(__file__).resolve().parents[2]
PATHS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
REFERENCES = [ROOT / "reference", ROOT / "reference" / "imagenet"]
HIDDEN = {"table/41_published", "table/41_power", "table/53_correlations"}  # saved, not shown


def names(source, **known):
    return list(committed.shown(source, known))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('report.table(frame, "20_effects", "A caption.")', ["table/20_effects"]),
        ('report.table(frame, "20_effects", "A caption.", show=False)', []),
        ('report.figure(f"{draw}", f"{number}_accuracy")', ["figure/10_accuracy"]),
        ('for i in "ab":\n    report.figure(draw(i), f"52_{i}_x")', [r"figure/52_\w+_x"]),
        ('report.found(findings.all(frame), number)\nreport.table(t, "a.b", "")', ["found/10", r"table/a\.b"]),
        ("report.table(t, tables.results_name(name), caption)", ["table/(?:table4)"]),
        ('report.data(frame, "runs")\nother.table(t, "x")\nreport.check(tables=["y"])', []),
    ],
)
def test_the_names_in_a_cell_are_read_from_its_source(source, found):
    assert names(source, number="10", network="resnet") == found


def test_tables_of_results_depend_on_the_network():
    source = "report.table(t, tables.results_name(name), caption)"
    assert names(source) == ["table/(?:table3|table4|table5)"]
    assert names(source, network="efficientnet") == [r"table/table_\w+"]


def test_literals_are_single_names_and_pairs():
    assert committed.literals(['number, network = "10", "vit"\nn = 3', 'title = "x"\na = f(1)', "a, b = pair"]) == {
        "number": "10",
        "network": "vit",
        "title": "x",
    }


def test_outputs_are_filled_in_the_order_of_the_calls(tmp_path):
    for name, text in (("tables/20_a.md", "| a |"), ("findings/20.md", "One.\nTwo.\n"), ("checks/20_b_1.md", "| b |")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "20_c.png").write_bytes(b"png")
    source = (
        'report.found(x, "20")\nreport.table(x, "20_a", "")\nreport.table(x, f"20_{i}", "")\nreport.figure(x, "20_c")'
    )
    book = new_notebook(cells=[new_markdown_cell("# T"), new_code_cell(source), new_code_cell("plan()")])
    shown = committed.filled(book, committed.results(tmp_path))
    texts = [output.data.get("text/markdown") for output in shown.cells[1].outputs]
    assert texts == ["> **What we found.** One. Two.", "| a |", "| b |", None]  # what is named exactly is no pattern's
    assert shown.cells[1].outputs[3].data == {"image/png": "cG5n"}
    assert shown.cells[2].outputs == [] and book.cells[1].outputs == []


def test_a_chapter_takes_the_first_folder_that_has_any_of_it(tmp_path):
    for folder, name in (("a", "tables/10_x.md"), ("b", "tables/13_x.md"), ("b", "tables/10_y.md")):
        (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).touch()
    folders = [tmp_path / "a", tmp_path / "b"]
    assert [committed.choose(number, folders)[1].name for number in (10, 13)] == ["a", "b"]
    assert committed.choose(99, folders) == ({}, folders[0])


@pytest.mark.parametrize("name", PATHS)
def test_every_committed_result_of_a_notebook_has_its_cell(name):
    number = int(name[:2])
    there, _ = committed.choose(number, REFERENCES)
    mine = {key for key in there if re.match(rf"\w+/{number:02d}(_|$)", key)} - HIDDEN
    cells = committed.filled(nbformat.read(PATHS[name], as_version=4), there).cells
    count = sum(len(cell.outputs) for cell in cells if cell.cell_type == "code")
    calls = [
        pattern
        for cell in cells
        if cell.cell_type == "code"
        for pattern in committed.shown(cell.source, literals(cells))
    ]
    assert [key for key in mine if not any(re.fullmatch(pattern, key) for pattern in calls)] == []
    assert count >= len(mine)


def literals(cells):
    return committed.literals(cell.source for cell in cells if cell.cell_type == "code")
