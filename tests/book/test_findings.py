"""The committed findings are what their functions say of the committed runs and tables."""

from functools import cache, partial
from pathlib import Path

import pandas as pd
import pytest

from plasticity.analysis.frames import only
from plasticity.analysis.sentences import sentence
from plasticity.studies.main_paper import findings as main_paper

REFERENCE = Path(__file__).resolve().parents[2] / "reference"
NETWORKS = {"10": "mini_simplenet", "11": "mini_resnet", "12": "mini_vit"}


@cache
def table(name: str) -> pd.DataFrame:
    return pd.read_csv(REFERENCE / f"{name}.csv", dtype=str, keep_default_na=False)


@cache
def runs(name: str) -> pd.DataFrame:
    return pd.read_csv(REFERENCE / f"{name}.csv", low_memory=False)


def of_network(frame: pd.DataFrame, number: str, name: str) -> dict:
    here = only(frame, architecture=name)
    return {number: partial(main_paper.network, here, name), f"{number}_all": partial(main_paper.methods, here)}


def of_grid(folder: str) -> dict:
    """The findings of notebooks 00, 20 and 30, by name, as functions without arguments."""
    frame, tables = runs(f"{folder}runs"), f"{folder}tables/20_"
    return {
        "00": partial(main_paper.transfer, frame),
        "20": partial(main_paper.analysis, frame),
        "20_tests": partial(main_paper.tests, frame),
        "20_beside": partial(main_paper.beside, table(f"{tables}beside_paper")),
        "20_contradictions": partial(main_paper.contradictions, table(f"{tables}contradictions")),
        "30": partial(main_paper.spreads, frame),
    }


MINI = of_grid("") | {
    "41": partial(main_paper.judged, table("checks/41_claims")),
    "41_chance": partial(main_paper.chance, table("checks/41_best_2")),
    "41_published": partial(main_paper.selection, table("checks/41_published_together")),
}
for chapter, architecture in NETWORKS.items():
    MINI |= of_network(runs("runs"), chapter, architecture)
IMAGENET = of_grid("imagenet/") | of_network(runs("imagenet/runs"), "13", "efficientnet_lite0")
COMMITTED = {f"findings/{name}": say for name, say in MINI.items()}
COMMITTED |= {f"imagenet/findings/{name}": say for name, say in IMAGENET.items()}


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_finding_is_what_its_function_says(name):
    text = "".join(f"{sentence(line)}\n" for line in COMMITTED[name]())
    assert (REFERENCE / f"{name}.md").read_text("utf-8") == text


def test_no_other_finding_is_committed():
    """Figure 1's is made from the records' histograms, which are not committed."""
    there = {path.relative_to(REFERENCE).with_suffix("").as_posix() for path in REFERENCE.rglob("findings/*.md")}
    assert {name for name in there if not name.endswith("/30_figure1")} == set(COMMITTED)
