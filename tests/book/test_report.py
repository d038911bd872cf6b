"""The notebooks' report: what it shows, what it saves, and what its check finds."""

import subprocess
import sys

import pandas as pd
import pytest
from matplotlib.figure import Figure

from plasticity.book.report import Report
from plasticity.running.engine import Place

TABLE = pd.DataFrame({"Case": ["base"], "n": ["5"]})


@pytest.fixture
def report(tmp_path, monkeypatch):
    report = Report(Place("data", str(tmp_path), device="cpu"))
    report.shown = []
    monkeypatch.setattr("plasticity.book.report.display", report.shown.append)
    report.table(TABLE, "20_best", "The best case.")
    report.table(TABLE, "20_long", "All cases.", show=False)
    report.figure(Figure(), "20_dots")
    report.found(["ten M is behind base", "It takes longer."], "20")
    report.data(TABLE, "runs")
    return report


def test_tables_and_figures_are_shown_and_saved(report, tmp_path):
    assert report.shown[0].data.startswith("The best case.\n\n| Case | n |") and isinstance(report.shown[1], Figure)
    assert (
        report.shown[2].data == "> **What we found.** Ten M is behind base. It takes longer." and len(report.shown) == 3
    )
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    tables = {f"tables/{name}.{ending}" for name in ("20_best", "20_long") for ending in ("csv", "md", "tex")}
    assert files == tables | {"figures/20_dots.pdf", "figures/20_dots.png", "findings/20.md", "runs.csv"}
    assert (tmp_path / "findings/20.md").read_text() == "Ten M is behind base.\nIt takes longer.\n"
    assert (
        (tmp_path / "runs.csv").read_text() == (tmp_path / "tables" / "20_best.csv").read_text() == "Case,n\nbase,5\n"
    )


PROMISED = {"tables": ["20_best", "20_long"], "figures": ["20_dots"], "findings": ["20"], "data": ["runs"]}


def test_a_kept_promise_is_a_line_about_the_runs(report, capsys):
    report.check(runs=[{"status": "done"}, {"status": "failed"}], **PROMISED)
    assert capsys.readouterr().out.startswith("2 runs, 1 of them failed; ")
    report.check(**PROMISED)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("promised", "file", "says"),
    [
        (PROMISED | {"tables": ["20_best", "20_long", "20_more"]}, "", "tables promised but not made.*: 20_more"),
        (PROMISED | {"figures": []}, "", "figures promised but not made, or made but not promised: 20_dots"),
        (PROMISED | {"findings": ["20", "21"]}, "", "findings promised but not made.*: 21"),
        (PROMISED, "findings/20.md", "not there, or empty: .*20.md"),
        (PROMISED, "tables/20_best.tex", "not there, or empty: .*20_best.tex"),
        (PROMISED, "runs.csv", "not there, or empty: .*runs.csv"),
    ],
)
def test_a_broken_promise_is_named(report, tmp_path, promised, file, says):
    if file:
        (tmp_path / file).write_text("")
    with pytest.raises(AssertionError, match=says):
        report.check(**promised)


@pytest.mark.parametrize("sentences", [[], [""], ["one\ntwo"]])
def test_a_finding_without_a_sentence_is_refused(report, sentences):
    with pytest.raises(ValueError, match="finding '21' needs sentences of one line each, got "):
        report.found(sentences, "21")


@pytest.mark.slow
def test_a_broken_promise_is_named_under_python_o_too(tmp_path):
    code = "import sys\nfrom plasticity.book.report import Report\nfrom plasticity.running.engine import Place\n"
    code += "Report(Place('data', sys.argv[1], device='cpu')).check(tables=['20_best'])"
    done = subprocess.run([sys.executable, "-O", "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "tables promised but not made, or made but not promised: 20_best" in done.stderr
