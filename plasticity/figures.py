"""What the results look like: pure functions of a DataFrame or of arrays, each returning a matplotlib ``Figure``.

No function shows anything or moves matplotlib's settings. Colours are Okabe and Ito's, told apart by colour-blind
readers, too; sizes are chosen to stay legible at 10 cm width. In a ``frame``, a row is a run: architecture, dataset,
case, seed, status ("done" or "failed"), accuracy (0..1), epochs. What is missing leaves a gap, never an error.
"""

import os
import re
import textwrap
from pathlib import Path

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from .config import CASES, CONTROL_CASES
from .data import TITLES
from .models import ARCHITECTURES, architecture
from .train import HISTOGRAM_EDGES

BLUE, GREEN, RED, BLACK, GREY = "#0072B2", "#009E73", "#D55E00", "#000000", "#666666"
CASE_COLOURS = {"base": BLACK, "scratch": "#CC79A7", "biases": GREY, "M": BLUE, "MN": "#56B4E9", "NS": "#E69F00", "N": RED}
MARKERS = "osD^vPX"
CM = 1 / 2.54
STYLE = {"font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8,
         "legend.fontsize": 9, "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False,
         "axes.grid": True, "axes.axisbelow": True, "grid.color": "#DDDDDD", "grid.linewidth": 0.5,
         "savefig.dpi": 200}  # fmt: skip


def style():
    """The project's settings on top of matplotlib's defaults, for a ``with`` block or as a decorator; undone at its end."""
    return matplotlib.style.context(("default", STYLE))


@style()
def figure1(base_counts, case_counts, edges, case: str) -> Figure:
    """The paper's Figure 1 for one case: trained base, trained case, their absolute difference, and both overlaid.

    Counts between ``edges``, summed or averaged over seeds. Bins are unequal, so densities are drawn.
    """
    base, other = density(base_counts, edges), density(case_counts, edges)
    figure, axes = _grid(2, 2, width=8, sharex=True, sharey=True)
    name = case if case.startswith("base") else f"case {case}"
    titles = ("base case", name, "absolute difference", "overlay")
    drawn = ([(base, BLUE, "base")], [(other, GREEN, name)], [(np.abs(base - other), RED, f"|{name} - base|")],
             [(base, BLUE, "base"), (other, GREEN, name)])  # fmt: skip
    for ax, title, layers in zip(axes.flat, titles, drawn, strict=True):
        ax.set_title(title)
        _histogram(ax, layers, edges)
    _limits(axes[0, 0], [base, other], edges)
    _outer_labels(axes, "weight (no unit)", "density (1 / weight)")
    _shared_legend(figure, [*axes.flat])
    figure.suptitle(f"Weights after training, n = {_thousands(base_counts)} (base), {_thousands(case_counts)} ({name})", size=9)
    return figure


