"""How long it will take: right within 20% after a tenth of the grid, on the durations of the real one."""

import heapq
import io
import math
from pathlib import Path

import pandas as pd
import pytest

from plasticity.profiles import get_profile, grid
from plasticity.running.engine import Progress, next_jobs_interleaved

RUNS = pd.read_csv(Path(__file__).parents[2] / "reference" / "runs.csv")


def durations(runs):
    """The runs' seconds on an evenly loaded machine: their recorded epochs, at their kind's median pace. Other work
    beside them, which came and went while they ran, is no estimate's to know."""
    pace = (RUNS["seconds"] / RUNS["epochs"]).groupby([RUNS["architecture"], RUNS["dataset"]]).transform("median")
    known = RUNS.assign(even=RUNS["epochs"] * pace).set_index(["architecture", "dataset", "case", "seed"])["even"]
    return {run: known[run.architecture, run.dataset, run.case, run.seed] for run in runs}


def simulate(runs, seconds, workers, look):
    """Workers that take these durations; what progress says when a share ``look`` is done, and what it really took from
    there."""
    progress = Progress({run: (run.architecture, run.dataset) for run in runs})
    waiting, at_work, told, now = list(reversed(runs)), [], None, 0.0
    while waiting or at_work:
        while waiting and len(at_work) < workers:
            run = waiting.pop()
            heapq.heappush(at_work, (now + seconds[run], len(waiting), run))
        now, _, run = heapq.heappop(at_work)
        progress.step(run, "", seconds[run], workers)
        if told is None and progress.done >= look * len(runs):
            told, at = progress.left(), now
    return told, now - at


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("look", [0.1, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("part", [["simplenet"], ["resnet"], ["vit"], None], ids=str)
def test_right_within_a_fifth_on_the_real_durations(part, workers, look, capsys):
    runs = next_jobs_interleaved(grid(get_profile("mini"), part))
    told, took = simulate(runs, durations(runs), workers, look)
    assert told == pytest.approx(took, rel=0.2)


def test_in_turn_keeps_every_run_and_hears_of_every_kind_early():
    runs = grid(get_profile("mini"))
    ordered = next_jobs_interleaved(runs)
    assert sorted(map(str, ordered)) == sorted(map(str, runs)) and len(ordered) == 675
    assert len({(run.architecture, run.dataset) for run in ordered[:9]}) == 9
    for kind in {(run.architecture, run.dataset) for run in runs}:
        own = [run for run in runs if (run.architecture, run.dataset) == kind]
        assert [run for run in ordered if (run.architecture, run.dataset) == kind] == own, (
            "by seed, so that a part is balanced"
        )


def test_unequal_groups_end_together():
    runs = grid(get_profile("quick"))
    ordered = next_jobs_interleaved([*runs[:12], *runs[12:16]])
    last = {(run.architecture, run.dataset): place for place, run in enumerate(ordered)}
    assert min(last.values()) >= len(ordered) - len(last)


def test_the_time_left_by_hand(capsys):
    progress = Progress({"a1": "a", "a2": "a", "b1": "b", "b2": "b"})
    assert math.isnan(progress.left())
    progress.step("a1", "first", 10.0, 1)
    assert progress.left() == 30  # three at the mean of all
    progress.step("b1", "second", 40.0, 2)
    assert progress.left() == pytest.approx(
        (10 + 40) * (1 - 1 / 4 + 1 / 4) / 2
    )  # half of one done; one idle at the end
    progress.step("a2", "by another process", None, 2)
    assert progress.left() == pytest.approx(40 / 2)
    progress.step("b2", "last", 40.0, 2)
    assert progress.left() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1/4 first; 0.5 min left" and lines[-1].startswith("4/4 last; 0.0 min")


def test_a_bar_where_somebody_watches(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", screen)
    progress = Progress({"a": "x", "b": "x"})
    progress.step("a", "one", 60.0, 1)
    progress.say("a worker died")
    progress.close()
    assert "1/2" in screen.getvalue() and "1.0 min left" in screen.getvalue()
