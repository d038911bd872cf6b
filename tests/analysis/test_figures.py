"""Figures show what the frames hold, every run of it, survive incomplete frames, and save byte-equal."""

import itertools
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from plasticity.analysis import figures, verdict
from plasticity.profiles import CASES, CONTROL_CASES
from plasticity.training.measures import HISTOGRAM_EDGES as EDGES

ALL_CASES = (*CASES, *CONTROL_CASES)
FRUITS = "fruits (mirrors Fruit25)"


@pytest.fixture(scope="module")
def frame():
    """2 architectures x 2 data sets x 15 cases x 3 seeds; 25N of mini_vit failed with seed 0."""
    rng = np.random.default_rng(0)
    keys = itertools.product(("mini_vit", "mini_simplenet"), ("fruits", "photos"), ALL_CASES, range(3))
    rows = pd.DataFrame(list(keys), columns=["architecture", "dataset", "case", "seed"])
    rows["accuracy"], rows["epochs"] = rng.uniform(0.5, 0.9, len(rows)), rng.integers(5, 20, len(rows)).astype(float)
    failed = (rows.architecture == "mini_vit") & (rows.case == "25N") & (rows.seed == 0)
    rows["status"] = np.where(failed, "failed", "done")
    rows.loc[failed, ["accuracy", "epochs"]] = np.nan
    return rows


def history(accuracies, case="base", seed=0):
    rows = pd.DataFrame({"epoch": range(1, len(accuracies) + 1), "validation_accuracy": accuracies})
    return rows.assign(architecture="mini_vit", dataset="fruits", case=case, seed=seed)


def drawn(ax, gid):
    return [c for c in ax.collections if c.get_gid() == gid]


def dots(ax):
    return np.concatenate([c.get_offsets() for c in drawn(ax, "runs")]) if drawn(ax, "runs") else np.empty((0, 2))


def select(frame, ax):
    title = ax.get_title()
    names = "mini_vit" if "ViT" in title else "mini_simplenet", "fruits" if "fruits" in title else "photos"
    return frame[(frame.architecture == names[0]) & (frame.dataset == names[1])]


@pytest.mark.parametrize(
    ("draw", "column", "scale"), [(figures.accuracy_by_case, "accuracy", 100), (figures.epochs_by_case, "epochs", 1)]
)
def test_by_case_shows_every_run_and_the_means(frame, draw, column, scale):
    figure = draw(frame)
    assert len(figure.axes) == 4
    for ax in figure.axes:
        rows = select(frame, ax)
        done = rows[rows.status == "done"]
        assert sorted(dots(ax)[:, 1]) == pytest.approx(sorted(scale * done[column]))
        for x, case in zip(ax.get_xticks(), ALL_CASES, strict=True):
            bars = [bar.get_segments()[0] for bar in drawn(ax, "mean")]
            (height,) = [b[0, 1] for b in bars if abs(b[:, 0].mean() - x) < 1e-9]
            assert height == pytest.approx(scale * done[done.case == case][column].mean())
        dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
        assert dashed[0].get_ydata()[0] == pytest.approx(scale * done[done.case == "base"][column].mean())
        assert [t.get_text() for t in ax.texts] == ["1 failed"] * (len(done) < len(rows))


def test_panels_are_ordered_titled_and_labelled(frame):
    axes = figures.accuracy_by_case(frame).axes
    names, datasets = ("miniature SimpleNet, n = 3", "miniature ViT, n = 2 to 3"), ("photographs (mirrors DTD)", FRUITS)
    assert [ax.get_title() for ax in axes] == [f"{name}\n{title}" for name in names for title in datasets]
    assert axes[0].get_ylabel() == "test accuracy (%)" and axes[2].get_xlabel() == "case"
    assert [label.get_text() for label in axes[2].get_xticklabels()] == list(ALL_CASES)
    steps = np.diff(axes[0].get_xticks())
    assert steps[len(CASES) - 1] > 1 and set(np.delete(steps, len(CASES) - 1)) == {1}  # controls set apart


def test_figure1_draws_densities_and_their_absolute_difference():
    draws = np.random.default_rng(1)
    base, case = (np.histogram(draws.normal(0, s, 5000).clip(-4, 4), EDGES)[0] for s in (0.05, 1))
    axes = figures.figure1(base, case, EDGES, "25N").axes
    one, two, difference = (ax.patches[0].get_data().values for ax in axes[:3])
    assert (one * np.diff(EDGES)).sum() == pytest.approx(1) == (two * np.diff(EDGES)).sum()
    assert one == pytest.approx(base / 5000 / np.diff(EDGES))
    assert difference == pytest.approx(abs(one - two)) and difference.max() > 1
    assert np.array_equal([patch.get_data().values for patch in axes[3].patches], [one, two])
    colours = [ax.patches[0].get_facecolor()[:3] for ax in axes[:3]]
    assert colours == [to_rgba(colour)[:3] for colour in (figures.BLUE, figures.GREEN, figures.RED)]
    assert len({(*ax.get_xlim(), *ax.get_ylim()) for ax in axes}) == 1
    assert axes[0].get_xlim()[1] > 3  # N(0,1) stays in view
    assert figures.figure1(base, base[::-1], EDGES, "25M").axes[0].get_xlim()[1] < 0.4
    assert "n = 5,000" in axes[0].get_title()


