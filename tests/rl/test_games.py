"""Games: seeds, rewards, scores, stacks of frames, and Atari's preprocessing beside gymnasium's."""

import importlib.metadata

import numpy as np
import pytest

from plasticity.rl import games


def played(name, seed, steps, testing=False, choices=0):
    game, rng = games.open_game(name, seed, testing), np.random.default_rng(choices)
    seen, told = [game.see()], []
    for _ in range(steps):
        told.append(game.act(int(rng.integers(game.actions))))
        seen.append(game.see())
    return np.stack(seen), told


@pytest.mark.parametrize("name", [f"minatar_{game}" for game in games.MINATAR] + ["atari_pong", "atari_breakout"])
def test_a_seed_is_all_the_randomness(name):
    seen, told = played(name, 3, 200)
    again, told_again = played(name, 3, 200)
    other, _ = played(name, 4, 200)
    assert (seen == again).all() and told == told_again
    assert (seen != other).any()
    game = games.open_game(name, 3)
    assert seen.dtype == np.uint8 and seen.shape[1:] == game.shape


def test_a_game_of_minatar_gives_its_rewards_as_score_and_goes_on():
    _, told = played("minatar_breakout", 0, 3000)
    total, scores = 0.0, 0
    for reward, ended, score in told:
        total += reward
        assert (score is not None) == ended
        if ended:
            assert score == total
            total, scores = 0.0, scores + 1
    assert scores > 50 and max(score or 0 for _, _, score in told) > 0


def test_atari_is_learnt_with_signs_and_lives_and_tested_with_true_scores():
    _, learnt = played("atari_breakout", 0, 1200)
    _, tested = played("atari_breakout", 0, 1200, testing=True)
    assert {reward for reward, _, _ in learnt} == {0.0, 1.0}
    assert max(score for _, _, score in learnt if score is not None) > 0
    assert sum(ended for _, ended, _ in learnt) > sum(score is not None for _, _, score in learnt) > 0
    assert all(ended == (score is not None) for _, ended, score in tested)
    for told in (learnt, tested):  # a game's score is the sum of what it gave, whatever was learnt from
        assert all(float(score).is_integer() for _, _, score in told if score is not None)
    rewards = [reward for reward, _, _ in tested]
    first = next(i for i, (_, ended, _) in enumerate(tested) if ended)
    assert tested[first][2] == sum(rewards[: first + 1])


def test_rewards_above_one_are_clipped_in_learning_only():
    _, learnt = played("atari_ms_pacman", 0, 300)
    _, tested = played("atari_ms_pacman", 0, 300, testing=True)
    assert max(reward for reward, _, _ in learnt) == 1 and max(reward for reward, _, _ in tested) >= 10
    assert [np.sign(reward) for reward, _, _ in tested[:200]] == [reward for reward, _, _ in learnt[:200]]


def test_the_stack_moves_on_and_holds_zeros_before_an_episode():
    seen, told = played("atari_breakout", 1, 400)
    assert not seen[0][:-1].any() and seen[0][-1].any()
    starts = 0
    for before, after, (_, ended, _) in zip(seen[:-1], seen[1:], told, strict=True):
        assert (after[:-1] == (0 if ended else before[1:])).all() and after[-1].any()
        starts += ended
    assert starts >= 4


def test_no_ops_at_the_start_differ_by_seed():
    first = {games.open_game("atari_seaquest", seed).see()[-1].tobytes() for seed in range(8)}
    assert len(first) > 3


@pytest.mark.parametrize("name", ["pong", "breakout", "ms_pacman", "seaquest"])
def test_frames_and_rewards_are_gymnasiums(name):
    import ale_py
    import gymnasium

    gymnasium.register_envs(ale_py)
    title = "".join(part.capitalize() for part in name.split("_"))
    raw = gymnasium.make(f"ALE/{title}-v5", frameskip=1, repeat_action_probability=0.0)
    theirs = gymnasium.wrappers.AtariPreprocessing(raw, noop_max=0, frame_skip=4, screen_size=84)
    ours = games.open_game(f"atari_{name}", 0, testing=True)
    ours._random = np.random.default_rng(0)
    theirs.reset(seed=0)
    ours._ale.reset_game()  # no steps without action
    ours._score, ours._steps, ours._lives = 0.0, 0, ours._ale.lives()
    rng, exact = np.random.default_rng(5), []
    for _ in range(400):
        action = int(rng.integers(ours.actions))
        observation, reward, over, _, _ = theirs.step(action)
        ours_reward, ours_over, _ = ours.act(action)
        assert (reward, over) == (ours_reward, ours_over)
        if over:
            break
        off = np.abs(observation.astype(int) - ours.see()[-1])
        assert off.max() <= 1
        exact.append((off == 0).mean())
    assert len(exact) > 100 and np.mean(exact) > 0.99


def test_area_is_the_mean_of_what_a_pixel_covers():
    rows = games._area(210)
    assert rows.shape == (84, 210) and np.allclose(rows.sum(1), 1) and np.allclose(rows.sum(0), 0.4)
    assert np.allclose(rows[0, :4], [0.4, 0.4, 0.2, 0])  # 2.5 rows of the picture go into one


def test_unknown_games_and_missing_packages_are_named(monkeypatch):
    with pytest.raises(ValueError, match="unknown game 'minatar_braekout'.*minatar_breakout"):
        games.open_game("minatar_braekout", 0)
    with pytest.raises(ValueError, match="unknown game 'atari_pongg': ale-py .*atari_pong"):
        games.require("atari_pongg")

    def lacking(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", lacking)
    with pytest.raises(ModuleNotFoundError, match=r"'atari_pong' needs the package ale-py.*pip install '\.\[rl\]'"):
        games.require("atari_pong")


def test_the_input_is_the_rom_and_the_version(monkeypatch):
    pong, breakout = games.input_sha256("atari_pong"), games.input_sha256("atari_breakout")
    assert pong != breakout and len(pong) == 64
    small = games.input_sha256("minatar_breakout")
    monkeypatch.setattr(games, "version_of", lambda package: "0.0.1")
    assert games.input_sha256("minatar_breakout") != small and games.input_sha256("atari_pong") != pong


def test_ale_says_nothing(capfd):
    games.open_game("atari_pong", 0)
    assert capfd.readouterr() == ("", "")
