"""The site: what its pages say, what it refuses, and every page of a small one looked at in a browser."""

import re
import shutil
import subprocess
from pathlib import Path

import browser
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from plasticity.book import execute, pages, site

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
    assert site.grouped(["54_transfer", "00_data", "mine", "41_claims", "30_figures", "60_more", "2026"]) == {
        "The paper": ["00_data", "30_figures"],
        "Checks and experiments": ["41_claims"],
        "The companion papers": ["54_transfer"],
        "Other notebooks": ["2026", "60_more", "mine"],
    }


def test_a_page_says_the_command_the_time_and_the_files():
    box = pages.provenance("20_analysis", {"papermill": NOTED, "language_info": {"version": "3.11.7"}}, changed=False)
    assert "execute notebooks/20_analysis.ipynb results/mini/notebooks/20_analysis.ipynb \\\n" in box
    assert "    -p profile mini -p workers 1 -p reading ''\n" in box
    assert "It took 12 s on 2026-11-21, 16:17 UTC, with Python 3.11.7, papermill 2.7.0." in box
    assert "{download}`20_analysis.ipynb <../executed/20_analysis.ipynb>`" in box
    assert "`notebooks/20_analysis.ipynb`" in box and "has changed since" not in box
    assert "has changed since" in pages.provenance("20_analysis", {}, changed=True)
    assert "not noted" in pages.provenance("mine", {}, changed=False)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (119, "119 s"), (150, "2 min"), (7199, "120 min"), (9000, "2.5 h")]
)
def test_durations_are_said_as_coarsely_as_they_are_long(seconds, said):
    assert pages.duration(seconds) == said


@pytest.mark.parametrize(
    ("stem", "profile", "results", "said"),
    [
        ("20_analysis", "mini", "results/mini", "make reproduce PROFILE=mini"),
        ("20_analysis", "quick", "mine", "make reproduce PROFILE=quick RESULTS=mine"),
        ("41_claims", "mini", "results/mini", "make checks PROFILE=mini"),
        ("51_continual", "quick", "results/quick", "make companions PROFILE=quick"),
        ("13_efficientnet_lite0", "mini", "results/mini", "make imagenet"),
        ("13_efficientnet_lite0", "imagenet", "results/imagenet", "make reproduce PROFILE=imagenet"),
        ("11_resnet50", "imagenet_quick", "mine", "make reproduce"),
        ("42_sensitivity", "imagenet", "mine", "make checks"),
        ("52_soft_rescaling", "imagenet", "mine", "make companions"),
        ("55_lengths", "mini", "results/mini", "make lengths"),
    ],
)
def test_what_is_missing_comes_with_its_command(stem, profile, results, said):
    assert site.missing_command(stem, profile, results) == said


