"""The second loop: what it learns, when it calls the hooks, and that an interrupted run ends as one left alone."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import interrupted_online, resumed_online, same, same_threads

from plasticity import interventions
from plasticity.rl import games, online, play
from plasticity.run import Run
from plasticity.running.checkpoints import Checkpoint
from plasticity.train import Diverged

AGENT = "drq(n_step=3, gamma=0.9, warmup=60, decay=60, explore=0.1, shift=0, intensity=0)"
SETTINGS = {"weights": "none", "patience": 0, "validation": 0.0, "augment": "none", "optimizer": "adamw", "lr": 1e-3}
RUN = Run("mini_dqn", "minatar_breakout", scenario="online(steps=140, epoch=20, tests=2)", agent=AGENT, **SETTINGS)
PHASED = "online(steps=180, epoch=20, reset=60, tests=2)"
FOLLOWS = "ema(momentum=0.9, restart=true)"
CASES = {
    "base": {},
    "two updates a step": {"scenario": "online(steps=130, replay=2, epoch=20, tests=2)"},
    "an incomplete last epoch": {"scenario": "online(steps=130, epoch=20, tests=2)"},
    "another game": {"dataset": "minatar_space_invaders", "case": "ema(momentum=0.9)"},
    "third game": {"dataset": "minatar_freeway", "case": "hare_tortoise(momentum=0.9, epochs=1)"},
    "head reset": {"scenario": PHASED, "case": f"head_reset(fresh=true) + {FOLLOWS}"},
    "shrink & perturb": {"scenario": PHASED, "case": f"shrink_perturb(keep=0.5, fresh=true) + {FOLLOWS}"},
    "10MN": {"scenario": PHASED, "case": f"10MN + {FOLLOWS}"},
    "both": {"scenario": PHASED, "case": "head_reset + hare_tortoise(momentum=0.9, restart=true, epochs=1)"},
    "clipped": {"clip": 0.1, "case": "l2_init"},
}


FAST = ("two updates a step", "an incomplete last epoch", "clipped", "head reset")


def some_slow(cases):
    return [pytest.param(case, marks=() if name in FAST else pytest.mark.slow) for name, case in cases.items()]


class Corridor:
    """Four places in a row; to the right is forward, and its end gives 1. One cell of a 10 x 10 board says where."""

    actions, shape, frames = 2, (1, 10, 10), 1

    def __init__(self, *_, **__):
        self.place, self.steps = 0, 0

    def see(self):
        board = np.zeros(self.shape, np.uint8)
        board[0, 4:6, 2 * self.place : 2 * self.place + 2] = 1
        return board

    def act(self, action):
        self.place, self.steps = max(0, self.place + (1 if action else -1)), self.steps + 1
        done, lost = self.place == 4, self.steps == 30
        if done or lost:
            self.place = self.steps = 0
        return float(done), done or lost, float(done) if done or lost else None


@pytest.mark.parametrize(
    "case",
    [
        "hare_tortoise(momentum=0.95, epochs=1)",
        *(pytest.param(case, marks=pytest.mark.slow) for case in ("base", "ema(momentum=0.95)")),
    ],
)
def test_the_values_of_a_small_game_are_those_by_hand(monkeypatch, case):
    monkeypatch.setattr(games, "open_game", Corridor)
    monkeypatch.setattr(games, "input_sha256", lambda name: "")
    agent = "drq(n_step=1, gamma=0.8, warmup=300, decay=300, explore=0.3, shift=0, intensity=0)"
    run = replace(RUN, case=case, agent=agent, scenario="online(steps=1300, epoch=100, tests=4)")
    fitted = online.fit(run)
    assert fitted.metrics["score"] == 1 and fitted.metrics["capped"] == 0
    boards, game = [], Corridor()
    for place in range(4):
        game.place = place
        boards.append(game.see())
    with torch.no_grad():
        values = fitted.model(torch.from_numpy(np.stack(boards)).float())
    by_hand = torch.tensor([0.8**3, 0.8**2, 0.8, 1])
    assert values.argmax(1).tolist() == [1, 1, 1, 1]
    assert (values[:, 1] - by_hand).abs().max() < 0.1  # over one step: over more, exploring lowers them


def test_a_seed_decides_and_another_one_differs():
    one, two, other = online.fit(RUN), online.fit(RUN), online.fit(replace(RUN, seed=1))
    assert same(one, two) and one.history != other.history
    assert [row["epoch"] for row in one.history] == [1, 2, 3, 4] and one.history[-1]["steps"] == 140
    assert one.metrics["updates"] == 80 and one.metrics["test_episodes"] == 2
    assert one.inputs == {"game": games.input_sha256("minatar_breakout")}


@pytest.mark.parametrize("case", ["ema(momentum=0)", "hare_tortoise(momentum=0, epochs=1)", "l2(strength=0)"])
def test_a_method_without_strength_is_base(case):
    assert same(online.fit(RUN), online.fit(replace(RUN, case=case)))


def test_a_reset_that_keeps_all_is_a_fresh_optimiser_alone():
    fresh = online.fit(replace(RUN, scenario=PHASED))
    kept = online.fit(replace(RUN, scenario=PHASED, case="shrink_perturb(keep=1)"))
    whole = online.fit(replace(RUN, scenario=PHASED.replace("reset=60, ", "")))
    assert same(fresh, kept)
    assert [row["train_loss"] for row in fresh.history[:3]] == [row["train_loss"] for row in whole.history[:3]]
    assert fresh.history[3:] != [row | {"phase": 2} for row in whole.history[3:]]


class Told(interventions.Intervention):
    """Writes down what it is told."""

    def __init__(self):
        self.calls = []

    def prepare(self, model, start):
        images = start.images(7)
        self.calls.append(("prepare", start.phase, start.learned, start.shortest, start.head, tuple(images.shape)))
        return []

    def penalty(self, model, logits, images):
        self.calls.append(("penalty", tuple(logits.shape), tuple(images.shape)))

    def after_step(self, step):
        self.calls.append(step)

    def after_epoch(self, epoch):
        self.calls.append(("epoch", epoch))


def test_hooks_are_called_as_in_fit():
    told = Told()
    online.fit(replace(RUN, scenario="online(steps=110, epoch=10, reset=20, tests=1)"), intervention=told)
    shape = ((4, 10, 10), 3)
    prepared = [call for call in told.calls if isinstance(call, tuple) and call[0] == "prepare"]
    assert prepared == [("prepare", n, n > 1, (10, 1), "head", (7, *shape[0])) for n in (1, 2, 3)]
    steps = [call for call in told.calls if isinstance(call, int)]
    assert steps == list(range(1, 51))
    assert [call[1] for call in told.calls if isinstance(call, tuple) and call[0] == "epoch"] == [1, 2, 3, 4, 5]
    assert told.calls.index(("epoch", 2)) == told.calls.index(20) + 1
    assert told.calls.count(("penalty", (32, shape[1]), (32, *shape[0]))) == 50


def test_the_head_is_drawn_anew_and_the_average_follows():
    run = replace(RUN, scenario="online(steps=100, epoch=20, reset=20, tests=1)", case=CASES["head reset"]["case"])
    learning = online.begin(run)
    online.begin_phase(learning, 1)
    online.train_epoch(learning)
    before = {name: value.clone() for name, value in learning.model.state_dict().items()}
    online.begin_phase(learning, 2)
    after, slow = learning.model.state_dict(), learning.predictor.state_dict()
    for name, value in after.items():
        assert (value == slow[name]).all()
        if name.startswith("encoder"):
            assert (value == before[name]).all()
        else:
            drawn, initial = value.flatten(), learning.initial[name].flatten()
            assert (value != before[name]).any() and torch.isin(drawn, initial).all() and (drawn != initial).any()
    assert not learning.optimizer.state


def test_bbfs_biases_have_no_weight_decay():
    run = replace(RUN, agent="bbf(warmup=60, first_n=3)", weight_decay=0.5, case="l2_init(strength=0)", lr=0.1)
    learning = online.begin(replace(run, scenario="online(steps=100, epoch=20, tests=1)"))
    online.begin_phase(learning, 1)
    before = {name: p.detach().clone() for name, p in learning.model.named_parameters()}
    for parameter in learning.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    learning.optimizer.step()
    for name, p in learning.model.named_parameters():
        assert torch.allclose(p, before[name] * (1 if p.ndim == 1 else 0.95))


def test_the_random_agent_plays_without_learning():
    run = replace(RUN, agent="random", scenario="online(steps=140, epoch=20, tests=30)")
    fitted = online.fit(run)
    assert fitted.metrics["updates"] == fitted.metrics["epochs"] == 0 and not fitted.history
    assert 0 < fitted.metrics["score"] < 2 and fitted.metrics["test_episodes"] == 30


def test_long_games_are_capped_and_counted(monkeypatch):
    monkeypatch.setitem(play.CAP, "minatar", 5)
    draws = torch.Generator().manual_seed(0)
    scores, capped = play.play(None, None, "minatar_freeway", 3, 1.0, draws)
    assert capped == 3 and scores.tolist() == [0, 0, 0]


def test_a_diverging_loss_is_an_error():
    with pytest.raises(Diverged, match="lower the learning rate"):
        online.fit(replace(RUN, lr=1e9, optimizer="sgd"))


@pytest.mark.parametrize("fields", some_slow(CASES), ids=CASES)
def test_resumed_after_any_epoch_bit_for_bit(tmp_path, fields):
    run = replace(RUN, **fields)
    whole = online.fit(run)
    for epoch in range(1, whole.metrics["epochs"] + 1):
        interrupted_online(run, tmp_path / "state", epoch)
        again = resumed_online(run, tmp_path / "state")
        assert same(whole, again) and again.resumed == [epoch]
        Checkpoint(tmp_path / "state").remove()


def test_resumed_twice(tmp_path):
    run = replace(RUN, **CASES["head reset"])
    for epoch in (2, 4):
        interrupted_online(run, tmp_path / "state", epoch)
    again = resumed_online(run, tmp_path / "state")
    assert same(online.fit(run), again) and again.resumed == [2, 4]


def test_a_game_that_went_another_way_begins_anew(tmp_path, capsys):
    interrupted_online(RUN, tmp_path / "state", 2)
    path = tmp_path / "state" / "state-2.pt"
    content = torch.load(path, weights_only=True)
    content["state"]["crc"] += 1
    torch.save(content, path)
    again = resumed_online(RUN, tmp_path / "state")
    assert same(online.fit(RUN), again) and "begins anew" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["head reset", "third game"])
def test_a_killed_process_loses_nothing(tmp_path, name):
    run = replace(RUN, **CASES[name])
    run = replace(run, scenario=run.scenario.replace("steps=180", "steps=660").replace("steps=140", "steps=660"))
    if "reset" in run.scenario:
        run = replace(run, scenario=run.scenario.replace("reset=60", "reset=200"))
    lines = "from plasticity.run import Run; from plasticity.rl import online; "
    lines += "from plasticity.running.checkpoints import Checkpoint; "
    lines += f"c = Checkpoint({str(tmp_path / 'state')!r}, 0); c.__enter__(); online.fit({run!r}, checkpoint=c)"
    for state in (3, 12):
        process = subprocess.Popen([sys.executable, "-c", lines], cwd=os.getcwd(), env=same_threads())
        while not (tmp_path / "state" / f"state-{state}.pt").exists() and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    again = resumed_online(run, tmp_path / "state")
    assert same(online.fit(run), again) and len(again.resumed) == 2
