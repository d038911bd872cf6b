"""The figures of notebook 56: pure functions of ``tables.frame`` or of learning curves, each a ``Figure``."""

import pandas as pd
from matplotlib.figure import Figure

from ...analysis.figures import BLACK, BLUE, GREY, MARKS, RED, SERIES, finish, forest, spread, style, subplots
from ...analysis.figures import span as count_of
from . import numbers
from .runs import RANDOM
from .tables import aggregates, differences, game_title, labelled, plain_of, references


def curves(history: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """The mean score of the games that ended in an epoch, by environment steps, over seeds: a line for each row at the
    lowest replay ratio, a panel for each game; dotted: random play. history: row, replay, game, seed, steps,
    train_score."""
    history = history[history.replay == history.replay.min()].dropna(subset="train_score")
    zero, _ = references(table)
    return _curves(history, zero, count_of(history.groupby(["row", "game"]).seed.nunique()))


@style()
def _curves(history, zero, n):
    names = list(history.game.unique()) or [""]
    figure, axes = subplots(-(-len(names) // 2), min(2, len(names)), 8, 7.5)
    for ax, name in zip(axes.flat, names, strict=False):
        rows = history[history.game == name]
        for i, (row, part) in enumerate(rows.groupby("row", sort=False)):
            line = part.groupby("steps").train_score.mean().rolling(5, min_periods=1, center=True).mean()
            ax.plot(line.index, line, color=SERIES[i % 8], linewidth=1.1, label=row)
        if name in zero:
            ax.axhline(zero[name], color=GREY, linestyle=":", linewidth=1)
        ax.set_title(f"{game_title(name)}\nn = {n}" if name else "no runs")
        ax.locator_params(axis="x", nbins=5)
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    caption = "Mean over seeds of the games that ended in an epoch, smoothed over five epochs; dotted: random play."
    return finish(figure, axes, "environment steps", "score while learning", caption, columns=2)


@style()
def scores(table: pd.DataFrame) -> Figure:
    """The test score of every run: a dot; the mean a bar; a panel for each game."""
    table = labelled(table)
    names, labels = list(table.game.unique()) or [""], list(table.label.unique())
    height = 2.2 + 0.5 * max(3, len(labels))
    figure, axes = subplots(-(-len(names) // 2), min(2, len(names)), height, 7, sharey=True)
    for ax, name in zip(axes.flat, names, strict=False):
        rows = table[table.game == name]
        for i, label in enumerate(labels):
            values = rows[rows.label == label].score
            ax.scatter(values, i + spread(len(values), 0.2), s=9, color=BLUE, alpha=0.6, linewidths=0)
            ax.vlines(values.mean() if len(values) else [], i - 0.35, i + 0.35, color=BLUE, linewidth=1.8)
        n = count_of(rows.groupby("label").size())
        ax.set(title=f"{game_title(name)}\nn = {n}" if name else "no runs", ylim=(len(labels) - 0.4, -0.6))
        ax.set_yticks(range(len(labels)), labels)
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    return finish(figure, axes, "score of the test games", "", "Dot: one run, the mean of its test games; bar: mean.")


def statistics(table: pd.DataFrame) -> Figure:
    """IQM and optimality gap of each row with their bootstrap intervals."""
    rows = [
        {"label": found["label"], "unit": unit, "n": found["n"]}
        | {name: found[key] for name, key in (("mean", of), ("low", f"{of} low"), ("high", f"{of} high"))}
        for of, unit in (("IQM", "IQM of normalised scores"), ("OG", "optimality gap (less is better)"))
        for found in aggregates(table[table.row != RANDOM]).to_dict("records")
    ]
    caption = "Line: 95% stratified bootstrap over runs, too narrow for so few."
    return forest(pd.DataFrame(rows, columns=["label", "unit", "n", "mean", "low", "high"]), "", caption)


@style()
def pairs(table: pd.DataFrame) -> Figure:
    """Each row minus the plain one, by game and seed: every pair a mark, its game's; the mean with its 95% interval."""
    rows = differences(table)
    games = list(table.game.unique())
    figure, axes = subplots(1, 1, 2 + 0.75 * max(3, len(rows)), 13)
    ax = axes[0, 0]
    ax.axvline(0, color=GREY, linewidth=0.8)
    for i, row in enumerate(rows.itertuples()):
        for j, name in enumerate(games):
            values = row.found.pairs[row.found.pairs.index.get_level_values("game") == name]
            place = i + 0.12 + spread(len(values), 0.16) + 0.1 * (j % 3)
            look = {"color": SERIES[(j + 2) % 8], "alpha": 0.7, "linewidths": 0, "marker": MARKS[j % 8]}
            ax.scatter(values, place, s=16, label=game_title(name), **look)
        ax.hlines(i - 0.25, row.found.low, row.found.high, color=BLACK, linewidth=1.6)
        ax.plot(row.found.mean, i - 0.25, "o", color=BLACK, markersize=5)
    ax.set(ylim=(max(len(rows), 1) - 0.4, -0.6))
    ax.set_yticks(range(len(rows)), [f"{row.label}\n(n = {row.found.n})" for row in rows.itertuples()])
    caption = "Mark: one pair, the same game and seed; black: mean and 95% t interval, stratified by game, uncorrected."
    return finish(figure, axes, f"normalised score minus {plain_of(table)}'s at the same replay ratio", "", caption)


@style()
def replay_ratios(table: pd.DataFrame) -> Figure:
    """Normalised score by replay ratio, for the rows that have several: every run a dot, means as lines, a panel for
    each game."""
    several = table.groupby("row").replay.nunique()
    rows = table[table.row.isin(several[several > 1].index)]
    names = list(rows.game.unique()) or [""]
    figure, axes = subplots(-(-len(names) // 2), min(2, len(names)), 5, 7, sharey=True)
    for ax, name in zip(axes.flat, names, strict=False):
        here = rows[rows.game == name]
        ratios = sorted(here.replay.unique())
        for i, (row, part) in enumerate(here.groupby("row", sort=False)):
            places = {ratio: at + (i - 1) * 0.08 for at, ratio in enumerate(ratios)}
            ax.scatter(part.replay.map(places), part.normalised, s=10, color=SERIES[i], alpha=0.5, linewidths=0)
            means = part.groupby("replay").normalised.mean()
            ax.plot([places[r] for r in means.index], means, f"-{MARKS[i]}", color=SERIES[i], markersize=5, label=row)
        ax.set_xticks(range(len(ratios)), [str(ratio) for ratio in ratios])
        n = count_of(here.groupby(["row", "replay"]).size())
        ax.set_title(f"{game_title(name)}\nn = {n}" if name else "no row has several")
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    caption = "Dot: one run; mark: mean over seeds."
    return finish(figure, axes, "updates for each environment step", "normalised score", caption)


@style()
def published_noise() -> Figure:
    """Table 1's IQMs of DrQ's rows as printed, each with how far apart two IQMs of one algorithm are by chance."""
    printed, table = numbers.published("table_1"), numbers.published("noise")
    drq = printed[printed.row.str.startswith("DrQ")]
    apart = table[(table.algorithm == "DrQ(eps)") & (table.seeds == 5)].apart.item()
    first = drq.iqm.iloc[0]
    figure, axes = subplots(1, 1, 6, 11)
    ax = axes[0, 0]
    ax.axvspan(first - apart, first + apart, color=GREY, alpha=0.2, linewidth=0, label="no more than chance")
    ax.plot(drq.iqm, range(len(drq)), "o", color=RED, label="Table 1, five seeds")
    ax.set_yticks(range(len(drq)), drq.row)
    ax.set_ylim(len(drq) - 0.5, -0.5)
    ax.locator_params(axis="x", nbins=6)
    caption = "Grey: within it lie 95% of differences from DrQ's row that five seeds of DrQ(eps) give by chance alone."
    return finish(figure, axes, "IQM of human-normalised scores, 26 games", "", caption, columns=2)