@pytest.mark.parametrize("stem", ["20_analysis", "42_sensitivity", "51_continual"])
def test_the_missing_notebooks_commands_make_them(stem):
    """`make` must know how to make them, from nothing."""
    line = site.missing_command(stem, "mini", "results/nowhere").split()
    text = subprocess.run([*line, "-n"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"notebooks/{stem}.ipynb results/nowhere/notebooks/{stem}.ipynb" in text


def test_a_page_is_a_copy_with_its_box_under_the_title():
    cell = new_code_cell("x", id="setup", metadata={"tags": ["mine"]})
    given = notebook(new_markdown_cell("## Section"), cell, new_code_cell("y"), papermill=NOTED)
    before = nbformat.writes(given)
    shown = pages.page(given, "20_analysis", ":::{admonition} A box\n:::")
    assert nbformat.writes(given) == before
    assert shown.cells[0].source == "# A title\n\n:::{admonition} A box\n:::\n\nProse."
    assert shown.cells[2].metadata.tags == ["mine", "hide-input"] and "tags" not in shown.cells[3].metadata
    assert shown.cells[3].metadata.mystnb["image"]["alt"] == "Figure of the section: Section"


def test_a_long_log_is_folded_and_what_stands_beside_it_stays_in_sight():
    """Eight lines are no long log; two streams in a row are one."""
    table = new_output("display_data", {"text/markdown": "| n |"})
    streams = [
        new_output("stream", name=name, text="1 < 2\n" * lines) for name, lines in (("stdout", 4), ("stderr", 5))
    ]
    short = new_output("stream", name="stdout", text="run\n" * 8)
    shown = pages.page(notebook(new_code_cell("z", outputs=[*streams, table, short])), "mine", "")
    log, *rest = shown.cells[1].outputs
    assert log.data["text/html"].startswith('<details class="log"><summary>Log of 9 lines</summary>')
    assert log.data["text/html"].count("1 &lt; 2") == 9 and rest == [table, short]
    assert "hide-output" not in shown.cells[1].metadata.get("tags", [])


def test_a_notebook_without_a_title_gets_its_name():
    assert pages.page(new_notebook(cells=[new_code_cell("1")]), "mine", "").cells[0].source.startswith("# mine\n")


def test_outputs_are_without_colours_and_live_widgets():
    outputs = [
        new_output("stream", name="stdout", text="\x1b[31mred\x1b[0m"),
        new_output("display_data", {pages.WIDGET: {"model_id": "1"}, "text/plain": "IntProgress(value=0)"}),
        new_output("error", ename="E", evalue="no", traceback=["\x1b[1;31mE\x1b[0m: no"]),
    ]
    source = r'print("\u001b[31m")'
    shown = pages.page(notebook(new_code_cell(source, outputs=outputs), widgets={"state": {}}), "mine", "")
    red, widget, error = shown.cells[1].outputs
    assert red.text == "red" and error.traceback == ["E: no"] and shown.cells[1].source == source
    assert widget.data == {"text/plain": pages.NO_WIDGET} and "widgets" not in shown.metadata


def test_a_page_of_committed_results_says_so_and_how_to_make_ones_own():
    box = pages.instead("41_claims", "reference", "make checks PROFILE=mini", partial=True)
    assert box.startswith(":::{admonition} Not executed here\n") and "```bash\nmake checks PROFILE=mini\n```" in box
    assert "committed ones (`reference`)" in box and "the traceback is in `41_claims.partial.ipynb`" in box
    box = pages.instead("99_new", "", "make new", partial=False)
    assert "committed" not in box and "traceback" not in box


def test_a_profiles_own_committed_results_come_first():
    assert [folder.name for folder in site.references("imagenet_128")] == ["imagenet", "reference"]
    assert [folder.name for folder in site.references("quick")] == ["reference", "imagenet"]


def test_this_machines_folders_are_shortened():
    results = Path("/home/a/work/results/mini")
    text = (
        "/home/a/work/results/mini/tables, /home/a/work/data, /home/a/worker, x/home/a/work/y, /tmp/ipykernel_1/2.py: W"
    )
    short = "results/mini/tables, data, /home/a/worker, x/home/a/work/y, the cell: W"
    assert site.shortened(text, results, "mini") == short
    assert site.shortened(f"{ROOT}/notebooks /srv/r/runs", Path("/srv/r"), "mini") == "notebooks results/mini/runs"


# --- what is refused --------------------------------------------------------------------------------------------------
def executed(folder, name, made):
    """A results folder with an executed notebook, given as one or as text."""
    path = folder / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made if isinstance(made, str) else nbformat.writes(made))
    return folder


@pytest.mark.parametrize(
    ("profile", "name", "made", "error", "said"),
    [
        ("minni", "20_analysis", notebook(), ValueError, "unknown profile 'minni'"),
        ("quick", "20_a", notebook(papermill=NOTED), ValueError, "with profile 'mini', this is the site of 'quick'"),
        *[
            ("mini", "20_a", torn, ValueError, "{}/notebooks/20_a.ipynb is not a readable notebook")
            for torn in (
                "",
                "{",
                "[]",
                "{}",
                "\x00",
                '{"cells": [1], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
            )
        ],
    ],
)
@pytest.mark.slow  # wants the extra site
def test_what_is_no_executed_notebook_of_the_profile_is_refused(tmp_path, profile, name, made, error, said):
    with pytest.raises(error, match=re.escape(said.format(tmp_path))):
        site.build(profile, executed(tmp_path, name, made))
    assert not (tmp_path / "site").exists()


def test_only_what_ran_to_its_end_is_executed(tmp_path):
    for name, noted in (("20_a", {}), ("20_b", {"exception": True}), ("20_c", {"end_time": None})):
        executed(tmp_path, name, notebook(papermill=NOTED | noted))
    executed(tmp_path, "20_d.partial", notebook(papermill=NOTED))
    books, unfinished = site.executed(tmp_path / "notebooks", "mini")
    assert list(books) == ["20_a"] and unfinished == ["20_b.ipynb", "20_c.ipynb", "20_d.partial.ipynb"]
    assert site.executed(tmp_path / "nowhere", "mini") == ({}, [])


@pytest.mark.slow  # wants the extra site
def test_without_a_checkout_there_is_no_site(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match="start again in a checkout"):
        site.build("mini", executed(tmp_path, "20_analysis", notebook(papermill=NOTED)))


@pytest.mark.slow  # wants the extra site
def test_a_folder_that_is_no_site_is_never_replaced(tmp_path):
    executed(tmp_path, "20_analysis", notebook(papermill=NOTED))
    with pytest.raises(FileExistsError, match="no earlier site"):
        site.build("mini", tmp_path, out=tmp_path)
    assert (tmp_path / "notebooks" / "20_analysis.ipynb").exists()


@pytest.mark.slow
def test_a_link_that_leads_nowhere_is_refused(tmp_path):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "index.md").write_text("# T\n\n[a licence](LICENSE), [nothing](plasticity/nothing.py)\n")
    with pytest.raises(RuntimeError, match="plasticity/nothing.py") as refused:
        site.sphinx(tmp_path, "T")
    assert "LICENSE" not in str(refused.value)


