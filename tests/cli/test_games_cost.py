"""What a profile of games costs, beforehand."""

import pytest
import torch

from plasticity import get_profile
from plasticity.__main__ import main
from plasticity.cli import games_cost
from plasticity.rl import games
from plasticity.running import records
from plasticity.studies.rl.runs import grid


def test_the_work_is_counted_by_agent(tmp_path):
    table = games_cost.work(get_profile("rl"), tmp_path).set_index("agent")
    learnt = table.loc["drq"]
    assert learnt.runs == learnt["to do"] == 100 and table.loc["random"].runs == 10
    assert learnt["environment steps"] == 100 * 10_000
    assert learnt.updates == 70 * 9000 + 30 * 36_000
    assert learnt["test games"] == 100 * 32 and table.loc["random"].updates == 0


def test_what_is_recorded_is_no_work(tmp_path):
    run = next(run for run in grid(get_profile("rl")) if run.agent != "random")
    records.save(run, records.failure("went wrong", 1.0), tmp_path / "runs")
    table = games_cost.work(get_profile("rl"), tmp_path).set_index("agent")
    assert table.loc["drq"]["to do"] == 99 and table.loc["drq"].updates == 69 * 9000 + 30 * 36_000


def test_atari_100k_is_planned():
    table = games_cost.work(get_profile("rl_paper"), "nowhere")
    assert table.runs.sum() == 26 * 5 * 9 and list(table.agent) == ["drq", "bbf", "bbf(ssl=true)"]
    assert table.updates.sum() == 26 * 5 * (6 * 2 * 98_400 + 3 * 2 * 98_000)


def test_launches_are_operators_that_compute():
    x = torch.ones(3, 4)
    with games_cost.Launches() as launches:
        _ = (x.view(4, 3)[1] + 1).relu()
    assert launches.count == 2


def test_an_update_of_the_miniature_by_hand():
    run = next(run for run in grid(get_profile("rl")) if run.case == "base" and run.agent != "random")
    about = games_cost.of_update(run)
    assert about["parameters"] == (4 * 9 + 1) * 16 + (1024 + 1) * 64 + (64 + 1) * 4  # Breakout: 4 channels, 3 actions
    forward = 2 * 32 * (64 * 16 * 36 + 1024 * 64 + 64 * 4) / 1e9  # a batch of 32, once
    first = 2 * 32 * 64 * 16 * 36 / 1e9  # the first layer passes no gradient on
    assert about["gflop"] == pytest.approx(4 * forward - first, rel=0.01)  # twice forward, and back
    assert 40 < about["launches"] < 150


def test_plan_shows_it(capsys, tmp_path):
    assert main(["plan", "rl_quick", "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "12 runs, 12 to do" in said and "launches an update" in said and "test games not counted" in said


def test_plan_and_doctor_name_a_missing_package(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(games, "version_of", lambda package: None)
    assert main(["plan", "rl_quick", "--results", str(tmp_path)]) == 1
    assert "needs the package minatar" in capsys.readouterr().err
    main(["doctor", "rl_quick", "--results", str(tmp_path), "--data", str(tmp_path)])
    assert "game minatar_breakout not there yet: its package is missing" in capsys.readouterr().out
