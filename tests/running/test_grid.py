"""A grid under attack: killed, interrupted, shared, on a full disk; what comes out equals a grid that was left
alone."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from helpers import fill

from plasticity.cli import status
from plasticity.running import engine, records

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
GRID = """
import sys
from plasticity.run import Run
from plasticity.running.engine import Place, run_all
SETTINGS = {"batch_size": 8, "max_epochs": 6, "patience": 0, "augment": "flip", "lr": 0.01, "momentum": 0.9}
CASES = ("base", "10M", "25N", "scratch")
RUNS = [Run("mini_resnet", "photos", case, seed, weights="source", **SETTINGS) for case in CASES for seed in range(3)]
if __name__ == "__main__":
    try:
        run_all(RUNS, Place(sys.argv[1], sys.argv[2], int(sys.argv[3]), "cpu"))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.fixture
def script(pretrained, tmp_path):
    """A script that does a grid of 12 runs into a results folder: script(results, workers) starts it in a session of
    its own."""
    (tmp_path / "a_grid.py").write_text(GRID)

    def start(results, workers=2):
        command = [sys.executable, tmp_path / "a_grid.py", pretrained, results, str(workers)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, text=True, start_new_session=True, **pipes)

    namespace = {"__name__": "a_grid"}
    exec(GRID, namespace)  # the same runs here
    start.runs, start.world = namespace["RUNS"], pretrained
    return start


def numbers(runs, results):
    done = records.load_runs(runs, results / "runs")
    return [(record["metrics"], record["history"], record["histogram"], record["resets"]) for record in done]


