"""The companions' figures show what the frames hold, and survive what is missing: runs, seeds, networks, methods."""

import itertools

import numpy as np
import pandas as pd
import pytest
from helpers import assert_legible, phases, record
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from plasticity.analysis import figures
from plasticity.analysis import paired as comparisons
from plasticity.analysis.frames import METRICS, only, run_table, without
from plasticity.studies.companions import figures as companion_figures
from plasticity.studies.companions import tables as companion_tables

# "ignore": pipes that earlier tests left to the garbage collector
pytestmark = pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning")
BOTH = " + l2 + augmentation"
NETWORKS = {"mini_resnet18": "world_10", "mini_vit_tiny": "world_20_few", "mini_vgg": "world_20"}
METHODS = "base l2 augmentation spectral_decoupling l2_init redo crelu layer_norm continual_backprop head_reset".split()
METHODS += ["shrink_perturb", "25M", "selective_reinit", "soft_rescaling(features=0.01)", f"shrink_perturb{BOTH}"]
HARES = [f"hare_tortoise(momentum={m}, epochs={n}){BOTH}" for m, n in ((0.9, 2), (0.99, 2), (0.99, 4))]


def made(cases, scenarios=("warm_start",), networks=NETWORKS, repeats=3, seed=0):
    """A frame of random accuracies and metrics, which `dormant_never` is not: it is constant."""
    rng, rows = np.random.default_rng(seed), []
    for name, scenario, case, number in itertools.product(networks, scenarios, cases, range(repeats)):
        entry = {metric: rng.uniform() for metric in METRICS} | {"dormant_never": 0.0, "epoch": 1, "phase": 1}
        accuracy, trained = rng.uniform(0.4, 0.9), rng.uniform(0.9, 1)
        rows.append(record(case, number, accuracy, scenario, name, NETWORKS[name], [entry], train_accuracy=trained))
    return run_table(rows)


ALL = slice(None)
GRID = [f"warm_start(subset={subset}, noise={noise})" for subset in (0.1, 0.4, 1) for noise in (0, 0.2, 0.5)]
TRANSFER = ("base", "10M", "l2_sp + hare_tortoise(momentum=0.99, steps=40)", "ema(momentum=0.99)", "scratch")


def history(networks=NETWORKS, repeats=3):
    """Two phases, the second shorter, of three cases; the digits' network has another augmentation."""
    cases = ["l2 + augmentation", "shrink_perturb" + BOTH, "shrink_perturb + l2 + crop"]
    keys = itertools.product(networks, range(repeats), enumerate(cases))
    own = {case: "mini_mlp_bn" for case in cases if "crop" in case}
    each = [(name, seed, case, [0.3, 0.5 + i / 10]) for name, seed, (i, case) in keys]
    return pd.concat(
        phases([0.1, 0.2, 0.3, 0.4], later, case=case, seed=seed, network=own.get(case, name))
        for name, seed, case, later in each
    )


def texts(labels):
    return [label.get_text() for label in labels]


def drawn(networks=NETWORKS, repeats=3, part=ALL):
    """Every figure of the companions' notebooks on such a frame; ``part`` of its rows, all of them by default."""
    size = {"networks": networks, "repeats": repeats}
    methods, fresh = made(METHODS, **size)[part], made(["base"], ["single"], **size)[part]
    cells, hares = made(["base"], GRID, **size)[part], companion_tables.hares(made(HARES, **size)[part])
    base, rest, seen = only(methods, case="base"), without(methods, "base"), history(networks, repeats)[part]
    weights = {"value": "weight_magnitude", "scale": 1, "label": "weight magnitude (sum of mean squares)"}
    short = rest.assign(method=companion_tables.short(rest.case))
    by_length = made([BOTH[3:], "ema" + BOTH], ["single", "warm_start"], **size)
    by_length = pd.concat([by_length.assign(max_epochs=epochs) for epochs in (12, 48, 192)])
    ranking = comparisons.ranking(made(TRANSFER, ["transfer"], networks, repeats)[part])
    return {
        "cells": companion_figures.by_noise(cells, fresh),
        "training": companion_figures.by_noise(cells, fresh, "train_accuracy"),
        "methods": companion_figures.by_method(rest, base, fresh),
        "weights": companion_figures.by_method(short, base, base, lines=("nothing done", ""), **weights),
        "curves": companion_figures.curves(seen, companion_figures.names_of(seen.case.unique())),
        "ablation": companion_figures.ablation(hares, base, fresh),
        "correlations": companion_figures.correlation_map(comparisons.correlations(cells)),
        "lengths": companion_figures.lengths(by_length[part]),
        "ranking": companion_figures.ranked(ranking[ranking.case != "scratch"], "9 runs"),
    }