@style()
def weights_before_after(before, after, case: str = "") -> Figure:
    """Pretrained weights and the same right after re-initialisation; ``after`` is an array, or case -> array."""
    after = after if isinstance(after, dict) else {case: after}
    columns = max(1, min(2, len(after)))
    figure, axes = _grid(-(-len(after) // columns) or 1, columns, width=8, sharex=True, sharey=True)
    old, drawn = density(_counts(before), HISTOGRAM_EDGES), []
    for ax, (name, weights) in zip(axes.flat, after.items(), strict=False):
        drawn.append(density(_counts(weights), HISTOGRAM_EDGES))
        ax.set_title(f"{name}, n = {np.size(weights):,}")
        _histogram(ax, [(old, BLUE, "pretrained"), (drawn[-1], GREEN, "re-initialised, before training")], HISTOGRAM_EDGES)
    for ax in axes.flat[len(after):]:
        ax.set_visible(False)
    _limits(axes[0, 0], [old, *drawn], HISTOGRAM_EDGES)
    _outer_labels(axes, "weight (no unit)", "density (1 / weight)")
    _shared_legend(figure, [*axes.flat])
    return figure


def accuracy_by_case(frame: pd.DataFrame) -> Figure:
    """Test accuracy of every run by case, a panel for each architecture (row) and data set (column)."""
    return _by_case(frame.assign(shown=100 * frame.accuracy.astype(float)), "test accuracy (%)")


def epochs_by_case(frame: pd.DataFrame) -> Figure:
    """Epochs until early stopping of every run by case, in the panels of ``accuracy_by_case``."""
    return _by_case(frame.assign(shown=frame.epochs.astype(float)), "training time (epochs)")


@style()
def convergence(histories: pd.DataFrame, cases=("base", "10M", "25N", "scratch")) -> Figure:
    """Validation accuracy by epoch: mean over seeds, band from least to most, a marker at the median stopping epoch."""
    histories = histories[histories.case.isin(cases)]
    figure, axes, panels = _panels(histories)
    for ax, rows in panels:
        length = rows.epoch.max()
        for case, marker in zip(cases, MARKERS * len(cases), strict=False):
            if len(runs := rows[rows.case == case]):
                _curve(ax, carried_forward(runs, length), runs.groupby("seed").epoch.max().median(), case, marker)
        _say_n(ax, rows.groupby("case").seed.nunique())
    _outer_labels(axes, "epoch", "validation accuracy (%)")
    _shared_legend(figure, [ax for ax, _ in panels], columns=len(cases))
    _caption(figure, "Line: mean over seeds; band: least to most; marker: median epoch at which a case stopped. "
                     "A run that stopped is carried forward with its last value.")  # fmt: skip
    return figure


@style()
def resets_by_layer(reports: dict[str, list[dict]]) -> Figure:
    """Share of each weight tensor that was reset, in forward order, for each label's rows (name, kind, size, reset)."""
    weights = {label: {row["name"]: row for row in rows if row["kind"] == "weight"} for label, rows in reports.items()}
    sizes = {name: row["size"] for rows in weights.values() for name, row in rows.items()}
    figure, axes = _grid(1, 1, height=2 + 0.36 * len(sizes), width=14)
    ax, place = axes[0, 0], {name: i for i, name in enumerate(sizes)}
    colours = [c for c in CASE_COLOURS.values() if c not in (BLACK, GREY)]
    for i, (label, rows) in enumerate(weights.items()):
        shares = [100 * row["reset"] / row["size"] for row in rows.values()]
        ax.plot(shares, [place[name] for name in rows], MARKERS[i % 7] + "-", color=colours[(2 + 2 * i) % 5], label=label,
                markersize=4, linewidth=0.8)  # fmt: skip
    ax.set(yticks=range(len(sizes)), yticklabels=map(abbreviated, sizes), ylim=(len(sizes) - 0.5, -0.5), xlim=(0, None),
           xlabel="share reset (%)", ylabel="weight tensor, in forward order",
           title=f"n = {len(sizes)} weight tensors, {sum(sizes.values()):,} weights")  # fmt: skip
    _shared_legend(figure, [ax])
    return figure


@style()
def contact_sheet(dataset, per_class: int = 6, classes: int = 25) -> Figure:
    """Some train items of a packed data set, a block for each class (evenly chosen where there are more than ``classes``)."""
    total, train = len(dataset.class_names), ~np.asarray(dataset.test)
    shown = _evenly(np.arange(total), classes)
    columns = min(5, int(np.ceil(np.sqrt(len(shown)))))
    figure, axes = _grid(-(-len(shown) // columns), columns, height=2.9, width=max(3.2, 10 / columns))
    images, labels = np.asarray(dataset.images), np.asarray(dataset.labels)
    for ax, label in zip(axes.flat, shown, strict=False):
        items = np.flatnonzero(train & (labels == label))
        ax.imshow(_mosaic(images[_evenly(items, per_class)], per_class), interpolation="nearest")
        ax.set_title(f"{textwrap.shorten(dataset.class_names[label], 18, placeholder='…')}\nn = {len(items)}", size=8)
    for ax in axes.flat:
        ax.set_axis_off()
    title = f"{TITLES.get(dataset.name, dataset.name)}: {len(shown)} of {total} classes, n = {train.sum():,} train items"
    figure.suptitle(title, size=9)
    return figure


@style()
def transfer(frame: pd.DataFrame) -> Figure:
    """What pretraining is worth: test accuracy of the base case against training from scratch, every run a dot."""
    frame = frame[frame.case.isin(("base", "scratch"))]
    names, datasets = _present(frame.architecture, ARCHITECTURES), _present(frame.dataset, TITLES)
    figure, axes = _grid(1, len(datasets), height=6, sharey=True)
    for ax, dataset in zip(axes.flat, datasets, strict=True):
        rows = _done(frame[frame.dataset == dataset].assign(shown=lambda f: 100 * f.accuracy.astype(float)))
        for i, name in enumerate(names):
            pair = [rows[(rows.architecture == name) & (rows.case == case)].shown for case in ("base", "scratch")]
            for x, values, case in zip((i - 0.2, i + 0.2), pair, ("base", "scratch"), strict=True):
                _runs(ax, x, values, CASE_COLOURS[case], width=0.3, label=case if i == 0 else None)
            if all(map(len, pair)):
                ax.annotate(f"{pair[0].mean() - pair[1].mean():+.1f}", (i, pd.concat(pair).max()), (0, 5),
                            textcoords="offset points", ha="center", size=9)  # fmt: skip
        ax.set(xticks=range(len(names)), xlim=(-0.6, len(names) - 0.4), title=TITLES.get(dataset, dataset) or "no runs",
               xticklabels=[_architecture(name).replace(" ", "\n") for name in names])  # fmt: skip
        ax.margins(y=0.12)
        _say_n(ax, rows.groupby(["architecture", "case"]).size())
    _outer_labels(axes, "", "test accuracy (%)")
    _shared_legend(figure, [*axes.flat])
    _caption(figure, "Dot: one run; bar: mean; number: mean of base minus mean of scratch, in percentage points.")
    return figure


def save(figure: Figure, folder: str | Path, name: str) -> tuple[Path, Path]:
    """Write ``name.pdf`` and ``name.png``, whole or not at all, with the same bytes for the same figure; returns the paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with style():
        figure.draw_without_rendering()  # settle the layout once, so that a second save moves nothing
        figure.set_layout_engine("none")
        for suffix, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
            partial = folder / f"{name}.{suffix}.{os.getpid()}.partial"
            figure.savefig(partial, format=suffix, metadata=metadata)
            partial.replace(folder / f"{name}.{suffix}")
    plt.close(figure)
    return folder / f"{name}.pdf", folder / f"{name}.png"


def density(counts, edges) -> np.ndarray:
    """Counts in (unequal) bins as a density: its sum over bin width is 1."""
    counts = np.asarray(counts, float)
    return counts / np.diff(edges) / max(counts.sum(), 1)


def carried_forward(runs: pd.DataFrame, length: int) -> pd.DataFrame:
    """Validation accuracy in percent, epochs 1..length by seeds; a run that stopped keeps its last value."""
    table = 100 * runs.pivot_table(index="epoch", columns="seed", values="validation_accuracy")
    return table.reindex(range(1, length + 1)).ffill()


def abbreviated(name: str, longest: int = 26) -> str:
    """A tensor's name without "weight"; if still long, without its outer containers and with clipped words."""
    name = re.sub(r"[._]weight$", "", name)
    if len(name) > longest:
        inner = re.search(r"[^.]*\d.*", name)
        name = re.sub(r"[a-z]{5,}", lambda word: word[0][:4], inner[0] if inner else name)
    return name if len(name) <= longest else "…" + name[1 - longest:]


@style()
def _by_case(frame, label) -> Figure:
    """A panel for each architecture and data set: every run a dot, cases side by side, the controls set apart."""
    known = _present(frame.case, (*CASES, *CONTROL_CASES))
    cases = [c for c in known if c not in CONTROL_CASES]
    controls = {c: len(cases) + 0.5 + i for i, c in enumerate(c for c in CONTROL_CASES if c in known)}
    places = {c: float(i) for i, c in enumerate(cases)} | controls
    figure, axes, panels = _panels(frame, sharex=True)
    for ax, rows in panels:
        done, failed = _done(rows), rows[rows.status == "failed"].groupby("case").size()
        for case, x in places.items():
            _runs(ax, x, done[done.case == case].shown, _colour(case))
        for case, count in failed.items():
            ax.annotate(f"{count} failed", (places[case], 0.02), xycoords=("data", "axes fraction"), rotation=90,
                        ha="center", size=7, color=RED)  # fmt: skip
        if (done.case == "base").any():
            ax.axhline(done[done.case == "base"].shown.mean(), color=BLACK, linestyle="--", linewidth=0.8, zorder=1)
        if controls and cases:
            ax.axvline(len(cases) - 0.25, color=GREY, linewidth=0.5)
        ax.set(xlim=(-0.7, max(places.values()) + 0.7), xticks=[*places.values()])
        ax.set_xticklabels(places, rotation=90)
        _say_n(ax, done.groupby("case").size())
    _outer_labels(axes, "case", label)
    _caption(figure, "Dot: one run; bar: mean; dashed: mean of base. Right of the grey line: controls.")
    return figure


def _runs(ax, x, values, colour, width=0.5, label=None):
    """Every value as a dot, spread evenly about ``x``, and their mean as a bar."""
    if len(values):
        spread = np.linspace(-width / 3, width / 3, len(values)) if len(values) > 1 else [0.0]
        ax.scatter(x + np.array(spread), values, s=9, color=colour, alpha=0.6, linewidths=0, label=label, gid="runs")
        ax.hlines(values.mean(), x - width / 1.5, x + width / 1.5, color=colour, linewidth=1.6, gid="mean")


def _curve(ax, table, stop, case, marker):
    mean, epochs, colour = table.mean(axis=1), table.index, _colour(case)
    ax.plot(epochs, mean, color=colour, linewidth=1.2, label=case)
    ax.fill_between(epochs, table.min(axis=1), table.max(axis=1), color=colour, alpha=0.15, linewidth=0)
    ax.plot(stop, np.interp(stop, epochs, mean), marker, color=colour, markersize=6, markeredgecolor="white", gid="stop")


def _histogram(ax, layers, edges):
    """Densities as filled outlines on a log axis, the second of two see-through."""
    for i, (values, colour, label) in enumerate(layers):
        ax.stairs(values, edges, baseline=1e-12, fill=True, color=colour, alpha=0.45 if i else 0.75, label=label)
    ax.set_yscale("log")


def _limits(ax, densities, edges):
    """Axes that show all but the outermost 1/20,000 on each side, and densities down to the rarest bin in view."""
    reach = 0.0
    for cumulated in (np.cumsum(d * np.diff(edges)) for d in densities if d.any()):
        low, high = np.searchsorted(cumulated, [5e-5, 1 - 5e-5])
        reach = max(reach, -edges[low], edges[min(high + 1, len(edges) - 1)])
    inside = np.abs(edges[:-1] + edges[1:]) / 2 <= (reach or 1)
    seen = np.concatenate([d[inside & (d > 0)] for d in densities])
    low, high = (seen.min(), seen.max()) if len(seen) else (0.1, 1)
    ax.set(xlim=(-(reach or 1), reach or 1), ylim=(max(low / 2, high / 1e7), high * 2))


def _counts(weights):
    flat = np.asarray(weights, float).ravel()
    return np.histogram(flat.clip(HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1]), HISTOGRAM_EDGES)[0]


def _grid(rows, columns, height=4.4, width=5.2, **sharing):
    """A figure of rows x columns panels, each of that size in cm, and the axes as an array of two dimensions."""
    size = (max(10, 1 + width * columns) * CM, (height * rows + 2) * CM)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **sharing)


def _panels(frame, **sharing):
    """A grid of architectures x data sets, and its panels with their rows of the frame."""
    names, datasets = _present(frame.architecture, ARCHITECTURES), _present(frame.dataset, TITLES)
    figure, axes = _grid(len(names), len(datasets), **sharing)
    panels = []
    for ax, (name, dataset) in zip(axes.flat, [(n, d) for n in names for d in datasets], strict=True):
        ax.set_title(f"{_architecture(name)}\n{TITLES.get(dataset, dataset)}")
        panels.append((ax, frame[(frame.architecture == name) & (frame.dataset == dataset)]))
    return figure, axes, panels


def _present(values, order):
    """What occurs, the known in their order and the unknown after them; one empty name where nothing occurs."""
    values = list(dict.fromkeys(values))
    return [v for v in order if v in values] + sorted(v for v in values if v not in order) or [""]


def _architecture(name):
    return architecture(name).title if name else ""


def _colour(case):
    return CASE_COLOURS.get(case.lstrip("0123456789. "), GREY)


def _done(frame):
    return frame[(frame.status == "done") & frame.shown.notna()].sort_values("seed", kind="stable")


def _say_n(ax, counts):
    """Add the number of runs a case to the first line of a title."""
    low, high = (counts.min(), counts.max()) if len(counts) else (0, 0)
    first, *rest = ax.get_title().split("\n")
    ax.set_title("\n".join([f"{first}, n = {low}" + (f" to {high}" if high > low else ""), *rest]))


def _thousands(counts):
    return f"{round(np.sum(counts)):,}"


def _evenly(items, count):
    return items if len(items) <= count else items[np.linspace(0, len(items) - 1, count).round().astype(int)]


def _mosaic(images, count, gap=2):
    """Pictures in one white-edged array, three abreast or two rows; missing ones stay white."""
    columns = max(3, -(-count // 2))
    height, width = images.shape[1:3]
    sheet = np.full((-(-count // columns) * (height + gap), columns * (width + gap), 3), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * (height + gap), i % columns * (width + gap)
        sheet[y:y + height, x:x + width] = image
    return sheet


def _outer_labels(axes, x_label, y_label):
    for ax in axes[-1]:
        ax.set_xlabel(x_label)
    for ax in axes[:, 0]:
        ax.set_ylabel(y_label)


def _shared_legend(figure, axes, columns=3):
    """One legend above all panels, of every label that any of them has."""
    entries = {text: h for ax in axes for h, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    if entries:
        figure.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=columns)


def _caption(figure, text):
    figure.supxlabel(textwrap.fill(text, int(figure.get_figwidth() / CM * 6)), size=8, color=GREY)