def test_make_site_builds_the_profile_it_is_given():
    line = ["make", "-n", "site", "PROFILE=quick"]
    text = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "site quick --results results/quick" in text and "execute" not in text


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
def built(tmp_path_factory):
    """The site of one notebook that has run and found something, one that papermill knows nothing of, and one that
    stopped half-way."""
    results = tmp_path_factory.mktemp("root") / "results" / "mini"
    source = results / "40_small.ipynb"
    cells = [
        new_code_cell(PARAMETERS, id="parameters", metadata={"tags": ["parameters"]}),
        new_code_cell(SETUP, id="setup"),
        new_markdown_cell(EQUATIONS),
        new_code_cell(OUTPUTS, id="run"),
    ]
    results.mkdir(parents=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook(*cells, kernelspec=kernel), source)
    execute.execute(source, results / "notebooks" / "40_small.ipynb", {"results": str(results)}, log=False)
    error = new_output("error", ename="ValueError", evalue="no", traceback=["\x1b[31mValueError\x1b[0m: no"])
    executed(results, "54_all_methods_on_transfer", notebook(new_code_cell("raise ValueError('no')", outputs=[error])))
    executed(results, "20_analysis.partial", notebook())
    (results / "findings").mkdir()
    (results / "findings" / "40.md").write_text("Ours is small.\nIt is.\n")
    old = results / "site"
    old.mkdir()
    (old / "searchindex.js").touch()
    (old / "stale.html").touch()
    assert site.build("mini", results) == old / "index.html"
    return old


@pytest.fixture(scope="module")
def report(built):
    """What the browser found on every page."""
    if not browser.installed():
        pytest.skip("no chromium on this machine: the pages were built, but nobody has looked at them")
    return browser.check(built, word="noise")


def html(folder, name):
    return (folder / f"{name}.html").read_text()


def words(folder, name):
    return re.sub("<[^>]*>", "", html(folder, name))