def test_weights_before_after_counts_what_lies_outside():
    before, after = np.full(100, 0.01), np.r_[np.full(90, 0.01), np.full(10, 9.0)]
    axes = figures.weights_before_after(before, {"10N": after, "10M": before, "5M": before}).axes
    assert [ax.get_title() for ax in axes if ax.get_visible()] == ["10N, n = 100", "10M, n = 100", "5M, n = 100"]
    values = axes[0].patches[1].get_data().values
    assert values[-1] * np.diff(EDGES)[-1] == pytest.approx(0.1)
    assert "25N, n = 100" in figures.weights_before_after(before, after, "25N").axes[0].get_title()


def test_convergence_carries_stopped_runs_forward():
    histories = pd.concat([history([0.2, 0.4]), history([0.4, 0.6, 0.6, 1.0], seed=1), history([0.1] * 3, "10M")])
    figure = figures.convergence(histories)
    (ax,) = figure.axes
    curves = {line.get_label(): line.get_ydata() for line in ax.lines if not line.get_label().startswith("_")}
    assert curves["base"] == pytest.approx([30, 50, 50, 70]) and curves["10M"] == pytest.approx([10] * 4)
    markers = [line for line in ax.lines if line.get_label().startswith("_")]
    assert [(m.get_xdata()[0], m.get_ydata()[0]) for m in markers] == [pytest.approx((3, 50)), pytest.approx((3, 10))]
    band = ax.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((20, 100))
    assert "carried forward" in " ".join(figure.get_supxlabel().split())
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["base", "10M"]


def test_resets_by_layer_draws_weights_in_forward_order():
    def row(name, kind, reset):
        return {"name": name, "kind": kind, "size": 50, "reset": reset}

    one = [row("stem.weight", "weight", 5), row("stem.bias", "bias", 50), row("head.weight", "weight", 10)]
    ax = figures.resets_by_layer({"scope tensor": one, "scope global": one[:1]}).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["stem", "head"]
    assert [list(line.get_xdata()) for line in ax.lines] == [[10, 20], [10]]
    assert ax.yaxis_inverted() and "100 weights" in ax.get_title()


def test_long_layer_names_stay_short_and_distinct():
    parts = itertools.product(range(12), ("in", "out"))
    names = [f"encoder.layers.encoder_layer_{i}.self_attention.{part}_proj.weight" for i, part in parts]
    short = [figures.abbreviated(name) for name in names]
    assert len(set(short)) == 24 and max(map(len, short)) <= 28
    assert figures.abbreviated("layer1.0.conv1.weight") == "layer1.0.conv1"
    assert len(figures.abbreviated("x1" * 40)) == 28


def test_contact_sheet_shows_train_items_only():
    labels = np.arange(60) % 6
    test = np.arange(60) >= 18
    images = np.where(test, 7, 100 + labels).astype(np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    dataset = SimpleNamespace(name="elpv", images=images, labels=labels, test=test, class_names=tuple("abcdef"))
    figure = figures.contact_sheet(dataset, per_class=2, classes=4)
    blocks = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in blocks] == [f"{name}\nn = 3" for name in "acdf"]
    for ax, label in zip(blocks, (0, 2, 3, 5), strict=True):
        assert set(np.unique(ax.images[0].get_array())) == {100 + label, 255}
        assert (ax.images[0].get_array() == 100 + label).sum() == 2 * 4 * 4 * 3
    assert "4 of 6 classes, n = 18" in figure.get_suptitle()


FOREST = pd.DataFrame(
    [
        ("N damages the network", 45, "points", -20.8, -23.8, -17.6, "supported"),
        ("training takes fewer epochs", 9, "epochs", 0.4, 0.1, 0.7, "contradicted"),
        ("re-initialised networks are more accurate, whatever", 0, "points", 0.2, -0.4, 0.8, "undecided"),
        ("one pair alone", 1, "points", 0.1, np.nan, np.nan, "not supported"),
        ("no run", 0, "share", np.nan, np.nan, np.nan, "not tested"),
    ],
    columns=["label", "n", "unit", "mean", "low", "high", "verdict"],
)


