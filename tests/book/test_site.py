"""The book: what its pages say, what it refuses, and every page of a small one looked at in a browser."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import browser
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from plasticity import book, execute, pages

ROOT = Path(__file__).resolve().parents[2]
NOTED = {
    "input_path": "notebooks/20_analysis.ipynb",
    "output_path": "results/mini/notebooks/20_analysis.ipynb",
    "parameters": {"profile": "mini", "workers": 1, "reading": ""},
    "duration": 12.09,
    "version": "2.7.0",
    "start_time": "2026-11-21T16:17:07+00:00",
    "end_time": "2026-11-21T16:17:19+00:00",
    "exception": None,
}


def notebook(*cells, **metadata):
    """A notebook of a title and some cells."""
    return new_notebook(cells=[new_markdown_cell("# A title\n\nProse."), *cells], metadata=metadata)


# --- what the pages say -----------------------------------------------------------------------------------------------
def test_notebooks_are_grouped_by_their_number():
    found = pages.grouped(["54_transfer", "00_data", "mine", "41_claims", "30_figures", "60_more", "2026"])
    assert found == {
        "The paper": ["00_data", "30_figures"],
        "Checks and experiments": ["41_claims"],
        "The companion papers": ["54_transfer"],
        "Other notebooks": ["2026", "60_more", "mine"],
    }


def test_a_page_says_the_command_the_time_and_the_files():
    box = pages.provenance("20_analysis", {"papermill": NOTED, "language_info": {"version": "3.11.7"}}, changed=False)
    assert (
        "python -m plasticity.execute notebooks/20_analysis.ipynb results/mini/notebooks/20_analysis.ipynb \\\n"
        "    -p profile mini -p workers 1 -p reading ''\n"
    ) in box
    assert "It took 12 s on 2026-11-21, 16:17 UTC, with Python 3.11.7, papermill 2.7.0." in box
    assert (
        "{download}`20_analysis.ipynb <executed/20_analysis.ipynb>`" in box and "`notebooks/20_analysis.ipynb`" in box
    )
    assert "has changed since" not in box and "has changed since" in pages.provenance("20_analysis", {}, changed=True)


def test_a_notebook_without_papermills_notes_says_so():
    assert "not noted" in pages.provenance("mine", {}, changed=False)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (119, "119 s"), (150, "2 min"), (7199, "120 min"), (9000, "2.5 h")]
)
def test_durations_are_said_as_coarsely_as_they_are_long(seconds, said):
    assert pages.took(seconds) == said


@pytest.mark.parametrize(
    ("stem", "profile", "results", "said"),
    [
        ("20_analysis", "mini", "results/mini", "make results/mini/notebooks/20_analysis.ipynb PROFILE=mini"),
        ("20_analysis", "quick", "mine", "make mine/notebooks/20_analysis.ipynb PROFILE=quick RESULTS=mine"),
        ("13_efficientnet_lite0", "mini", "results/mini", "make imagenet"),
        (
            "13_efficientnet_lite0",
            "imagenet",
            "",
            "make results/imagenet/notebooks/13_efficientnet_lite0.ipynb PROFILE=imagenet",
        ),
        ("11_resnet50", "imagenet_quick", "", "make reproduce"),
        ("52_soft_rescaling", "imagenet", "", "make companions"),
    ],
)
def test_what_is_missing_comes_with_its_command(stem, profile, results, said):
    assert pages.making(stem, profile, results) == said


def test_the_missing_notebooks_commands_are_targets_of_make():
    """Only the profile's own: `make` must know how to make them, from nothing."""
    for name in ("20_analysis", "51_continual"):
        line = pages.making(name, "mini", "results/nowhere").split()
        text = subprocess.run([*line, "-n"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert f"execute notebooks/{name}.ipynb results/nowhere/notebooks/{name}.ipynb" in text


def test_links_lead_to_pages_or_name_files():
    known = {"reference/a.md": "a.md", "notebooks/20.ipynb": "20.ipynb"}
    text = "[x](reference/a.md#b), [tables](reference/tables), [the list](reference/l.md), [web](https://a.org), [here](#there)"
    assert pages.linked(text, known) == (
        "[x](a.md#b), `reference/tables`, the list (`reference/l.md`), [web](https://a.org), [here](#there)"
    )
    assert pages.linked("[next](20.ipynb), [n](../reference/a.md)", known, "notebooks") == "[next](20.ipynb), [n](a.md)"
    assert (
        pages.linked("[cite](CITATION.cff)", known, url="https://a.org/b/")
        == "[cite](https://a.org/b/blob/HEAD/CITATION.cff)"
    )


def test_links_in_code_stay_and_pictures_are_named_from_the_root():
    code = "`[x](y.md)`, ``a ` [x](y.md)``\n\n```\n[x](y.md)\n```\n"
    assert pages.linked(code, {}) == code
    assert pages.linked("![p](../reference/p.png)", {}, "notebooks") == "![p](reference/p.png)"
    assert pages.linked("[`a.py`](a.py)", {}) == "`a.py`"
    assert pages.pictures("![p](reference/p.png) [q](q.png) ![w](https://a.org/w.png) `![c](c.png)`") == [
        "reference/p.png"
    ]


def test_sections_end_at_the_next_heading_and_code_has_none():
    text = "# T\n\nFirst.\n\n## A\n\n```\n## not one\n```\n\nB.\n\n### C\n\nD.\n"
    assert pages.section(text, "") == "# T\n\nFirst." and pages.section(text, "A") == "```\n## not one\n```\n\nB."
    with pytest.raises(ValueError, match="README.md has no heading '## X'; it has: A, ### C"):
        pages.section(text, "X")


def test_readme_has_what_the_first_page_shows():
    text = (ROOT / "README.md").read_text()
    assert pages.section(text, "").startswith("# ") and "|" in pages.section(text, book.RESULTS)
    assert all((ROOT / picture).is_file() for picture in pages.pictures(text))


def test_a_page_is_a_copy_with_its_box_under_the_title():
    cell = new_code_cell("x", id="setup", metadata={"tags": ["mine"]})
    given = notebook(new_markdown_cell("## Section\n\n[a](b.md)"), cell, new_code_cell("y"), papermill=NOTED)
    before = json.dumps(given)
    shown = pages.page(given, "20_analysis", rewrite=lambda text: text.replace("[a](b.md)", "rewritten"))
    assert json.dumps(given) == before
    assert shown.cells[0].source.startswith("# A title\n\n:::{admonition} How") and shown.cells[0].source.endswith(
        "Prose."
    )
    assert "rewritten" in shown.cells[1].source and shown.cells[2].metadata.tags == ["mine", "hide-input"]
    assert shown.cells[3].metadata.mystnb["image"]["alt"] == "Figure of the section: Section"
    assert "tags" not in shown.cells[3].metadata


def test_a_notebook_without_a_title_gets_its_name():
    assert pages.page(new_notebook(cells=[new_code_cell("1")]), "mine").cells[0].source.startswith("# mine\n")


def test_outputs_are_as_a_reader_wants_them():
    outputs = [
        new_output("stream", name="stderr", text=" 10%|#   |\r100%|####|\n"),
        new_output("stream", name="stdout", text="\x1b[31mred\x1b[0m"),
        new_output("display_data", {pages.WIDGET: {"model_id": "1"}, "text/plain": "IntProgress(value=0)"}),
        new_output("display_data", {"text/markdown": "| 1 ± 2 |", "text/plain": "<Markdown>"}),
        new_output("error", ename="E", evalue="no", traceback=["\x1b[31mE\x1b[0m: no"]),
    ]
    shown = pages.page(notebook(new_code_cell("1", outputs=outputs), widgets={"state": {}}), "mine")
    bar, red, widget, table, error = shown.cells[1].outputs
    assert bar.text == "100%|####|\n" and red.text == "red" and error.traceback == ["E: no"]
    assert widget.data == {"text/plain": pages.NO_WIDGET} and "widgets" not in shown.metadata
    assert table.data["text/markdown"] == "| 1\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}2 |"


def test_what_is_not_executed_is_named():
    text = pages.absent({"20_analysis": "make it"}, ["30_figures.partial.ipynb"])
    assert text.startswith("# Not executed yet\n") and "`notebooks/20_analysis.ipynb`\n```bash\nmake it\n```" in text
    assert "* `30_figures.partial.ipynb`" in text and pages.absent({}, []) == ""


def test_this_machines_folders_are_shortened():
    results = Path("/home/a/work/results/mini")
    text = "/home/a/work/results/mini/tables, /home/a/work/data, /home/a/worker, x/home/a/work/y, /tmp/ipykernel_12/34.py:1: Warning"
    assert book.shortened(text, results, "mini") == (
        "results/mini/tables, data, /home/a/worker, x/home/a/work/y, the cell:1: Warning"
    )
    assert book.shortened(f"{ROOT}/notebooks /srv/r/runs", Path("/srv/r"), "mini") == "notebooks results/mini/runs"


# --- what is refused --------------------------------------------------------------------------------------------------
def refused(capsys, *arguments):
    """What the command line says, in one line."""
    code = book.main([str(argument) for argument in arguments])
    said = capsys.readouterr().err
    assert code == 2 and said.count("\n") == 1 and said.startswith("error: "), (code, said)
    return said


def executed(folder, name, made):
    """A results folder with an executed notebook, given as one or as text."""
    path = folder / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made if isinstance(made, str) else nbformat.writes(made))
    return folder


def test_an_unknown_profile_is_refused(tmp_path, capsys):
    assert "unknown profile 'minni'; known: mini" in refused(capsys, "minni", "--results", tmp_path)


def test_without_executed_notebooks_the_command_that_makes_them_is_said(tmp_path, capsys):
    said = refused(capsys, "quick", "--results", executed(tmp_path, "20_analysis.partial", notebook()))
    assert (
        f"no executed notebooks in {tmp_path}/notebooks; `make reproduce PROFILE=quick RESULTS={tmp_path}` makes them"
        in said
    )
    assert not (tmp_path / "site").exists()


def test_a_notebook_that_papermill_left_half_run_is_no_page(tmp_path, capsys):
    for notes in ({"exception": True}, {"end_time": None}):
        half = notebook(papermill=NOTED | notes)
        assert "no executed notebooks" in refused(capsys, "mini", "--results", executed(tmp_path, "20_analysis", half))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"cells": [1], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "\x00"]
)
def test_a_torn_notebook_is_named(tmp_path, capsys, text):
    said = refused(capsys, "mini", "--results", executed(tmp_path, "20_analysis", text))
    assert f"{tmp_path}/notebooks/20_analysis.ipynb is not a readable notebook" in said


