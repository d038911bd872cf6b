"""The figures of the sensitivity study show what its tables hold."""

import numpy as np
import pandas as pd
import pytest
from helpers import assert_legible

from plasticity.analysis import figures
from plasticity.studies.sensitivity import figures as sensitivity_figures
from plasticity.studies.sensitivity.runs import LEVELS, OWN

pytestmark = pytest.mark.filterwarnings("error")
EFFECTS = pd.DataFrame(
    [(OWN, "", 4, 0.5, -1, 2), *((*level, 3, i / 4, i / 4 - 1, i / 4 + 1) for i, level in enumerate(LEVELS))],
    columns=["factor", "level", "n", "mean", "low", "high"],
).assign(p_holm=[np.nan, 0.01] + [0.5] * (len(LEVELS) - 1))
PARTS = pd.DataFrame(
    [
        ("10M minus base", 2, 1.0, 0.0, 2.0, 0.5),
        ("epochs, both", 2, 9.0, 8.0, 10.0, 0.5),
        ("one pair", 1, 1.0, np.nan, np.nan, np.nan),
    ],
    columns=["compared", "n", "mean", "low", "high", "spread"],
)


def labels(ax):
    return [text.get_text().replace("\u00a0", " ").replace("\n", " ") for text in ax.get_yticklabels()]


def test_effects_have_a_row_for_each_level_and_the_default_as_a_band():
    figure = sensitivity_figures.effects(EFFECTS, "12 runs")
    (ax,) = figure.axes
    assert labels(ax) == [f"{factor}: {level} (n = 3)" for factor, level in LEVELS] and ax.get_title() == "12 runs"
    (band,) = (patch for patch in ax.patches if patch.get_gid() == "band")
    assert (band.get_x(), band.get_width()) == (-1, 3) and "own setting (n = 4)" in figure.get_supxlabel()
    changed = {line.get_color(): len(line.get_xdata()) for line in ax.lines if line.get_marker() == "o"}
    assert changed == {figures.RED: 1, figures.BLUE: len(LEVELS) - 1}
    assert_legible(figure)


def test_parts_and_flattery():
    figure = sensitivity_figures.parts(PARTS)
    thin = [segment[:, 0].tolist() for segment in figure.axes[0].collections[0].get_segments()[:2]]
    assert thin == [[0.5, 1.5], [8.5, 9.5]] and len(labels(figure.axes[0])) == 3
    figure = sensitivity_figures.flattery(PARTS)
    assert labels(figure.axes[0]) == ["10M minus base (n = 2)", "one pair (n = 1)"], "epochs are no points"
    assert figure.get_figwidth() / figures.CM <= 12.01
