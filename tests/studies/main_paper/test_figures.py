"""The figures of the evidence show what the tables hold, survive gaps, and let no text be cut off."""

import math

import numpy as np
import pandas as pd
import pytest
from helpers import assert_legible, world
from matplotlib.figure import Figure

from plasticity.analysis import evidence, figures
from plasticity.analysis.evidence import MEAN_CASES
from plasticity.analysis.power import GAINS, power_table
from plasticity.studies.main_paper import figures as claim_figures
from plasticity.studies.main_paper import findings

pytestmark = pytest.mark.filterwarnings("error")
NETWORKS = {"network 000": "mini_simplenet", "network 001": "mini_resnet", "network 002": "mini_vit"}
COLUMNS = ("claim", "effect", "low", "high", "n", "unit", "verdict")
NAN = math.nan
ROWS = [
    ("Re-initialised networks are more accurate, whatever the architecture", 0.2, -0.4, 0.8, 45, "points", "undecided"),
    ("N damages the network", -20.8, -23.8, -17.6, 45, "points", "supported"),
    ("Training takes fewer epochs", 0.4, 0.1, 0.7, 9, "epochs", "contradicted"),
    ("M and MN differ by less than a point", 0.1, NAN, NAN, 1, "points", "not supported"),
    ("Dead units come back to life", NAN, NAN, NAN, 0, "share", "not tested"),
]


def rng():
    return np.random.default_rng(0)


def claims(rows):
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture(scope="module")
def frame():
    runs = world(3, cases=MEAN_CASES, effects={"10M": 20.0})
    return runs.assign(architecture=runs.architecture.map(NETWORKS), dataset="elpv")


@pytest.fixture(scope="module")
def drawn(frame):
    best, gaps = (evidence.best_of(part, rng(), MEAN_CASES, 199) for part in (frame, frame.assign(status="failed")))
    effects = findings.effects(frame.assign(case=frame.case.replace({"5M": "25N", "5MN": "biases"})))
    chances = power_table(frame, rng(), 199)
    tables = {
        claim_figures.by_chance: [best, gaps, best[:0]],
        claim_figures.powers: [chances, chances.assign(power=NAN), chances[:0]],
        claim_figures.effects: [{"mini": effects, "imagenet": effects[:3]}, {"mini": effects.assign(low=NAN)}],
        claim_figures.verdicts: [claims(ROWS), claims([]), claims(ROWS[-1:])],
    }
    return [(f"{draw.__name__} {i}", draw(table)) for draw, each in tables.items() for i, table in enumerate(each)]


def test_every_figure_is_legible_no_wider_than_a_phone_and_saved(drawn, tmp_path):
    for name, figure in drawn:
        assert isinstance(figure, Figure) and figure.get_figwidth() / figures.CM <= 12.01, name
        assert_legible(figure, smallest=8, name=name)
        assert all(path.stat().st_size for path in figures.save(figure, tmp_path, name))


def test_by_chance_draws_the_gain_beside_its_null(frame):
    table = evidence.best_of(frame, rng(), MEAN_CASES, draws=199)
    table.loc[1, ["gain", "p"]] = table.median_by_chance[1], 0.5
    ax = claim_figures.by_chance(table).axes[0]
    bars = [each for each in ax.collections if each.get_label() == "by chance, median to 95%"]
    ends = sorted(tuple(segment[:, 0]) for bar in bars for segment in bar.get_segments())
    assert ends == sorted(zip(table.median_by_chance, table.high_by_chance, strict=True))
    dots = {line.get_label(): list(line.get_xdata()) for line in ax.lines if not line.get_label().startswith("_")}
    assert dots == {"best case": [table.gain[1]], "best case, beyond chance": [table.gain[0], table.gain[2]]}
    assert [text.get_text() for text in ax.texts] == [f"{row.best}\np = {row.p:.2g}" for row in table.itertuples()]
    assert ax.get_yticklabels()[0].get_text() == "miniature SimpleNet\nsolar cells (mirrors Brain Tumor)"
    assert ax.get_title() == "best of 6 cases, n = 5 seeds"


def test_powers_has_a_panel_for_each_n_and_a_thick_median(frame):
    table = power_table(frame, rng(), 199)
    for ax, n in zip(claim_figures.powers(table).axes, (5, 10), strict=True):
        assert ax.get_title() == f"n = {n} runs a side\n3 cells"
        for test, (title, _, _) in claim_figures.TESTS.items():
            (line,) = (each for each in ax.lines if each.get_label() == title)
            here = table[(table.n == n) & (table.test == test)]
            medians = [100 * here[here.gain == gain].power.median() for gain in GAINS]
            assert list(line.get_ydata()) == pytest.approx(medians)


def test_verdicts_write_effect_and_interval_or_the_verdict_alone():
    points, _, share = claim_figures.verdicts(claims(ROWS)).axes
    written = ["+0.20\n[-0.40, +0.80]", "-20.80\n[-23.80, -17.60]", "+0.10"]
    assert [text.get_text() for text in points.texts] == written
    assert [text.get_text() for text in share.texts] == ["not tested"]
    assert claim_figures.verdicts(claims([])).get_supxlabel() == "No claims."


def test_effects_are_drawn_mild_ones_above_and_large_ones_below(frame):
    effects = findings.effects(frame.assign(case=frame.case.replace({"5M": "25N", "5MN": "biases"})))
    above, below = claim_figures.effects({"mini": effects}).axes
    labels = [[text.get_text() for text in ax.get_yticklabels()] for ax in (above, below)]
    assert labels == [["10 M", "10 MN", "25 M", "25 MN", "Biases"], ["25 N"]]
    dots = [line for line in above.lines if line.get_marker() == "o"]
    assert dots[0].get_xdata()[0] == pytest.approx(effects.set_index("case")["mean"]["10M"])
    assert above.get_title() == "profile mini\nn = 15 pairs a case"
