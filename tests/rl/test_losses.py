"""Projected distributions, predicted features and one update of each agent, by hand."""

import math

import numpy as np
import pytest
import torch

from plasticity.networks import table as networks
from plasticity.rl import agents
from plasticity.rl.losses import cross_entropy, feature_loss, project
from plasticity.rl.replay import Replay
from plasticity.training import games

SUPPORT = torch.linspace(-2, 2, 5)


@pytest.mark.parametrize(
    ("returned", "discount", "expected"),
    [
        (0.0, 1.0, [0, 0.5, 0, 0.5, 0]),  # stays as it is: half at -1, half at 1
        (1.0, 0.0, [0, 0, 0, 1, 0]),  # the episode ended
        (0.5, 0.0, [0, 0, 0.5, 0.5, 0]),  # between two atoms
        (0.25, 0.0, [0, 0, 0.75, 0.25, 0]),
        (0.0, 0.5, [0, 0.25, 0.5, 0.25, 0]),  # -0.5 and 0.5
        (9.0, 1.0, [0, 0, 0, 0, 1]),  # beyond the end
        (1.5, 1.0, [0, 0, 0.25, 0.25, 0.5]),  # 0.5 and, cut, 2
    ],
)
def test_a_distribution_is_moved_and_shared_between_atoms(returned, discount, expected):
    start = torch.tensor([[0, 0.5, 0, 0.5, 0]])
    assert project(start, torch.tensor([returned]), torch.tensor([discount]), SUPPORT).tolist() == [expected]


def test_projection_keeps_probability_and_within_the_ends_the_mean():
    draws = torch.Generator().manual_seed(0)
    start = torch.rand(64, 51, generator=draws).softmax(1)
    support, returned, discount = (
        torch.linspace(-10, 10, 51),
        torch.rand(64, generator=draws) - 0.5,
        torch.full((64,), 0.9),
    )
    moved = project(start, returned, discount, support)
    assert torch.allclose(moved.sum(1), torch.ones(64), atol=1e-5)
    assert torch.allclose(moved @ support, returned + 0.9 * (start @ support), atol=1e-4)


def test_cross_entropy_of_two_items():
    p = torch.tensor([[0.5, 0.5], [0.25, 0.75]])
    assert cross_entropy(p.log(), torch.tensor([[1.0, 0.0], [0.5, 0.5]])).tolist() == pytest.approx(
        [math.log(2), -(math.log(0.25) + math.log(0.75)) / 2]
    )


