"""The replay: observations put together again, and sums over n steps, by hand."""

import numpy as np
import pytest
import torch

from plasticity.rl import games
from plasticity.rl.replay import Replay


def filled(rewards, ends, frames=1, shape=(1, 1, 1)):
    replay = Replay(len(rewards), shape, frames)
    stack = np.zeros(shape, np.uint8)
    stack[-1] = 1
    replay.begin(stack)
    for step, (reward, ended) in enumerate(zip(rewards, ends, strict=True)):
        stack[:-1] = 0 if ended else stack[1:]
        stack[-1] = step + 2
        replay.add(step % 3, reward, ended, stack)
    return replay


def test_the_sum_over_n_steps_stops_where_the_episode_ends():
    replay = filled([1.0, 2.0, 4.0, 8.0, 16.0], [False, False, True, False, False])
    batch = replay.batch(torch.tensor([0, 1, 2, 3]), n_step=2, gamma=0.5)
    assert batch.returned.tolist() == [1 + 1, 2 + 2, 4, 8 + 8]
    assert batch.discount.tolist() == [0.25, 0, 0, 0.25]
    assert batch.action.tolist() == [0, 1, 2, 0]
    assert batch.now.flatten().tolist() == [1, 2, 3, 4]
    assert batch.later.flatten()[[0, 3]].tolist() == [3, 6]


def test_one_step_is_the_transition_itself():
    replay = filled([1.0, 0.0, -1.0], [False, True, False])
    batch = replay.batch(torch.arange(3), n_step=1, gamma=0.9)
    assert batch.returned.tolist() == [1, 0, -1]
    assert batch.discount.tolist() == pytest.approx([0.9, 0, 0.9])


def test_stacks_are_those_that_were_seen():
    ends = [False, False, False, False, True, False, False, False]
    replay = filled([0.0] * 8, ends, frames=4, shape=(4, 1, 1))
    seen = replay.observe(torch.arange(9)).flatten(1).tolist()
    assert seen[:5] == [[0, 0, 0, 1], [0, 0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
    assert seen[5:] == [[0, 0, 0, 6], [0, 0, 6, 7], [0, 6, 7, 8], [6, 7, 8, 9]]
    assert replay.observe(torch.tensor([[4], [5]])).shape == (2, 1, 4, 1, 1)
    assert replay.seen.shape == (9, 1, 1, 1)  # each frame is kept once


def test_stacks_of_a_real_game_are_those_that_were_seen():
    game, rng = games.open_game("atari_breakout", 0), np.random.default_rng(0)
    replay, seen = Replay(150, game.shape, game.frames), [game.see()]
    replay.begin(seen[0])
    for _ in range(150):
        action = int(rng.integers(game.actions))
        reward, ended, _ = game.act(action)
        seen.append(game.see())
        replay.add(action, reward, ended, seen[-1])
    assert replay.ended.sum() >= 2
    assert (replay.observe(torch.arange(151)).numpy() == np.stack(seen)).all()


def test_draws_are_uniform_over_what_has_its_n_steps():
    replay = filled([0.0] * 10, [False] * 10)
    drawn = replay.draw(20_000, 3, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn)
    assert len(counts) == 8  # times 0 to 7: the last one's third step is the tenth
    assert (counts - 2500).abs().max() < 200


def test_the_checksum_is_of_all_frames_in_order():
    one, same = (filled([0.0, 0.0], [False, False]) for _ in range(2))
    other = filled([0.0, 0.0, 0.0], [False] * 3)
    assert one.crc == same.crc != other.crc