def test_forest_has_a_panel_for_each_unit_and_a_colour_and_mark_for_each_verdict():
    table = FOREST.assign(said=["beside"] + [""] * 4, spread=1.0)
    figure = figures.forest(table, "title", "caption")
    assert [ax.get_xlabel() for ax in figure.axes] == ["points", "epochs", "share"]
    points, epochs, share = figure.axes
    marks = {line.get_label(): line for line in points.lines if line.get_marker() not in (None, "None", "")}
    for row in FOREST[FOREST.unit == "points"].itertuples():
        line = marks[row.verdict]
        assert (line.get_color(), line.get_marker()) == figures.LOOKS[row.verdict]
        assert list(line.get_xdata()) == [row.mean]
    known = FOREST[(FOREST.unit == "points") & FOREST.low.notna()]
    intervals = [segment for each in drawn(points, "interval") for segment in each.get_segments() if len(segment)]
    assert {tuple(segment[:, 0]) for segment in intervals} == set(zip(known.low, known.high, strict=True))
    assert points.texts[0].get_text() == "beside" and points.texts[0].get_position()[1] == points.get_yticks()[0]
    labels = [text.get_text() for ax in (points, epochs) for text in ax.get_yticklabels()]
    assert labels[1:] == [
        "re-initialised networks are more\naccurate, whatever",
        "one pair alone (n\u00a0=\u00a01)",
        "training takes fewer epochs (n\u00a0=\u00a09)",
    ]
    assert points.yaxis_inverted() and not len(share.get_xticks()) and points.get_title() == "title"
    shown = {text.get_text() for text in figure.legends[0].get_texts()}
    assert shown == set(FOREST.verdict[FOREST["mean"].notna()]) and len(shown) == 4
    assert list(figures.LOOKS) == [*verdict.VERDICTS, verdict.UNTESTED]
    assert len({mark for _, mark in figures.LOOKS.values()}) == len({c for c, _ in figures.LOOKS.values()}) == 5


def test_forest_without_verdicts_is_blue_and_may_have_a_band():
    table = FOREST[FOREST.unit == "points"].drop(columns=["verdict", "n"]).iloc[::-1]
    ax = figures.forest(table, band=(-1, 0, 2), linewidth=3).axes[0]
    marks = [line for line in ax.lines if line.get_marker() == "o"]
    assert list(marks[0].get_xdata()) == list(table["mean"]) and marks[0].get_color() == figures.BLUE
    (band,) = (patch for patch in ax.patches if patch.get_gid() == "band")
    assert (band.get_x(), band.get_width()) == (-1, 3) and drawn(ax, "interval")[0].get_linewidths()[0] == 3


def test_an_unknown_verdict_of_an_estimate_is_an_error():
    with pytest.raises(ValueError, match=r"\['maybe'\] are unknown; allowed: supported, not supported"):
        figures.forest(FOREST.assign(verdict="maybe"))


def test_transfer_shows_every_run_and_the_difference_in_points(frame):
    for ax in figures.transfer(frame).axes:
        rows = frame[(frame.dataset == ("fruits" if "fruits" in ax.get_title() else "photos"))]
        means = rows.groupby(["architecture", "case"]).accuracy.mean() * 100
        assert len(dots(ax)) == 12 and "n = 3" in ax.get_title()
        gains = [means[name, "base"] - means[name, "scratch"] for name in ("mini_simplenet", "mini_vit")]
        assert [t.get_text() for t in ax.texts] == [f"{gain:+.1f}" for gain in gains]


PARTS = {
    "nothing": lambda f: f[:0],
    "one run": lambda f: f[:1],
    "one network and seed": lambda f: f[(f.seed == 0) & (f.architecture == "mini_vit")],
    "scratch alone": lambda f: f[f.case == "scratch"],
    "failed alone": lambda f: f[f.status == "failed"],
    "a hole": lambda f: f.drop(f.index[:45]),
    "another case": lambda f: f.assign(case=f.case.replace("10N", "10Z")),
}


@pytest.mark.parametrize("part", PARTS)
def test_incomplete_frames_draw(frame, part):
    frame = PARTS[part](frame)
    done = frame[frame.status == "done"]
    for draw, rows in ((figures.accuracy_by_case, done), (figures.transfer, done.query("case in ('base', 'scratch')"))):
        figure = draw(frame)
        assert sum(len(dots(ax)) for ax in figure.axes) == len(rows)
        figure.draw_without_rendering()


def test_empty_input_draws():
    nothing = np.zeros(len(EDGES) - 1)
    for figure in (
        figures.convergence(history([])),
        figures.resets_by_layer({}),
        figures.weights_before_after([], {}),
        figures.figure1(nothing, nothing, EDGES, "5M"),
    ):
        figure.draw_without_rendering()
        assert figure.axes


def test_saves_are_byte_equal_and_leave_nothing_behind(frame, tmp_path):
    before = dict(matplotlib.rcParams)
    part = frame[(frame.architecture == "mini_vit") & (frame.dataset == "fruits")]
    first = figures.accuracy_by_case(part)
    saved = [
        [path.read_bytes() for path in figures.save(figure, tmp_path / "new", name)]
        for figure, name in ((first, "a"), (first, "b"), (figures.accuracy_by_case(part), "a"))
    ]
    assert saved[0] == saved[1] == saved[2]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.pdf", "a.png", "b.pdf", "b.png"]
    assert saved[0][0].startswith(b"%PDF") and b"CreationDate" not in saved[0][0] and b"Software" not in saved[0][1]
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red"}):  # somebody else's settings change nothing
        other = figures.save(figures.accuracy_by_case(part), tmp_path, "c")
    assert [path.read_bytes() for path in other] == saved[0]
    assert dict(matplotlib.rcParams) == before and not matplotlib.pyplot.get_fignums()
