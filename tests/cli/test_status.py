"""What `plasticity status` says of a folder, and that it neither needs PyTorch nor believes a torn record."""

import json
import math
import os
import signal
import subprocess
import sys

import pytest

from plasticity import Run, get_profile, grid
from plasticity.cli import status
from plasticity.running import identity, records
from plasticity.running.checkpoints import Checkpoint

QUICK = grid(get_profile("quick"))
BODY = {"status": "done", "metrics": {"accuracy": 0.5}, "history": [], "resets": [], "seconds": 4.0, "inputs": {}}


def total(rows, name):
    return sum(row[name] for row in rows)


@pytest.fixture
def results(tmp_path):
    """A results folder of profile quick in which each state occurs, in the first four runs and the last one."""
    folder = tmp_path / "quick"
    done, failed, damaged, lost, running = *QUICK[:4], QUICK[-1]
    records.save(done, BODY, folder / "runs")
    records.save(failed, records.failure("nan", 2.0), folder / "runs")
    path = records.save(damaged, BODY, folder / "runs")
    path.write_bytes(path.read_bytes()[:-40])
    with Checkpoint(folder / "running" / str(lost)) as checkpoint:
        checkpoint.save(7, {})
        checkpoint.save(8, {})
    with Checkpoint(folder / "running" / str(running)) as checkpoint:
        checkpoint.save(3, {})
        yield folder


def test_every_state_is_counted_where_it_belongs(results):
    rows, about = status.table(results, "quick")
    counts = {state: total(rows, state) for state in status.STATES}
    assert counts == {"done": 1, "failed": 1, "damaged": 1, "lost": 1, "running": 1, "missing": 31}
    groups = {(row["architecture"], row["dataset"]): row for row in rows}
    assert groups.keys() == {(run.architecture, run.dataset) for run in QUICK} and len(groups) == 9
    assert {row["runs"] for row in rows} == {4}
    assert groups[QUICK[0].architecture, QUICK[0].dataset]["done"] == 1
    assert about["running"] == {str(QUICK[-1]): 3} and about["seconds"] == 3.0


def test_the_time_left_counts_what_is_left_over_what_runs(results):
    rows, about = status.table(results, "quick")
    assert total(rows, "work") == pytest.approx((31 + 1 + 1) * 3 + 1.5, abs=15)  # groups have their own means
    assert about["left"] == total(rows, "work")
    assert math.isnan(status.table(results, "mini")[1]["left"])


def test_it_names_what_to_do(results):
    said = status.text(results, "quick")
    assert "1 running" in said and f"{QUICK[-1]}, 3 epochs done" in said
    assert "plasticity run quick --retry-failed" in said
    assert "nothing is recorded" in status.text(results.parent / "empty", "quick")
    assert not (results.parent / "empty").exists()


def test_records_of_other_source_are_stale_still_done_and_explained(results, monkeypatch):
    made_by = identity.source()
    monkeypatch.setattr(status, "source", lambda: "0ther000")
    rows, about = status.table(results, "quick")
    assert total(rows, "stale") == 2 and total(rows, "done") == 1 and about["sources"] == {made_by: 2}
    assert f"2 records are stale: made by other source ({made_by}) than that of now (0ther000)" in status.text(
        results, "quick"
    )


def test_records_of_no_run_and_files_in_quarantine_are_counted(results):
    records.save(Run("mini_vit", "photos", lr=0.5, weights="source"), BODY, results / "runs")
    records.clear_the_way(QUICK, results / "runs")
    _, about = status.table(results, "quick")
    assert (about["others"], about["aside"]) == (1, 1)


def test_a_recorded_run_is_not_lost_whatever_is_left_of_its_state(results):
    with Checkpoint(results / "running" / str(QUICK[0])) as checkpoint:
        checkpoint.save(3, {})
    rows, _ = status.table(results, "quick")
    assert total(rows, "lost") == 1 and total(rows, "done") == 1


def test_clocks_and_file_times_change_nothing(results):
    before = status.text(results, "quick")
    for folder, _, names in os.walk(results):
        for name in names:
            os.utime(f"{folder}/{name}", (1, 4e9))
    assert status.text(results, "quick") == before


def test_the_grid_is_remembered_for_one_source_and_protocol(tmp_path, monkeypatch):
    assert status.planned(tmp_path, "quick") == [str(run) for run in QUICK]
    known = json.loads((tmp_path / "grid.json").read_text())
    (tmp_path / "grid.json").write_text(json.dumps(known | {"runs": ["remembered"]}))
    assert status.planned(tmp_path, "quick") == ["remembered"]
    assert len(status.planned(tmp_path, "quick", repeats=2)) == 72
    assert len(status.planned(tmp_path, "quick")) == 72, "the grid that was asked for last"
    monkeypatch.setattr(status, "source", lambda: "0ther000")
    assert status.planned(tmp_path, "quick") == [str(run) for run in QUICK]
    (tmp_path / "grid.json").write_text("{torn")
    assert len(status.planned(tmp_path, "quick")) == 36


@pytest.mark.parametrize("seconds, said", [(math.nan, "an unknown time"), (89, "89 s"), (91, "2 min"), (7200, "2.0 h")])
def test_spans(seconds, said):
    assert status.span(seconds) == said


def test_neither_pytorch_nor_pandas_is_imported(results):
    status.planned(results, "quick")
    call = f"m.main(['status', 'quick', '--results', {str(results)!r}])"
    code = f"import sys; from plasticity import __main__ as m; {call}; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert "all" in said[10] and not {"torch", "pandas", "numpy"} & set(said[-1].split())


def test_watching_refreshes_until_it_is_interrupted(results):
    status.planned(results, "quick")
    command = [sys.executable, "-m", "plasticity", "status", "quick", "--results", results, "--watch", "0.2"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    headers = 0
    for line in watching.stdout:
        headers += line.startswith("architecture")
        if headers == 3:
            break
    watching.send_signal(signal.SIGINT)
    assert watching.wait(5) == 0
