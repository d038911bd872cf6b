"""The committed results of the games are what the committed runs say."""

from pathlib import Path

import pandas as pd
import pytest

from plasticity.analysis.sentences import sentence
from plasticity.studies.rl import claims, findings, tables
from plasticity.studies.rl.runs import LIKE, grid, profile_of

REFERENCE = Path(__file__).resolve().parents[3] / "reference"
TABLES = {
    "learned": tables.learned,
    "scores": tables.by_game,
    "statistics": lambda table: tables.beside_table_1(table, LIKE),
    "pairs": tables.paired,
    "claims": claims.claims,
    "table_8": lambda table: tables.recomputed(),
    "noise": lambda table: tables.noise(),
}


@pytest.fixture(scope="module")
def runs():
    return pd.read_csv(REFERENCE / "rl/runs_56.csv")


def test_every_run_of_the_grid_is_there(runs):
    assert len(runs) == len(grid(profile_of("mini"))) == 110
    assert set(zip(runs.game, runs.seed, strict=True)) == {(run.dataset, run.seed) for run in grid(profile_of("mini"))}


@pytest.mark.parametrize("name", TABLES)
def test_a_committed_table_is_what_its_function_says(runs, name):
    committed = pd.read_csv(REFERENCE / f"rl/56_{name}.csv", dtype=str, keep_default_na=False)
    assert TABLES[name](runs).to_dict("list") == committed.to_dict("list")


def test_the_committed_findings_are_what_their_functions_say(runs):
    said = {"56": findings.answer(runs), "56_regime": findings.regime(runs), "56_noise": findings.five_seeds()}
    for name, lines in said.items():
        text = (REFERENCE / f"findings/{name}.md").read_text("utf-8")
        assert text == "".join(f"{sentence(line)}\n" for line in lines)


def test_the_agents_learn_in_every_game(runs):
    assert set(tables.learned(runs).Learns) == {"yes"}
