"""The grid of Table 1, in miniature and as published."""

import pytest

from plasticity import get_profile
from plasticity.studies import all as every_study
from plasticity.studies.rl.runs import FIRST_SEED, LIKE, PLAIN, RANDOM, grid, mini_rows, paper_rows, profile_of, study
from plasticity.training import games, scenarios


def test_the_miniature_has_eleven_rows_two_games_five_seeds():
    runs = grid(get_profile("rl"))
    assert len(runs) == len(set(runs)) == 11 * 2 * 5
    assert {run.seed for run in runs} == set(range(FIRST_SEED, FIRST_SEED + 5)) and FIRST_SEED > 0
    assert {run.dataset for run in runs} == {"minatar_breakout", "minatar_space_invaders"}
    assert list(study(get_profile("rl")))[:3] == [(RANDOM, 1), ("no slow copy", 1), (PLAIN, 1)]
    assert set(LIKE) <= {row for row, _ in study(get_profile("rl"))}


def test_time_scales_are_the_same_fractions_at_each_replay_ratio():
    for row in mini_rows(10_000, 9000, 32)[1:]:
        online = scenarios.build(row.run("minatar_breakout", 0).scenario)
        updates = online.updates(1000)
        assert updates == 9000 * row.replay and updates / online.epoch == 50
        assert online.reset in (0, updates // 5)


def test_all_rows_but_random_play_are_one_agent():
    agents = {row.agent for row in mini_rows(10_000, 9000, 32)}
    assert agents == {"random", mini_rows(10_000, 9000, 32)[1].agent}


def test_the_papers_table_has_nine_rows_of_26_games_and_5_seeds():
    profile = get_profile("rl_paper")
    assert len(grid(profile)) == 26 * 5 * 9 == 1170
    rows = {row.title: row.run("atari_pong", 10) for row in paper_rows()}
    assert rows["DrQ"].case == "base" and rows["DrQ, H&T"].case == "hare_tortoise(momentum=0.995, epochs=1)"
    online = scenarios.build(rows["DrQ, H&T"].scenario)
    assert (online.steps, online.replay, online.epoch, online.tests) == (100_000, 2, 4000, 100)
    agent = games.build(rows["DrQ, HR 40k"].agent)
    assert scenarios.build(rows["DrQ, HR 40k"].scenario).phases(agent.warmup) == [40_000] * 4 + [36_800]
    assert len(scenarios.build(rows["DrQ, HR 20k"].scenario).phases(agent.warmup)) == 10
    assert max(len(str(run).split("/")[1]) for run in grid(profile)) < 250  # a file's name


def test_the_rehearsal_has_every_row_and_plastics_agent():
    rows = {title for title, _ in study(get_profile("rl_rehearsal"))}
    assert rows == {row.title for row in paper_rows()} | {"Rainbow (PLASTIC's DrQ)"}
    assert {run.agent.partition("(")[0] for run in grid(get_profile("rl_rehearsal"))} == {"drq", "rainbow", "bbf"}


def test_profiles_go_by_both_names_and_repeats_and_reading_by_request():
    assert profile_of("mini").name == profile_of("rl").name == "rl" and profile_of("paper").name == "rl_paper"
    assert len(grid(profile_of("quick", repeats=3))) == 3 * len(grid(profile_of("rl_quick")))
    readings = {run.reading for run in grid(profile_of("mini", reading="text"))}
    assert readings == {"text"}
    assert every_study.grid(get_profile("rl_quick")) == grid(get_profile("rl_quick"))
    with pytest.raises(ValueError, match="profile 'imagenet' plays no games; profiles that do: rl, rl_quick"):
        study(profile_of("imagenet"))