@pytest.mark.slow
def test_two_engines_share_a_grid_and_no_run_is_done_twice(script, tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    assert script(alone, 1).wait() == 0
    both = [script(shared), script(shared, 1)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    trained = [line.split()[1] for text in said for line in text.splitlines() if " accuracy " in line]
    assert sorted(trained) == sorted(map(str, script.runs)), said
    assert numbers(script.runs, shared) == numbers(script.runs, alone) and len(numbers(script.runs, shared)) == 12
    assert status.in_progress(shared) == {}


@pytest.mark.slow
def test_ctrl_c_says_what_stays_and_leaves_nobody(script, tmp_path):
    process = script(tmp_path / "results")
    said = [process.stdout.readline() for _ in range(2)]
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    rest = process.communicate(timeout=20)[0]  # most of it Python's own end, on a busy machine
    assert process.returncode == 130 and "of 12 done and recorded; start again to go on" in rest, said
    end = time.monotonic() + 3
    while any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in family):
        assert time.monotonic() < end, family
        time.sleep(0.05)
    left = records.missing(script.runs, tmp_path / "results" / "runs")
    assert 0 < len(left) <= 10 and not any(alive for alive, _ in status.in_progress(tmp_path / "results").values())
    assert script(tmp_path / "results").wait() == 0 and not records.missing(script.runs, tmp_path / "results" / "runs")


def test_a_full_disk_stops_the_grid_and_room_lets_it_go_on(script, place, small_disk):
    small, runs = replace(place, results=str(small_disk / "results")), script.runs[:3]
    engine.run_all(runs[:1], small)
    kept = records.path_of(runs[0], small.runs).read_bytes()
    filler = fill(small_disk, leave=1_000_000)  # room for one state
    why = "No space left on device, while writing a checkpoint.*Free some space and start again"
    with pytest.raises(OSError, match=why):
        engine.run_all(runs, small)
    assert records.path_of(runs[0], small.runs).read_bytes() == kept
    filler.unlink()
    done = engine.run_all(runs, small)
    assert [record["resumed"] for record in done] == [[], [1], []]
    engine.run_all(runs, place)
    assert numbers(runs, small_disk / "results") == numbers(runs, Path(place.results))


def test_a_full_results_folder_is_refused_before_anything_is_spent(small_disk):
    fill(small_disk)
    with pytest.raises(PermissionError, match="cannot be written .No space left on device.; free some space"):
        engine.Place("data", str(small_disk / "results"))


def test_damaged_records_are_set_aside_by_name_and_done_again(script, place, tmp_path, capsys):
    engine.run_all(script.runs[:2], place)
    before, path = numbers(script.runs[:2], tmp_path / "results"), records.path_of(script.runs[0], place.runs)
    path.write_bytes(path.read_bytes()[:1000])
    assert engine.plan(script.runs[:2], place).iloc[0]["to_do"] == 1
    engine.run_all(script.runs[:2], place)
    assert f"set aside as {tmp_path / 'results' / 'set-aside'}" in capsys.readouterr().out
    assert numbers(script.runs[:2], tmp_path / "results") == before


def test_a_failed_run_is_recorded_with_its_traceback_after_its_tries(script, place, tmp_path, monkeypatch, capsys):

    def broken(*_, **__):
        raise RuntimeError("a bug in a method")

    monkeypatch.setattr(engine.train.F, "cross_entropy", broken)
    done = engine.run_all(script.runs[:1], place, retries=2)
    assert (done[0]["status"], done[0]["message"]) == ("failed", "RuntimeError: a bug in a method")
    assert "in broken" in done[0]["traceback"] and "try 3 of 3" in capsys.readouterr().out
    monkeypatch.undo()
    assert engine.run_all(script.runs[:1], place)[0]["status"] == "failed", "not by itself"
    assert engine.run_all(script.runs[:1], place, failed=True)[0]["status"] == "done"
    assert list((tmp_path / "results" / "set-aside").rglob("*.json"))


def test_missing_weights_are_no_failure_of_the_run(script, place, tmp_path):
    os.rename(script.world / "weights", script.world / "away")
    why = "2 of 3 could not be done; the first: .*is missing: run notebook 00_data_prep"
    with pytest.raises(RuntimeError, match=why):
        engine.run_all([*script.runs[:2], script.runs[-1]], place)
    assert records.missing(script.runs, place.runs) == script.runs[:-1], "scratch needs no weights"
    os.rename(script.world / "away", script.world / "weights")
    assert engine.run_all(script.runs[:2], place)[0]["status"] == "done"


def test_what_a_kill_left_behind_after_the_record_is_tidied(script, place, tmp_path):
    engine.run_all(script.runs[:1], place)
    with place.checkpoint(script.runs[0]) as checkpoint:
        checkpoint.save(3, {})
    engine.run_all(script.runs[:1], place)
    assert status.in_progress(tmp_path / "results") == {}


@pytest.mark.slow
def test_the_same_grid_through_dask_with_a_worker_that_is_killed_and_one_that_sees_nothing(
    script, place, tmp_path, capfd
):
    """The little sibling of benchmarks/cluster.py. The second worker can't see the results, where that can be
    arranged."""
    import cluster

    shared, alone = Path(place.results), tmp_path / "alone"
    engine.run_all(script.runs, replace(place, results=str(alone)))
    port, hidden = cluster.free_port(), shared if os.geteuid() == 0 else None
    with open(tmp_path / "log", "w") as log:
        members = [cluster.scheduler(port, log)]
        members += [cluster.worker(port, tmp_path, log, folder) for folder in (None, hidden)]
        killer = threading.Timer(8, lambda: [member.kill() for member in cluster.family(members[1].process.pid)])
        killer.start()
        try:
            engine.run_all(script.runs, replace(place, workers=2, engine=f"tcp://127.0.0.1:{port}"))
        finally:
            killer.cancel()
            for member in members:
                member.stop()
    assert numbers(script.runs, shared) == numbers(script.runs, alone)
    assert "12/12" in capfd.readouterr().out and not list(shared.glob(".shared-*"))


def test_what_must_be_the_same_everywhere_names_source_torch_data_and_weights(place, monkeypatch):
    facts = engine.fingerprint(place, (("photos", "mini_resnet", "source"),))
    names = ["plasticity source", "torch", "data photos"]
    assert list(facts)[:3] == names and list(facts)[3].startswith("weights mini_resnet") and len(facts) == 4
    assert facts["torch"] == engine.torch.__version__ and all(facts.values())
    monkeypatch.setenv("PLASTICITY_DATA", "/elsewhere")
    assert engine.data_folder(place) == Path("/elsewhere")


NO_ENGINES = [("slurm", "'slurm' is unknown; allowed: 'local'"), ("dask", "needs the scheduler's address")]


@pytest.mark.parametrize("name, said", NO_ENGINES)
def test_an_engine_that_is_none(tmp_path, name, said, monkeypatch):
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    with pytest.raises(ValueError, match=said):
        engine.Place("data", str(tmp_path), engine=name)


def test_an_address_where_nothing_answers(script, place, monkeypatch):
    pytest.importorskip("distributed", reason="pip install '.[cluster]' in the checkout")
    import cluster

    from plasticity.running.dask import Cluster

    monkeypatch.setattr(Cluster.__init__, "__defaults__", (None, (), 1.0, 5.0))
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", f"tcp://127.0.0.1:{cluster.free_port()}")
    with pytest.raises(ConnectionError, match="no scheduler answers at tcp://127.0.0.1:.*dask scheduler"):
        engine.run_all(script.runs, replace(place, engine="dask"))
    assert not list(Path(place.results).glob(".shared-*"))


@pytest.mark.slow
def test_killed_again_and_again_the_quick_grid_comes_out_the_same(tmp_path):
    """The little sibling of benchmarks/kills.py with its 200 kills, on a third of the grid; pretraining is killed,
    too."""
    import kills

    folders = {name: str(tmp_path / name) for name in ("truth", "results", "data")}
    options = SimpleNamespace(profile="quick", architectures=["vit"], kills=3, workers=2, wait=(0.2, 2.5), **folders)
    kills.random.seed(4)
    (tmp_path / "results").mkdir()
    seen = kills.disturb(options)
    assert sum(seen["kills"].values()) == 3
    command = f"run quick --results {options.truth} --data {options.data} --architectures vit"
    subprocess.run([sys.executable, "-m", "plasticity", *command.split()], check=True, cwd=ROOT, capture_output=True)
    assert kills.check(options, seen) == []