def test_another_profiles_notebook_is_refused(tmp_path, capsys):
    said = refused(capsys, "quick", "--results", executed(tmp_path, "20_analysis", notebook(papermill=NOTED)))
    assert "executed with profile 'mini', this is the site of 'quick'" in said


def test_a_folder_that_is_no_site_is_never_replaced(tmp_path, capsys):
    executed(tmp_path, "20_analysis", notebook(papermill=NOTED))
    assert "no earlier site" in refused(capsys, "mini", "--results", tmp_path, "--out", tmp_path)
    assert (tmp_path / "notebooks" / "20_analysis.ipynb").exists()


def test_the_repositorys_address_is_found_where_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "ROOT", tmp_path)
    (tmp_path / "CITATION.cff").write_text("title: x\n")
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert book.repository() == ""
    (tmp_path / "pyproject.toml").write_text(
        "[project.urls]\nHomepage = 'https://h.org'\nRepository = 'https://r.org'\n"
    )
    assert book.repository() == "https://r.org"
    (tmp_path / "CITATION.cff").write_text('repository-code: "https://c.org"\n')
    assert book.repository() == "https://c.org"


def test_make_site_builds_the_profile_it_is_given():
    text = subprocess.run(
        ["make", "-n", "site", "PROFILE=quick"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "-m plasticity.book quick --results results/quick" in text and "execute" not in text


# --- a small book, in a browser ---------------------------------------------------------------------------------------
PARAMETERS = 'profile = "mini"  # which protocol\nresults = "results/mini"  # where the results are'
SETUP = """import sys
from IPython.display import Image, Markdown, display
from ipywidgets import IntProgress
import pandas as pd
from PIL import Image as Picture
from tqdm import tqdm"""
EQUATIONS = r"""## Equations

Inline $a^2$, see [the benchmarks](../reference/benchmarks.md):

$$\bar x = \frac{1}{n}\sum_i x_i$$"""
OUTPUTS = """Picture.new("RGB", (1800, 600), (230, 159, 0)).save(f"{results}/wide.png")
display(Image(f"{results}/wide.png"), IntProgress(value=3))
display(pd.DataFrame({f"a long name {i}": [i / 7, i] for i in range(14)}))
display(Markdown("| case | accuracy |\\n|---|---|\\n| 10 M | 50.0 ± 1.0 |"))
print("\\x1b[31mred\\x1b[0m", "in", results, "x" * 300)
print("a warning", file=sys.stderr)
for _ in tqdm(range(3)):
    pass"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of one notebook that has really run, one that papermill knows nothing of, and one that stopped half-way."""
    results = tmp_path_factory.mktemp("root") / "results" / "mini"
    source = results / "40_small.ipynb"
    cells = [
        new_code_cell(PARAMETERS, id="parameters", metadata={"tags": ["parameters"]}),
        new_code_cell(SETUP, id="setup"),
        new_markdown_cell(EQUATIONS),
        new_code_cell(OUTPUTS, id="run"),
    ]
    results.mkdir(parents=True)
    nbformat.write(
        notebook(*cells, kernelspec={"name": "python3", "display_name": "Python 3", "language": "python"}), source
    )
    execute.execute(source, results / "notebooks" / "40_small.ipynb", {"results": str(results)}, log=False)
    error = new_output("error", ename="ValueError", evalue="no", traceback=["\x1b[31mValueError\x1b[0m: no"])
    executed(results, "54_all_methods_on_transfer", notebook(new_code_cell("raise ValueError('no')", outputs=[error])))
    executed(results, "20_analysis.partial", notebook())
    old = results / "site"
    old.mkdir()
    (old / "searchindex.js").touch()
    (old / "stale.html").touch()
    assert book.main(["mini", "--results", str(results)]) == 0
    return old


@pytest.fixture(scope="module")
def report(site, tmp_path_factory):
    """What the browser found on every page."""
    if not browser.installed():
        pytest.skip("no chromium on this machine: the pages were built, but nobody has looked at them")
    return browser.check(site, tmp_path_factory.mktemp("pictures"), "noise")


def html(site, name):
    return (site / f"{name}.html").read_text()


@pytest.mark.slow
def test_the_site_has_its_pages_and_nothing_stale(site):
    assert {path.stem for path in site.glob("*.html")} == {
        "40_small",
        "54_all_methods_on_transfer",
        "absent",
        "benchmarks",
        "index",
        "learning_rates",
        "names",
        "readme",
        "search",
    }
    assert [path.name for path in site.parent.iterdir() if path.name.startswith(".")] == []
    first = html(site, "index")
    assert first.index("Checks and experiments") < first.index("The companion papers") < first.index("Reference")
    assert "make results/mini/notebooks/30_figures.ipynb PROFILE=mini" in re.sub("<[^>]*>", "", html(site, "absent"))
    assert "20_analysis.partial.ipynb" in html(site, "absent")


@pytest.mark.slow
def test_no_page_names_this_machines_folders_or_asks_another_host(site):
    for path in site.rglob("*"):
        text = path.read_bytes() if path.is_file() and path.suffix in (".html", ".js", ".ipynb", ".css") else b""
        assert str(ROOT).encode() not in text and str(site.parents[2]).encode() not in text, path
        if path.suffix == ".html":
            assert not re.findall(rb"<(?:script|img|link|iframe)[^>]*(?:src|href)=\"(?:https?:)?//[^\"]*", text), path


@pytest.mark.slow
def test_a_notebooks_page_serves_the_notebook_and_hides_the_machinery(site):
    page = html(site, "40_small")
    download = re.search(r'href="(_downloads/[^"]*40_small.ipynb)"', page)[1]
    served = nbformat.read(site / download, as_version=4)
    assert served.metadata.papermill.parameters == {"results": "results/mini"} and served.cells[-1].outputs
    text = re.sub("<[^>]*>", "", page)
    assert "-p results results/mini" in text and "red in results/mini" in text and "100%|" in text
    assert pages.NO_WIDGET in text and "IntProgress(" not in text.partition("live widget")[2] and "\x1b" not in page
    assert page.count("<details") == 3  # parameters, this run's parameters, imports


@pytest.mark.slow
def test_only_pages_with_equations_load_mathjax(site):
    assert [name.stem for name in site.glob("*.html") if "tex-chtml" in name.read_text()] == ["40_small"]


@pytest.mark.slow
def test_the_browser_finds_nothing_wrong(report):
    assert report.problems == [] and len(report.pages) == 9
    print(f"the first page loads in {report.seconds:.2f} s")


@pytest.mark.slow
def test_the_first_page_is_light(report):
    assert 100_000 < report.bytes < 1_000_000


@pytest.mark.slow
def test_the_keyboard_reaches_search_and_chapters_before_the_text(report):
    names = [stop.split(": ", 1)[1] for stop in report.stops["index.html"]]
    search = next(i for i, name in enumerate(names) if "Search" in name)
    assert "Skip to main content" in names[0] and search < names.index("README") < names.index("arXiv 2603.20860")


@pytest.mark.slow
def test_the_browser_sees_what_is_wrong(tmp_path):
    """The checks themselves can fail."""
    if not browser.installed():
        pytest.skip("no chromium on this machine")
    shutil.copytree(ROOT / "docs" / "_static", tmp_path / "_static")
    (
        tmp_path / "index.html"
    ).write_text("""<html lang="en"><title>t</title><main><h1>A</h1><h1>B</h1><img src="none.png" alt="x">
        <span class="math">\\(a\\)</span><div style="width: 900px">wide</div><p style="color: #ccc; background: #fff">pale</p>
        <a href="#x" style="outline: none">first</a><script src="https://example.invalid/x.js"></script></main></html>""")
    said = "\n".join(browser.check(tmp_path, word="none").problems)
    for problem in (
        "2 titles",
        "picture not loaded",
        "not typeset",
        "wider than a phone",
        "color-contrast",
        "asks another host",
        "answer 404",
        "not the skip link",
        "focus is not visible",
        "does not follow",
        "search does not find",
    ):
        assert problem in said, (problem, said)