MISSING = {
    "whole": {},
    "one network": {"networks": ["mini_vgg"]},
    "one seed": {"repeats": 1},
    "quick": {"networks": ["mini_vgg"], "repeats": 1},
    "empty": {"part": slice(0, 0)},
    "holes": {"part": slice(None, None, 7)},
}


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in MISSING if name not in ("whole", "quick", "empty")]


@pytest.mark.parametrize("missing", ["whole", "quick", "empty", *SLOW])
def test_every_figure_is_drawn_whatever_is_missing_legible_and_saved(missing, tmp_path):
    for name, figure in drawn(**MISSING[missing]).items():
        assert isinstance(figure, Figure) and figure.get_figwidth() * 2.54 <= 16.01, name
        if missing in ("whole", "one network"):
            assert_legible(figure, name=name)
        if missing in ("quick", "empty"):
            assert all(path.stat().st_size for path in figures.save(figure, tmp_path, name))
        else:
            figure.draw_without_rendering()


def test_along_the_phases_each_has_unit_length():
    part = phases([0.1] * 4, [0.2] * 2, [0.3])
    assert list(companion_figures.along(part)) == [0.25, 0.5, 0.75, 1, 1.5, 2, 3]
    assert list(companion_figures.along(part.iloc[[5, 1, 3, 6]])) == [2, 0.5, 1, 3], "in any order, with gaps"


def test_curves_are_means_over_seeds_and_one_name_has_one_colour():
    seen = history(["mini_resnet18"], 1)
    later = seen.assign(seed=1, test_accuracy=seen.test_accuracy + 0.2)
    titles = companion_figures.names_of(seen.case.unique())
    assert list(titles.values()) == ["nothing more", "shrink_perturb", "shrink_perturb"]
    figure = companion_figures.curves(pd.concat([seen, later]), titles)
    panels = [(ax.get_title().split("\n")[0], ax.lines) for ax in figure.axes]
    lines = {(name, line.get_label()): line for name, drawn_there in panels for line in drawn_there}
    resnet, mlp = (lines[name, "shrink_perturb"] for name in ("miniature ResNet-18", "miniature MLP with batch norm"))
    assert list(resnet.get_ydata()) == pytest.approx([20, 30, 40, 50, 40, 70])
    assert list(resnet.get_xdata())[3:] == [1, 1.5, 2]
    assert resnet.get_color() == mlp.get_color() != lines["miniature ResNet-18", "nothing more"].get_color()
    assert texts(figure.legends[0].get_texts()) == ["nothing more", "shrink_perturb"]


def test_by_noise_one_subset_has_one_colour_in_all_panels():
    cells = made(["base"], GRID)
    sparse = cells[(cells.architecture == "mini_resnet18") | (cells.subset != 0.4)]
    fresh = made(["base"], ["single"])
    axes = companion_figures.by_noise(sparse, fresh).axes
    colours = [{line.get_label(): line.get_color() for line in ax.lines} for ax in axes]
    assert colours[0]["subset 1"] == colours[1]["subset 1"] == colours[2]["subset 1"] and "subset 0.4" not in colours[1]
    rows = only(cells, architecture="mini_resnet18", subset=0.4)
    (line,) = (line for line in axes[0].lines if line.get_label() == "subset 0.4")
    means = [100 * only(rows, noise=noise).accuracy.mean() for noise in (0, 0.2, 0.5)]
    assert list(line.get_ydata()) == pytest.approx(means)
    (dashed,) = (line for line in axes[0].lines if line.get_label() == "no warm start")
    assert dashed.get_ydata()[0] == pytest.approx(100 * only(fresh, architecture="mini_resnet18").accuracy.mean())


