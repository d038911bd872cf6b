"""Tables, verdicts, findings and figures of the games, on scores made by hand."""

import numpy as np
import pandas as pd
import pytest

from plasticity.analysis.figures import save
from plasticity.studies.rl import claims, figures, findings, tables
from plasticity.studies.rl.runs import LIKE, PLAIN, RANDOM, profile_of, study

GAMES = ("minatar_breakout", "minatar_space_invaders")
MEANS = {  # row, replay ratio: scores of Breakout and Space Invaders
    (RANDOM, 1): (0.0, 4.0),
    ("no slow copy", 1): (5.0, 12.0),
    (PLAIN, 1): (4.0, 14.0),
    ("Hare & Tortoise", 1): (4.0, 14.0),
    ("EMA, fresh optimiser", 1): (4.0, 14.0),
    ("EMA, head reset", 1): (6.0, 24.0),
    ("EMA, S&P", 1): (2.0, 9.0),
    (PLAIN, 4): (4.0, 14.0),
    ("Hare & Tortoise", 4): (8.0, 24.0),
}
JITTER = np.array([-0.2, -0.1, 0.0, 0.1, 0.2])


def record(score, failed=False):
    if failed:
        return {"status": "failed", "seconds": 1.0}
    metrics = {"score": score, "score_sd": 1.0, "test_episodes": 4, "capped": 0, "updates": 10, "epochs": 2}
    history = [{"epoch": i + 1, "steps": 10 * i, "train_score": score - 1 + i, "games": 3} for i in range(2)]
    return {"status": "done", "metrics": metrics | {"train_score": score}, "seconds": 2.0, "history": history}


@pytest.fixture(scope="module")
def done():
    rows = {key: runs for key, runs in study(profile_of("mini")).items() if key in MEANS}
    rng, records = np.random.default_rng(0), {}
    for key, runs in rows.items():
        for game, mean in zip(GAMES, MEANS[key], strict=True):
            here = [run for run in runs if run.dataset == game]
            for run, shift in zip(here, rng.permutation(JITTER), strict=True):
                records[run] = record(mean + shift)
    return rows, records


@pytest.fixture(scope="module")
def table(done):
    return tables.frame(*done)


def test_scores_are_normalised_by_random_play_and_the_plain_row_of_the_same_game(table):
    means = table.groupby(["row", "replay", "game"]).normalised.mean()
    assert means[RANDOM, 1].tolist() == pytest.approx([0, 0]) and means[PLAIN, 1].tolist() == pytest.approx([1, 1])
    assert means["EMA, head reset", 1].tolist() == pytest.approx([1.5, 2.0])
    assert means["EMA, S&P", 1].tolist() == pytest.approx([0.5, 0.5])
    assert list(table.columns) == tables.COLUMNS and len(table) == 9 * 2 * 5


def test_atari_is_normalised_by_the_human(table):
    atari = table.head(2).assign(game=["atari_pong", "atari_kung_fu_master"], score=[14.6, 258.5])
    zero, one = tables.references(atari)
    assert (zero["atari_pong"], one["atari_pong"]) == (-20.7, 14.6) and one["atari_kung_fu_master"] == 22736.3
    assert {f"atari_{name}" for name in ("up_n_down", "ms_pacman", "private_eye", "jamesbond")} <= set(one)
    assert all(game in one for game in profile_of("paper").datasets)


def test_a_failed_run_is_no_number(done):
    rows, records = done
    lost = rows[PLAIN, 1][0]
    table = tables.frame(rows, records | {lost: record(0, failed=True)})
    assert len(table) == 89 and table.score.notna().all()


def test_differences_are_paired_by_game_and_seed(table):
    found = tables.difference(table, "EMA, head reset", PLAIN, 1)
    assert found.n == 10 and found.mean == pytest.approx(0.75) and found.low > 0.5
    by_hand = []
    for game, scale in zip(GAMES, (4, 10), strict=True):
        part = table[(table.game == game) & (table.replay == 1)].set_index(["row", "seed"]).score
        by_hand.append(((part["EMA, head reset"] - part[PLAIN]) / scale).mean())
    assert found.mean == pytest.approx(np.mean(by_hand), abs=0.02)
    assert tables.difference(table, "Hare & Tortoise", PLAIN, 4).mean == pytest.approx(1.0)
    assert tables.difference(table, "nobody", PLAIN, 1).n == 0