def test_features_are_compared_by_direction_within_the_episode():
    predicted = torch.tensor([[[3.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
    target = torch.tensor([[[1.0, 0.0], [5.0, 0.0], [-1.0, 0.0]]])  # the same, at right angles, opposite
    assert feature_loss(predicted, target, torch.tensor([[1, 1, 1]])).tolist() == pytest.approx([(0 + 2 + 4) / 3])
    assert feature_loss(predicted, target, torch.tensor([[1, 1, 0]])).tolist() == pytest.approx([2 / 3])


# --- one update -------------------------------------------------------------------------------------------------------
def filled(steps=60, frames=4, side=84, ends=()):
    rng = np.random.default_rng(0)
    replay = Replay(steps, (frames, side, side), frames)
    replay.begin(rng.integers(0, 255, (frames, side, side), dtype=np.uint8))
    for step in range(steps):
        board = rng.integers(0, 255, (frames, side, side), dtype=np.uint8)
        replay.add(step % 3, float(step % 2), step in ends, board)
    return replay


def agent_of(text, replay, batch_size=8):
    view = agents.View(1 / 255, torch.device("cpu"), torch.channels_last)
    return agents.build(games.build(text), replay, batch_size, view, torch.Generator().manual_seed(1))


def network(name, text, seed=0):
    return networks.build_for_game(name, 4, 3, seed, **games.build(text).network)


def test_drqs_loss_is_that_of_double_q_learning():
    text = "drq(n_step=2, gamma=0.5, shift=0, intensity=0)"
    replay = filled(ends=(10, 30))
    model, slow = network("nature_cnn", text), network("nature_cnn", text, seed=1)
    done = agent_of(text, replay).update(model, slow)
    times = replay.draw(8, 2, torch.Generator().manual_seed(1))
    losses = []
    for t in times.tolist():
        reward = replay.reward[t] + (0 if replay.ended[t] else 0.5 * replay.reward[t + 1])
        now, later = (replay.observe(torch.tensor([at])).float() / 255 for at in (t, t + 2))
        ended = bool(replay.ended[t] or replay.ended[t + 1])
        behind = 0.0 if ended else 0.25 * slow(later)[0, model(later).argmax()]
        error = (model(now)[0, t % 3] - (reward + behind)).abs()
        losses.append(error - 0.5 if error > 1 else error**2 / 2)
    assert done.loss.item() == pytest.approx(float(torch.stack(losses).mean().detach()), rel=1e-4)
    assert done.values.shape == (8, 3) and done.observations.shape == (8, 4, 84, 84)


def test_rainbows_loss_is_weighted_cross_entropy_and_becomes_the_priority():
    text = "rainbow(n_step=2, gamma=0.5, shift=0, intensity=0, noise=0, atoms=11, warmup=40, beta=0.2, last_beta=0.6)"
    replay = filled(ends=(10, 30))
    model, slow = network("nature_cnn", text), network("nature_cnn", text, seed=1)
    agent, other = agent_of(text, replay), agent_of(text, replay)
    other.priorities.values[:] = agent.priorities.values[:] = np.linspace(1, 4, 60)
    other.priorities.known = agent.priorities.known = 59
    done = agent.update(model, slow)
    index, weights = other.priorities.draw(59, 8, torch.Generator().manual_seed(1), beta=0.6)
    batch = replay.batch(index, 2, 0.5)
    now, later = batch.now.float() / 255, batch.later.float() / 255
    chosen = model(later).argmax(1)
    target = project(slow.distribution(later)[range(8), chosen].exp(), batch.returned, batch.discount, model.support)
    losses = -(target * model.distribution(now)[range(8), batch.action]).sum(1)
    assert done.loss.item() == pytest.approx((weights * losses).mean().item(), rel=1e-4)
    last = {int(i): loss for i, loss in zip(index, losses.detach(), strict=True)}  # the same item may come twice
    for i, loss in last.items():
        assert agent.priorities.values[i] == pytest.approx(math.sqrt(loss), rel=1e-3)
    assert torch.allclose(done.values, model(now), atol=1e-5)


def test_bbf_predicts_features_in_addition():
    replay = filled(steps=40)
    for ssl in ("false", "true"):
        text = f"bbf(first_n=4, ssl={ssl}, jumps=2, warmup=32, shift=0, intensity=0)"
        model = network("impala_x4", text)
        done = agent_of(text, replay, batch_size=2).update(model, model)
        done.loss.backward()
        with_gradient = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
        assert with_gradient == {"encoder", "head", *(("transition",) if ssl == "true" else ())}
        if ssl == "false":
            plain = done.loss.item()
    assert model.head.predictor.weight.grad.abs().sum() > 0
    assert plain < done.loss.item() < plain + 5 * 4  # a weight of 5 times at most 4


def test_importance_weights_grow_over_the_run():
    replay, seen = filled(), []
    agent = agent_of("rainbow(warmup=40, beta=0.4, last_beta=1)", replay)
    for replay.t in (40, 50, 60):
        seen.append(agent.beta())
    assert seen == pytest.approx([0.4, 0.7, 1])
    assert agent_of("bbf(warmup=40)", replay).beta() == 0.5


def test_the_horizon_begins_anew_in_each_phase():
    agent = agent_of("bbf(anneal=4, first_n=8, warmup=32)", filled())
    seen = []
    for updates in (0, 1, 4):
        agent.updates = updates
        seen.append(agent.horizon()[0])
    assert seen == [8, round(8 * (3 / 8) ** 0.25), 3]
    agent.begin_phase()
    assert agent.horizon()[0] == 8


def test_exploration_falls_in_a_straight_line():
    agent = agent_of("drq(warmup=100, decay=50, explore=0.2)", filled())
    assert [agent.explore(step) for step in (0, 99, 100, 125, 150, 999)] == pytest.approx([1, 1, 1, 0.6, 0.2, 0.2])
    assert agent_of("rainbow", filled()).explore(2000) == 0
