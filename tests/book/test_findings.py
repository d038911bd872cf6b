"""The committed findings are what their functions say of the committed runs and tables."""

import re
from functools import cache, partial
from pathlib import Path

import pandas as pd
import pytest

from plasticity.analysis.frames import only
from plasticity.analysis.sentences import sentence
from plasticity.studies.audit import findings as audit
from plasticity.studies.companions import findings as companions
from plasticity.studies.interactive import own, playground
from plasticity.studies.main_paper import findings as main_paper
from plasticity.studies.method import findings as method
from plasticity.studies.sensitivity import findings as sensitivity

REFERENCE = Path(__file__).resolve().parents[2] / "reference"
# of histograms, which are not committed; of games, whose own tests hold them
MADE_ELSEWHERE = re.compile(r"/(30_figure1|56\w*)$")
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


def of_transfer(folder: str) -> dict:
    return {
        "54": partial(companions.transfer, table(f"{folder}companions/54_ranking")),
        "54_combinations": partial(companions.together, table(f"{folder}companions/54_combinations")),
    }


RACE = only(runs("runs"), architecture="mini_resnet", dataset="elpv", seed=0)
CONTINUAL = "of the {} claims of Lee et al. about continual learning"
MINI = (
    of_grid("")
    | of_transfer("")
    | {
        "05": partial(method.answer, table("tables/05_movements"), table("tables/05_means")),
        "40": partial(audit.runs, table("checks/40_runs")),
        "40_sizes": partial(audit.sizes, table("checks/40_sizes")),
        "40_stated": partial(audit.stated, table("checks/40_table6"), table("checks/40_sentences")),
        "40_p_values": partial(audit.p_values, table("checks/40_p_values")),
        "40_trust": partial(audit.trust, table("checks/40_claims")),
        "42": partial(sensitivity.effects, table("checks/42_effects")),
        "42_by_network": partial(sensitivity.networks, table("checks/42_by_network")),
        "42_parts": partial(sensitivity.parts, table("checks/42_parts")),
        "42_flattery": partial(sensitivity.flattery, table("checks/42_flattery")),
        "45": partial(playground.found, RACE[RACE.case.isin(["base", "25M"])]),
        "46": partial(own.found, table("checks/46_verdict")),
        "50": partial(companions.warm_start, table("companions/50_claims")),
        "50_methods": partial(companions.against, table("companions/50_methods")),
        "50_remedies": partial(companions.against, table("companions/50_remedies"), "L2 and augmentation alone"),
        "50_lengths": partial(companions.lengths, table("companions/50_lengths")),
        "51": partial(companions.continual, table("companions/51_full"), table("companions/51_limited")),
        "51_claims": partial(companions.judged, table("companions/51_claims"), CONTINUAL),
        "52": partial(companions.rescaling, table("companions/52_differences")),
        "52_claims": partial(companions.judged, table("companions/52_claims"), "of the {} claims of Oh et al."),
        "53": partial(companions.metrics, table("companions/53_claims")),
        "55": partial(companions.lengths, table("companions/55_lengths")),
        "41": partial(main_paper.judged, table("checks/41_claims")),
        "41_chance": partial(main_paper.chance, table("checks/41_best_2")),
        "41_published": partial(main_paper.selection, table("checks/41_published_together")),
    }
)
for chapter, architecture in NETWORKS.items():
    MINI |= of_network(runs("runs"), chapter, architecture)
IMAGENET = (
    of_grid("imagenet/") | of_transfer("imagenet/") | of_network(runs("imagenet/runs"), "13", "efficientnet_lite0")
)
COMMITTED = {f"findings/{name}": say for name, say in MINI.items()}
COMMITTED |= {f"imagenet/findings/{name}": say for name, say in IMAGENET.items()}


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_finding_is_what_its_function_says(name):
    text = "".join(f"{sentence(line)}\n" for line in COMMITTED[name]())
    assert (REFERENCE / f"{name}.md").read_text("utf-8") == text


def test_no_other_finding_is_committed():
    there = {path.relative_to(REFERENCE).with_suffix("").as_posix() for path in REFERENCE.rglob("findings/*.md")}
    assert {name for name in there if not MADE_ELSEWHERE.search(name)} == set(COMMITTED)
