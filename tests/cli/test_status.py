"""What ``python -m plasticity status`` says of a folder, and that it neither needs PyTorch nor believes a torn record."""

import json
import math
import os
import signal
import subprocess
import sys

import pytest

import plasticity
from plasticity import __main__ as command
from plasticity import run as config
from plasticity.cli import status
from plasticity.profiles import get_profile, grid
from plasticity.running import identity, records
from plasticity.running.checkpoints import Checkpoint
from plasticity.running.record_format import head

QUICK = grid(get_profile("quick"))
BODY = {"status": "done", "metrics": {"accuracy": 0.5}, "history": [], "resets": [], "seconds": 4.0, "inputs": {}}


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
    total = {state: sum(row[state] for row in rows) for state in status.STATES}
    assert total == {"done": 1, "failed": 1, "damaged": 1, "lost": 1, "running": 1, "missing": 31}
    assert [row["runs"] for row in rows] == [4] * 9 and {row["architecture"] for row in rows} == {
        run.architecture for run in QUICK
    }
    first = next(
        row for row in rows if (row["architecture"], row["dataset"]) == (QUICK[0].architecture, QUICK[0].dataset)
    )
    assert first["done"] == 1
    assert about["running"] == {str(QUICK[-1]): 3} and about["seconds"] == 3.0


def test_the_time_left_counts_what_is_left_over_what_runs(results):
    rows, about = status.table(results, "quick")
    assert sum(row["work"] for row in rows) == pytest.approx(
        (31 + 1 + 1) * 3 + 1.5, abs=15
    )  # groups have their own means
    assert about["left"] == sum(row["work"] for row in rows)
    assert math.isnan(status.table(results, "mini")[1]["left"])


def test_it_names_what_to_do(results):
    said = status.text(results, "quick")
    assert "1 running" in said and f"{QUICK[-1]}, 3 epochs done" in said and "--retry-failed" in said
    assert "nothing is recorded" in status.text(results.parent / "empty", "quick")


def test_records_of_other_source_are_stale_and_still_done(results, monkeypatch):
    monkeypatch.setattr(status, "source", lambda: "0ther000")
    rows, _ = status.table(results, "quick")
    assert sum(row["stale"] for row in rows) == 2 and sum(row["done"] for row in rows) == 1
    assert "2 records were made by other source than this (0ther000)" in status.text(results, "quick")


def test_records_of_no_run_and_files_set_aside_are_counted(results):
    records.save(config.Run("mini_vit", "photos", lr=0.5, weights="source"), BODY, results / "runs")
    records.clear_the_way(QUICK, results / "runs")
    _, about = status.table(results, "quick")
    assert (about["others"], about["aside"]) == (1, 1)


def test_a_recorded_run_is_not_lost_whatever_is_left_of_its_state(results):
    with Checkpoint(results / "running" / str(QUICK[0])) as checkpoint:
        checkpoint.save(3, {})
    rows, _ = status.table(results, "quick")
    assert sum(row["lost"] for row in rows) == 1 and sum(row["done"] for row in rows) == 1


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


def test_old_records_have_a_head_too(results):
    path = records.path_of(QUICK[0], results / "runs")
    old = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("sha256", "head")} | {"schema": 1}
    content = json.dumps(old | {"sha256": records._checksum(old)}).encode()
    assert head(content)["status"] == "done" and head(content.replace(b"4.0", b"5.0")) is None
    for rubbish in (b"", b"{}", b"[]", b"\0" * 300, b'{"sha256": 1}', content[:100]):
        assert head(rubbish) is None


def run(*arguments, **more):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, **more)


def test_neither_pytorch_nor_pandas_is_imported(results):
    status.planned(results, "quick")
    call = f"m.main(['status', 'quick', '--results', {str(results)!r}])"
    code = f"import sys; from plasticity import __main__ as m; {call}; print(*sys.modules)"
    said = run("-c", code).stdout.splitlines()
    assert "all" in said[10] and not {"torch", "pandas", "numpy"} & set(said[-1].split())


def test_the_public_names_are_there_when_asked_for():
    code = "import plasticity, sys; assert 'torch' not in sys.modules; plasticity.reinitialize; assert 'torch' in sys.modules"
    assert run("-c", code).returncode == 0
    assert set(plasticity.__all__) <= set(dir(plasticity)) and plasticity.Run is config.Run
    with pytest.raises(AttributeError, match="no attribute 'reinitialise'; it has: Case"):
        plasticity.reinitialise  # noqa: B018


def test_watching_refreshes_until_it_is_interrupted(results):
    status.planned(results, "quick")
    watching = subprocess.Popen(
        [sys.executable, "-m", "plasticity", "status", "quick", "--results", results, "--watch", "0.2"],
        stdout=subprocess.PIPE,
        text=True,
    )
    headers = 0
    for line in watching.stdout:
        headers += line.startswith("architecture")
        if headers == 3:
            break
    watching.send_signal(signal.SIGINT)
    assert watching.wait(5) == 0


def test_the_command_line_refuses_in_one_line(capsys):
    assert command.main(["status", "minni"]) == 2 and "unknown profile 'minni'; known: mini" in capsys.readouterr().err
    assert command.main(["statsu"]) == 2 and "unknown command 'statsu'; there are:\n  status" in capsys.readouterr().err
    assert command.main([]) == 0 and "reproduce" in capsys.readouterr().out
    assert command.main(["run", "quick", "--engine", "slurm"]) == 2
    assert "engine='slurm' is unknown; allowed: 'local', 'dask'" in capsys.readouterr().err


def test_the_source_digest_covers_what_a_run_passes_through():
    assert len(identity.source()) == 8
    for room in ("reinit", "train", "augment", "models", "data", "config", "interventions"):
        assert room in identity.ROOMS