@pytest.mark.slow
def test_the_site_has_its_pages_and_nothing_stale(built):
    pages = {path.relative_to(built).with_suffix("").as_posix() for path in built.rglob("*.html")}
    texts = {f"{folder}/{path.stem}" for folder in ("docs", "reference") for path in (ROOT / folder).glob("*.md")}
    notebooks = {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb")} | {"notebooks/40_small"}
    assert pages == (texts - {"docs/front"}) | notebooks | {"index", "README", "CONTRIBUTING", "search"}
    assert [path.name for path in built.parent.iterdir() if path.name.startswith(".")] == []
    first = html(built, "index")
    order = [first.index(f">{caption}<") for caption in (*site.NOTEBOOKS, *site.CHAPTERS)]
    assert order == sorted(order)


@pytest.mark.slow
def test_the_first_page_has_every_chapters_finding(built):
    text = " ".join(words(built, "index").split())
    assert "A title: Ours is small. " in text and "A finding is of this site’s own runs, of the protocol mini;" in text
    theirs = (ROOT / "reference/findings/20.md").read_text().splitlines()[0]
    assert f"Tables 1 to 6, and the paper beside ours: {theirs}¹".replace("'", "’") in text
    assert "the traceback is in the file: 20_analysis.partial.ipynb." in text


@pytest.mark.slow
def test_a_page_that_was_not_executed_shows_the_committed_results(built):
    page, text = html(built, "notebooks/10_simplenet"), " ".join(words(built, "notebooks/10_simplenet").split())
    assert "Not executed here" in text and "make reproduce PROFILE=mini" in text and "What we found." in text
    accuracy = (ROOT / "reference/tables/table3.csv").read_text().splitlines()[1].split(",")[2]
    assert accuracy.replace(" ", "\N{NO-BREAK SPACE}") in page
    assert page.count('alt="Figure of the section: Every single run"') == 1


@pytest.mark.slow
def test_links_lead_to_pages_and_tables_are_included(built):
    first = html(built, "README")
    assert 'href="docs/results.html#limits"' in first and 'href="notebooks/54_all_methods_on_transfer.html"' in first
    assert "LICENSE" in first and 'href="LICENSE"' not in first
    table = (ROOT / "reference/tables/20_effects.csv").read_text().splitlines()[1].split(",")
    assert " ".join(table) in " ".join(words(built, "docs/results").split())
    assert "50.0\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}1.0" in html(built, "notebooks/40_small")
    assert 'class="sig-name' in html(built, "docs/names") and "exclude=" in words(built, "docs/your-own")


@pytest.mark.slow
def test_no_page_names_this_machines_folders_or_asks_another_host(built):
    for path in built.rglob("*"):
        text = path.read_bytes() if path.is_file() and path.suffix in (".html", ".js", ".ipynb", ".css") else b""
        assert str(ROOT).encode() not in text and str(built.parents[2]).encode() not in text, path
        if path.suffix == ".html":
            assert not re.findall(rb"<(?:script|img|link|iframe)[^>]*(?:src|href)=\"(?:https?:)?//[^\"]*", text), path


@pytest.mark.slow
def test_a_notebooks_page_serves_the_notebook_and_hides_the_machinery(built):
    page, text = html(built, "notebooks/40_small"), words(built, "notebooks/40_small")
    download = re.search(r'href="\.\./(_downloads/[^"]*40_small.ipynb)"', page)[1]
    served = nbformat.read(built / download, as_version=4)
    assert served.metadata.papermill.parameters == {"results": "results/mini"} and served.cells[-1].outputs
    assert "-p results results/mini" in text and "red in results/mini" in text and "100%|" in text
    assert pages.NO_WIDGET in text and "IntProgress(" not in text.partition("live widget")[2] and "\x1b" not in page
    assert page.count("<details") == 3  # parameters, this run's parameters, imports


@pytest.mark.slow
def test_only_pages_with_equations_load_mathjax(built):
    with_equations = {path.stem for path in built.rglob("*.html") if "tex-chtml" in path.read_text()}
    assert with_equations == {"05_the_method", "40_small"}


@pytest.mark.slow
def test_the_browser_finds_nothing_wrong(report):
    assert report.problems == [] and "docs/results.html" in report.pages
    assert 100_000 < report.bytes < 1_000_000
    print(f"the first page loads in {report.seconds:.2f} s")


@pytest.mark.slow
def test_the_keyboard_reaches_search_and_chapters_before_the_text(report):
    names = [stop.split(": ", 1)[1] for stop in report.stops["index.html"]]
    search = next(i for i, name in enumerate(names) if "Search" in name)
    assert "Skip to main content" in names[0] and search < names.index("Results") < names.index("arXiv 2603.20860")


@pytest.mark.slow
def test_the_browser_sees_what_is_wrong(tmp_path):
    """The checks themselves can fail."""
    if not browser.installed():
        pytest.skip("no chromium on this machine")
    shutil.copytree(ROOT / "docs" / "_static", tmp_path / "_static")
    (tmp_path / "index.html").write_text(f"""<html lang="en"><title>t</title><main><h1>A</h1><h1>B</h1>
        <img src="none.png" alt="x"><span class="math">\\(a\\)</span><div style="width: 900px">wide</div>
        <div class="cell_input" style="width: 300px"><pre style="overflow: auto">{"wide " * 99}</pre></div>
        <p style="color: #ccc; background: #fff">pale</p><a href="#x" style="outline: none">first</a>
        <script src="https://example.invalid/x.js"></script></main></html>""")
    said = "\n".join(browser.check(tmp_path, word="none").problems)
    problems = (
        "2 titles, picture not loaded, not typeset, wider than a phone, color-contrast, asks another host, answer 404, "
    )
    problems += "code scrolls sideways, not the skip link, focus is not visible, does not follow, search does not find"
    assert [problem for problem in problems.split(", ") if problem not in said] == []
