"""Each agent on the real games, end to end through the engine, and taken up again."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from helpers import interrupted_online, resumed_online, same, same_threads

from plasticity.profiles import get_profile
from plasticity.rl import online, play
from plasticity.run import Run
from plasticity.running import engine
from plasticity.studies.rl.runs import rehearsal_rows

ROWS = {row.title: row for row in rehearsal_rows()}
SHORT = {"steps": 108, "replay": 1, "epoch": 2}
AGENTS = ["DrQ, HR 40k", "Rainbow (PLASTIC's DrQ)", "BBF", "BBF, SSL"]


def short_run(title, game):
    row = ROWS[title]
    small = () if row.architecture == "nature_cnn" else (("batch_size", 2),)
    return replace(row, **SHORT, reset=4 if row.reset else 0, more=row.more + small).run(game, 0)


@pytest.fixture(autouse=True)
def short_tests(monkeypatch):
    monkeypatch.setitem(play.CAP, "atari", 10)


SLOW = [("DrQ, HR 40k, H&T", "atari_pong")]
SLOW += [(title, game) for title in ("DrQ", "Rainbow (PLASTIC's DrQ)") for game in ("atari_breakout", "atari_pong")]


@pytest.mark.parametrize(
    ("title", "game"),
    [("DrQ, HR 40k, H&T", "atari_breakout"), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
)
def test_resumed_bit_for_bit(tmp_path, title, game):
    run = short_run(title, game)
    whole = online.fit(run, "cpu")
    for epoch in (1, 2, 3):  # with phases: in the middle of the first one, at its end, and after the reset
        interrupted_online(run, tmp_path / str(epoch), epoch)
        assert same(whole, resumed_online(run, tmp_path / str(epoch)))
    assert whole.metrics["updates"] == 8 and whole.metrics["capped"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("title", ["BBF", "BBF, H&T", "BBF, SSL"])
def test_bbf_is_resumed_bit_for_bit(tmp_path, title):
    run = short_run(title, "atari_pong")
    whole = online.fit(run, "cpu")
    for epoch in (1, 2, 3):
        interrupted_online(run, tmp_path / str(epoch), epoch)
        assert same(whole, resumed_online(run, tmp_path / str(epoch)))


@pytest.mark.slow
@pytest.mark.parametrize("title", AGENTS)
def test_killed_in_a_phase_and_just_after_a_reset(tmp_path, title):
    run, folder = short_run(title, "atari_pong"), tmp_path / "state"
    if run.architecture == "nature_cnn":  # so that it still runs when the signal comes
        run = replace(run, scenario=run.scenario.replace("steps=108", "steps=148"))
    lines = "from plasticity.rl import online, play; from plasticity.run import Run; play.CAP['atari'] = 10; "
    lines += "from plasticity.running.checkpoints import Checkpoint; "
    lines += f"c = Checkpoint({str(folder)!r}, 0); c.__enter__(); online.fit({run!r}, 'cpu', checkpoint=c)"
    for _ in range(2):
        wanted = newest(folder) // 2 * 2 + 2 if newest(folder) else 1  # then the next updates are those after a reset
        process = subprocess.Popen([sys.executable, "-c", lines], cwd=os.getcwd(), env=same_threads())
        while newest(folder) < wanted and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    again = resumed_online(run, folder)
    assert same(online.fit(run, "cpu"), again) and len(again.resumed) == 2


def newest(folder):
    return max((int(path.stem.partition("-")[2]) for path in folder.glob("state-*.pt")), default=0)


def test_the_engine_records_a_game(tmp_path):
    run, place = short_run("DrQ, H&T", "atari_breakout"), engine.Place("data", str(tmp_path), workers=1, device="cpu")
    assert engine.prepare(get_profile("rl_rehearsal"), place).empty
    (record,) = engine.run_all([run], place)
    assert record["status"] == "done" and record["metrics"]["test_episodes"] == 1
    assert record["inputs"].keys() == {"game"} and record["config"]["agent"] == "drq(warmup=100)"
    assert engine.run_all([run], place) == [record]  # once is enough
    assert not list((tmp_path / "running").glob("*/*"))


@pytest.mark.slow
def test_the_engine_records_every_agent(tmp_path):
    place = engine.Place("data", str(tmp_path), workers=1, device="cpu")
    records = engine.run_all([short_run(title, "atari_pong") for title in AGENTS], place)
    assert [record["status"] for record in records] == ["done"] * 4
    agents = [record["config"]["agent"].partition("(")[0] for record in records]
    assert sorted(agents) == ["bbf", "bbf", "drq", "rainbow"]
    assert all(record["metrics"]["updates"] == 8 and record["history"][-1]["steps"] == 108 for record in records)


@pytest.mark.parametrize("agent", ["rainbow(n_step=3, warmup=60)", "bbf(warmup=60)"])
def test_minatar_too(tmp_path, agent):
    fields = {"weights": "none", "patience": 0, "validation": 0.0, "augment": "none", "optimizer": "adamw"}
    scenario = "online(steps=120, epoch=10, reset=30, tests=1)"
    case = "head_reset(fresh=true) + ema(momentum=0.9, restart=true)"
    run = Run("mini_dqn", "minatar_breakout", case, scenario=scenario, agent=agent, **fields)
    whole = online.fit(run, "cpu")
    for epoch in (2, 3, 4):
        interrupted_online(run, tmp_path / str(epoch), epoch)
        assert same(whole, resumed_online(run, tmp_path / str(epoch)))


def test_records_of_another_version_of_a_game_are_refused(tmp_path, monkeypatch):
    run, place = short_run("DrQ", "atari_breakout"), engine.Place("data", str(tmp_path), workers=1, device="cpu")
    engine.run_all([run], place)
    monkeypatch.setattr(engine.games, "version_of", lambda package: "99")
    with pytest.raises(ValueError, match="records began from other data than .*atari_breakout has now"):
        engine.run_all([run, replace(run, seed=1)], place)


def test_a_game_without_its_package_is_refused_before_anything_is_spent(tmp_path, monkeypatch):
    monkeypatch.setattr(engine.games, "version_of", lambda package: None)
    place = engine.Place("data", str(tmp_path), workers=1, device="cpu")
    with pytest.raises(ModuleNotFoundError, match="needs the package ale-py"):
        engine.prepare(get_profile("rl_rehearsal"), place)
    with pytest.raises(RuntimeError, match="1 of 1 could not be done.*needs the package ale-py"):
        engine.perform_all([short_run("DrQ", "atari_pong")], place, 0)
    assert not list(tmp_path.rglob("*.json"))  # no property of the run, so no record