def test_verdicts_follow_the_rule(table):
    says = claims.verdicts(table)
    assert says["head_reset_helps"] == "supported" and says["shrink_perturb_harms"] == "supported"
    assert says["ht_helps_drq"] in ("not supported", "undecided")
    untested = {key for key, verdict in says.items() if verdict == "not tested"}
    assert untested == {"head_reset_best", "ht_with_resets", "ht_helps_bbf", "ssl_ahead"}
    shown = claims.claims(table)
    assert len(shown) == len(says) + 1  # one claim has two lines
    assert shown.Verdict.tolist().count("supported") == 2


def test_a_head_reset_that_is_only_its_optimiser_is_not_called_one(table):
    same = table.row.map({"EMA, fresh optimiser": "EMA, head reset", "EMA, head reset": "EMA, fresh optimiser"})
    swapped = table.assign(row=same.fillna(table.row))
    assert claims.verdicts(swapped)["head_reset_helps"] == "contradicted"


def test_what_is_not_learned_is_said(table):
    assert tables.learned(table).Learns.tolist() == ["yes", "yes"]
    assert "learns clearly in Breakout (MinAtar) and Space Invaders (MinAtar)" in findings.regime(table)[0]
    lame = table.assign(score=table.score.where(table.row != "no slow copy", 3.9))
    assert tables.learned(lame).Learns.tolist() == ["yes", "no"]
    assert "does not learn clearly in Space Invaders (MinAtar)" in findings.regime(lame)[0]


def test_findings_say_what_the_intervals_say(table):
    said = findings.answer(table)
    assert said[0].startswith("Hare & Tortoise ") and "EMA, head reset is ahead of EMA" in said[1]
    assert "EMA, S&P is behind EMA" in said[2] and "of the 7 claims" in said[3]
    five = findings.five_seeds()
    assert "p = 0.128" in five[0] and "p = 0.002" in five[0] and "p = 0.009" in five[1]


def test_tables_show_n_and_what_table_1_printed(table):
    games = tables.by_game(table)
    assert games.loc[games.Row == "EMA, head reset, RR 1", "Breakout (MinAtar)"].item() == "6.00 ± 0.16"
    beside = tables.beside_table_1(table, LIKE).set_index("Row")
    assert beside.loc["Hare & Tortoise, RR 1", "IQM There"] == "0.287" and beside.loc[RANDOM, "IQM There"] == "-"
    assert set(beside.n) == {"10"}
    paired = tables.paired(table).set_index("Row")
    assert paired.loc["EMA, head reset, RR 1", "Higher"] == "10 of 10"
    assert list(paired.index) == [f"{row}, RR {ratio}" for row, ratio in list(MEANS)[1:] if row != PLAIN]
    assert tables.recomputed().shape == (9, 5) and tables.noise().shape == (4, 7)


@pytest.mark.parametrize("rows", ["all", "none", "one seed"])
def test_figures_are_drawn_of_whatever_there_is(table, done, tmp_path, rows):
    chosen = {"all": table, "none": table.iloc[:0], "one seed": table[table.seed == 10]}[rows]
    history = tables.histories(*done) if rows == "all" else tables.histories({}, {})
    drawn = [figures.scores(chosen), figures.statistics(chosen), figures.pairs(chosen), figures.replay_ratios(chosen)]
    drawn += [figures.curves(history, chosen), figures.published_noise()]
    for number, figure in enumerate(drawn):
        assert all(path.stat().st_size for path in save(figure, tmp_path, str(number)))


def test_histories_have_a_row_for_each_epoch(done):
    history = tables.histories(*done)
    assert len(history) == 2 * 90 and set(history.columns) == {"row", "replay", "game", "seed", "steps", "train_score"}
    assert isinstance(history, pd.DataFrame) and history.train_score.dtype == float
