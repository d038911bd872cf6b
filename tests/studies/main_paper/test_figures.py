"""The figures of the evidence show what the tables hold, survive gaps, and let no text be cut off."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from test_evidence import world

from plasticity.analysis import evidence, figures
from plasticity.analysis.power import power_table
from plasticity.studies.main_paper import figures as claim_figures

pytestmark = pytest.mark.filterwarnings("error")
NETWORKS = {"network 000": "mini_simplenet", "network 001": "mini_resnet", "network 002": "mini_vit"}
ROWS = [
    ("Re-initialised networks are more accurate, whatever the architecture", 0.2, -0.4, 0.8, 45, "points", "undecided"),
    ("N damages the network", -20.8, -23.8, -17.6, 45, "points", "supported"),
    ("Training takes fewer epochs", 0.4, 0.1, 0.7, 9, "epochs", "contradicted"),
    ("M and MN differ by less than a point", 0.1, math.nan, math.nan, 1, "points", "not supported"),
    ("Dead units come back to life", math.nan, math.nan, math.nan, 0, "share", "not tested"),
]


def rng():
    return np.random.default_rng(0)


def claims(rows=ROWS):
    return pd.DataFrame(rows, columns=claim_figures.COLUMNS)


@pytest.fixture(scope="module")
def frame():
    runs = world(3, cases=evidence.TO_MEAN, effects={"10M": 20.0})
    return runs.assign(architecture=runs.architecture.map(NETWORKS), dataset="elpv")


@pytest.fixture(scope="module")
def drawn(frame):
    best, chances = (
        function(part, rng(), draws=199) for function, part in ((evidence.best_of, frame), (power_table, frame))
    )
    gaps = evidence.best_of(frame.assign(status="failed"), rng())
    return {
        "chance": claim_figures.by_chance(best),
        "powers": claim_figures.powers(chances),
        "verdicts": claim_figures.verdicts(claims()),
        "chance, gaps": claim_figures.by_chance(gaps),
        "powers, gaps": claim_figures.powers(chances.assign(power=math.nan)),
        "chance, empty": claim_figures.by_chance(best[:0]),
        "powers, empty": claim_figures.powers(chances[:0]),
        "verdicts, empty": claim_figures.verdicts(claims([])),
        "one verdict": claim_figures.verdicts(claims(ROWS[-1:])),
    }


def test_every_figure_is_saved_no_wider_than_a_phone_can_show(drawn, tmp_path):
    for name, figure in drawn.items():
        assert isinstance(figure, Figure) and figure.get_figwidth() / figures.CM <= 12.01, name
        assert to_hex(figure.get_facecolor()) == "#ffffff"
        assert min(text.get_size() for text in figure.findobj(Text) if text.get_text()) >= 8
    assert all(
        path.stat().st_size
        for name in ("chance", "verdicts, empty")
        for path in figures.save(drawn[name], tmp_path, name)
    )


def test_no_text_is_cut_off_or_covers_another(drawn):
    for name, figure in drawn.items():
        with figures.style():
            figure.draw_without_rendering()
        texts = [text for legend in figure.legends for text in legend.get_texts()] + [figure._supxlabel]
        for ax in figure.axes:
            texts += [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
            for axis in (ax.xaxis, ax.yaxis):
                low, high = sorted(axis.get_view_interval())
                inside = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
                texts += inside if axis is ax.xaxis or ax.get_subplotspec().is_first_col() else []
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
        width, height = figure.bbox.size
        assert not [
            text for text, box in boxes if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
        ], name
        assert not [
            (a, b) for (a, one), (b, two) in itertools.combinations(boxes, 2) if one.padded(-1).overlaps(two.padded(-1))
        ], name


def test_by_chance_draws_the_gain_beside_its_null(frame):
    table = evidence.best_of(frame, rng(), evidence.TO_MEAN, draws=199)
    table.loc[1, ["gain", "p"]] = table.median_by_chance[1], 0.5
    ax = claim_figures.by_chance(table).axes[0]
    (bars,) = (each for each in ax.collections if each.get_label() == "by chance, median to 95%")
    ends = [tuple(segment[:, 0]) for segment in bars.get_segments()]
    assert ends == list(zip(table.median_by_chance, table.high_by_chance, strict=True))
    dots = {line.get_label(): list(line.get_xdata()) for line in ax.lines if not line.get_label().startswith("_")}
    assert dots == {"best case": [table.gain[1]], "best case, beyond chance": [table.gain[0], table.gain[2]]}
    assert [text.get_text() for text in ax.texts] == [f"{row.best}\np = {row.p:.2g}" for row in table.itertuples()]
    assert [label.get_text() for label in ax.get_yticklabels()][
        0
    ] == "miniature SimpleNet\nsolar cells (mirrors Brain Tumor)"
    assert ax.get_title() == "best of 6 cases, n = 5 seeds" and ax.yaxis_inverted()


def test_powers_has_a_panel_for_each_n_and_a_thick_median(frame):
    table = power_table(frame, rng(), (1, 3), draws=199)
    for ax, n in zip(claim_figures.powers(table).axes, (5, 10), strict=True):
        assert ax.get_title() == f"n = {n} runs a side\n3 cells"
        for test, (title, _, _) in claim_figures.TESTS.items():
            (line,) = (each for each in ax.lines if each.get_label() == title)
            here = table[(table.n == n) & (table.test == test)]
            assert list(line.get_ydata()) == pytest.approx(
                [100 * here[here.gain == gain].power.median() for gain in (1, 3)]
            )


def test_verdicts_have_a_panel_for_each_unit_and_a_colour_and_mark_each():
    figure = claim_figures.verdicts(claims())
    assert [ax.get_xlabel() for ax in figure.axes] == ["points", "epochs", "share"]
    points, epochs, share = figure.axes
    marks = [line for line in points.lines if line.get_marker() not in (None, "None", "")]
    assert [line.get_xdata()[0] for line in marks] == [0.2, -20.8, 0.1]
    expected = [claim_figures.VERDICTS[row[-1]] for row in ROWS if row[5] == "points"]
    assert [(line.get_color(), line.get_marker()) for line in marks] == expected
    intervals = [line for each in points.collections if each.get_gid() == "interval" for line in each.get_segments()]
    ends = [tuple(line[:, 0]) for line in intervals if len(line)]
    assert ends == [(-0.4, 0.8), (-23.8, -17.6)]
    assert [text.get_text() for text in points.texts] == ["+0.20\n[-0.40, +0.80]", "-20.80\n[-23.80, -17.60]", "+0.10"]
    assert [text.get_text() for text in share.texts] == ["not tested"]
    assert epochs.get_yticklabels()[0].get_text() == "Training takes fewer epochs\n(n\u00a0=\u00a09)"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(claim_figures.VERDICTS)
    assert (
        len({mark for _, mark in claim_figures.VERDICTS.values()})
        == len({c for c, _ in claim_figures.VERDICTS.values()})
        == 5
    )


def test_an_unknown_verdict_is_an_error():
    with pytest.raises(ValueError, match=r"\['maybe'\] are unknown; allowed: supported, not supported"):
        claim_figures.verdicts(claims([(*ROWS[0][:-1], "maybe")]))