def test_by_method_shows_every_run_its_mean_and_the_lines():
    frame, lower, upper = made(["l2", "redo"]), made(["base"], seed=1), made(["base"], ["single"], seed=2)
    axes = companion_figures.by_method(frame, lower, upper).axes
    for ax, name in zip(axes, NETWORKS, strict=True):
        rows = frame[frame.architecture == name]
        dots = np.concatenate([each.get_offsets() for each in ax.collections if len(each.get_offsets()) == 3])
        assert sorted(dots[:, 0]) == pytest.approx(sorted(100 * rows.accuracy))
        means = [100 * only(each, architecture=name).accuracy.mean() for each in (lower, upper)]
        drawn_there = {line.get_label(): line.get_xdata()[0] for line in ax.lines}
        assert drawn_there == pytest.approx(
            dict(zip(("warm start, nothing done", "no warm start"), means, strict=True))
        )
    assert texts(axes[0].get_yticklabels()) == ["l2", "redo"] and axes[0].yaxis_inverted()
    unnamed = companion_figures.by_method(frame, lower, lower, lines=("nothing done", ""))
    assert [line.get_label() for line in unnamed.axes[0].lines] == ["nothing done"]


def test_what_all_methods_have_is_said_once():
    frame = made([f"{name}{BOTH}" for name in ("ema", "self_distillation")])
    figure = companion_figures.by_method(frame, frame[:0], frame[:0])
    assert texts(figure.axes[0].get_yticklabels()) == ["ema", "self_distillation"]
    assert "All with l2 + augmentation." in figure.get_supxlabel()


def test_ablation_varies_one_parameter_per_panel():
    hares = companion_tables.hares(made(HARES, networks=["mini_vgg"]))
    left, right = companion_figures.ablation(hares, hares[:0], hares[:0]).axes
    assert texts(left.get_xticklabels()) == ["0.9", "0.99"] and "epochs 2, n = 3" in left.get_title()
    assert texts(right.get_xticklabels()) == ["2", "4"] and "momentum 0.99, n = 3" in right.get_title()
    expected = [100 * hares[(hares.momentum == 0.99) & (hares.epochs == epochs)].accuracy.mean() for epochs in (2, 4)]
    assert list(right.lines[0].get_ydata()) == pytest.approx(expected)


def test_correlation_map_writes_r_and_its_interval():
    table = comparisons.correlations(made(["base"], GRID))
    ax = companion_figures.correlation_map(table).axes[0]
    texts = {text.get_position(): text.get_text() for text in ax.texts}
    row = table[(table.network == "miniature ViT-Tiny") & (table.metric == "weight_distance")].iloc[0]
    assert texts[1.5, 1.5] == f"{row.r:+.2f}\n[{row.low:+.2f}, {row.high:+.2f}]" and texts[0.5, 9.5] == "-", "constant"
    assert [label.get_text().split("\n")[-1] for label in ax.get_xticklabels()] == ["n = 27"] * 3


def test_the_ranking_is_drawn_from_the_top():
    ranking = comparisons.ranking(made(TRANSFER, ["transfer"]))
    ax = companion_figures.ranked(ranking, "title").axes[0]
    shown = [label.get_text().replace("\n", " ").split(" (n")[0] for label in ax.get_yticklabels()]
    assert shown == list(ranking.case) and ax.yaxis_inverted() and ax.get_title() == "title"
    assert list(ax.lines[1].get_xdata()) == list(ranking["mean"])
    ends = [tuple(segment[:, 0]) for segment in ax.collections[0].get_segments()]
    assert ends == list(zip(ranking.low, ranking.high, strict=True))


def test_colours_are_okabe_and_itos():
    known = {"#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", figures.GREY}
    assert {to_hex(colour) for colour in figures.SERIES} <= known
