"""Runs of games: how they are written, what is refused, and in which phases they go."""

from dataclasses import replace

import pytest

from plasticity.run import Run
from plasticity.training import games, scenarios

SETTINGS = {"weights": "none", "patience": 0, "validation": 0.0, "augment": "none"}
RUN = Run("mini_dqn", "minatar_breakout", scenario="online(steps=10000, epoch=180)", agent="drq", **SETTINGS)


def test_agents_are_written_in_one_way():
    assert games.canonical("drq( n_step=10, gamma = 0.95 )") == "drq(gamma=0.95)"
    assert games.canonical("") == "" and games.canonical("random") == "random"
    assert replace(RUN, agent="drq(n_step=10)").key == RUN.key != replace(RUN, agent="drq(n_step=9)").key
    assert str(RUN) == f"mini_dqn/minatar_breakout-online(steps=10000,epoch=180)-base-s0-{RUN.key}"


def test_phases_are_counted_in_updates():
    online = scenarios.Online(steps=10_000, epoch=180)
    assert online.phases(1000) == [9000]
    assert replace(online, reset=1800).phases(1000) == [1800] * 5
    assert replace(online, reset=1800, replay=4).phases(1000) == [1800] * 20
    assert scenarios.Online(steps=100_000, replay=2, reset=40_000).phases(1600) == [40_000] * 4 + [36_800]
    assert scenarios.Online(steps=10, epoch=4, reset=4).phases(0) == [4, 4, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenario": "online(steps=10000, reset=200, epoch=180)"}, "reset=200 is no multiple of epoch=180"),
        ({"scenario": "online(steps=10000, reset=9000, epoch=180)"}, "reset=9000 never comes in 8400 updates"),
        ({"scenario": "online(steps=10000, reset=8000, epoch=1000)"}, "leaves 400 updates to the last of 2 phases"),
        ({"scenario": "online(steps=1600)"}, "steps=1600 .* must be above the agent's warmup=1600"),
        ({"scenario": "online(replay=0)"}, r"replay=0 is outside its range \[1, inf\)"),
        ({"scenario": "online(tests=0)"}, r"tests=0 is outside its range"),
        ({"agent": "drq(n_step=40, warmup=39)"}, "warmup=39 of agent .* is below batch_size=32 and the 40 transitions"),
        ({"batch_size": 2000}, "warmup=1600 of agent 'drq' is below batch_size=2000"),
        ({"architecture": "nature_cnn"}, "'nature_cnn' takes 84 x 84 cells, 'minatar_breakout' has 10: use mini_dqn"),
        ({"dataset": "atari_pong"}, "'mini_dqn' takes 10 x 10 cells, 'atari_pong' has 84: use nature_cnn, impala_x4"),
        ({"agent": "bbf(ssl=true)"}, r"agent 'bbf\(ssl=true\)': 'mini_dqn' predicts no features; use impala_x4"),
        ({"agent": "dqr"}, "unknown agent 'dqr'; known: random, drq, rainbow, bbf"),
        ({"agent": "drq(gamma=1.5)"}, r"gamma=1.5 is outside its range \[0, 1\)"),
        ({"agent": ""}, "these go together only as a game, 'online"),
        ({"dataset": "photos"}, "dataset='photos'.*go together only as a game"),
        ({"scenario": "single"}, "scenario='single'.*go together only"),
        ({"architecture": "mini_resnet"}, "'mini_resnet' takes images: these go together only as .*mini_dqn"),
        ({"weights": "imagenet"}, "weights='imagenet' with the game 'minatar_breakout': use weights='none'"),
        ({"validation": 0.2}, "validation=0.2 with the game .*nothing is held out"),
        ({"patience": 3}, "patience=3 with the game .*its length is fixed"),
        ({"augment": "flip"}, "augment='flip' with the game .*the agent has its own"),
        ({"measure": 1}, "measure=1 with the game"),
        ({"max_epochs": 3}, "max_epochs=3 with the game"),
        ({"schedule": "cosine"}, "schedule='cosine' with the game"),
        ({"utility": "gradient"}, "utility='gradient' with the game"),
        ({"case": "augmentation"}, "case 'augmentation' changes the augmentation of images, and a game has none"),
        ({"case": "l2 + crop"}, "changes the augmentation of images"),
        ({"case": "self_distillation"}, "'self_distillation' teaches probabilities, and a game has Q-values"),
        ({"case": "10M"}, "case '10M' acts at the start of later phases, and 'online.* has none: give reset="),
        ({"case": "head_reset + ema"}, "acts at the start of later phases"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(RUN, **changes)


def test_an_average_must_follow_a_reset_but_not_a_fresh_optimiser():
    phased = replace(RUN, scenario="online(steps=9600, epoch=200, reset=2000)", case="ema")
    for case in ("head_reset + ema", "10M + hare_tortoise", "shrink_perturb + hare_tortoise(epochs=1)"):
        with pytest.raises(ValueError, match="the average would not follow the reset of the network; give it restart"):
            replace(phased, case=case)
    for case in ("head_reset + ema(restart=true)", "l2 + ema", "10M", "base + ema", "selective_reinit + ema"):
        assert replace(phased, case=case).case == case


def test_a_data_set_takes_no_network_of_games():
    with pytest.raises(ValueError, match="'mini_dqn' is the network"):
        Run("mini_dqn", "photos")


def test_runs_without_games_have_the_keys_that_they_had():
    assert Run("mini_vit", "photos").key == "6f035d3a"


def test_bbfs_horizon_grows_exponentially():
    bbf = games.build("bbf(anneal=100)")
    assert bbf.horizon(0) == (10, pytest.approx(0.97)) and bbf.horizon(100) == bbf.horizon(999) == (3, 0.997)
    n, gamma = bbf.horizon(50)  # the geometric means: sqrt(30) = 5.48, sqrt(.03 x .003) = .0095
    assert n == 5 and gamma == pytest.approx(1 - (0.03 * 0.003) ** 0.5)
    assert bbf.needs == games.build("bbf(ssl=true)").needs == 10 and games.build("bbf(ssl=true, jumps=12)").needs == 12


C51 = {"atoms": 51, "v_max": 10.0}


def test_agents_say_what_their_network_must_have():
    assert games.build("drq").network == {}
    assert games.build("rainbow(noise=0.1)").network == C51 | {"noise": 0.1, "streams": True}
    assert games.build("bbf(ssl=true)").network == C51 | {"ssl": True}
