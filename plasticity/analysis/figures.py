"""What the results look like: pure functions of a DataFrame or of arrays, each returning a matplotlib ``Figure``.

Nothing is shown and no setting of matplotlib stays changed. Colours are Okabe and Ito's, for all readers; sizes stay
legible at 10 cm width. In a ``frame`` a row is a run: architecture, dataset, case, seed, status ("done" or "failed"),
accuracy (0..1), epochs. What is missing leaves a gap, never an error.
"""

import re
import textwrap
from pathlib import Path

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..data import TITLES
from ..files import atomic
from ..networks.table import ARCHITECTURES, architecture
from ..profiles import CASES, CONTROL_CASES
from ..training.measures import HISTOGRAM_EDGES

BLUE, GREEN, RED, ORANGE, GREY, BLACK = "#0072B2", "#009E73", "#D55E00", "#E69F00", "#666666", "#000000"
SERIES = (BLACK, BLUE, RED, GREEN, "#CC79A7", ORANGE, "#56B4E9", GREY)
MARKS = "osD^vPX*"
COLOURS = {"base": BLACK, "scratch": "#CC79A7", "biases": GREY, "M": BLUE, "MN": "#56B4E9", "NS": ORANGE, "N": RED}
LOOKS = {  # a verdict's colour and mark: each tells them apart alone
    "supported": (GREEN, "o"),
    "not supported": (ORANGE, "s"),
    "contradicted": (RED, "X"),
    "undecided": (BLUE, "D"),
    "not tested": (GREY, "v"),
}
CONVERGING = ("base", "10M", "25N", "scratch")
CM = 1 / 2.54
WIDTH, LINE, LETTERS = 12, 0.38, 36  # of a forest: its width and the height of a line of text in cm, letters in a line
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "savefig.dpi": 200,
}


# --- what all figures share -------------------------------------------------------------------------------------------
def style():
    """The project's settings on top of matplotlib's defaults, as ``with`` block or decorator; undone at its end."""
    return matplotlib.style.context(("default", STYLE))


def subplots(rows: int, columns: int, height: float = 4.4, width: float = 5.2, **sharing) -> tuple[Figure, np.ndarray]:
    """A figure of panels of that size in cm, at least 10 cm wide, and its axes [rows, columns]."""
    size = max(10, 1 + width * columns) * CM, (height * rows + 2) * CM
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **sharing)


def finish(figure: Figure, axes: np.ndarray, x_label: str, y_label: str, caption: str = "", columns: int = 4) -> Figure:
    """Labels at the left and the bottom, one legend of all panels above in so many columns, the caption below."""
    for ax in axes[-1]:
        ax.set_xlabel(x_label)
    for ax in axes[:, 0]:
        ax.set_ylabel(y_label)
    entries = {text: h for ax in axes.flat for h, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    if entries:
        figure.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=columns)
    figure.supxlabel(textwrap.fill(caption, int(figure.get_figwidth() / CM * 6)), size=8, color=GREY)
    return figure


def save(figure: Figure, folder: str | Path, name: str) -> tuple[Path, Path]:
    """Write ``name.pdf`` and ``name.png``, each whole or not at all, equal bytes for equal figures; closes it."""
    metadata = {Path(folder) / f"{name}.pdf": {"CreationDate": None}, Path(folder) / f"{name}.png": {"Software": None}}
    with style():
        figure.draw_without_rendering()  # settle the layout once, so that a second save moves nothing
        figure.set_layout_engine("none")
        for path, unstamped in metadata.items():
            with atomic(path) as partial:
                figure.savefig(partial, metadata=unstamped)
    plt.close(figure)
    return tuple(metadata)


def present(values, order) -> list[str]:
    """What occurs: the known in their order, then the unknown; one empty name where nothing occurs."""
    values = set(values)
    return [v for v in order if v in values] + sorted(values.difference(order)) or [""]


def span(counts) -> str:
    """ "3", or "3 to 5" where counts differ."""
    low, high = (counts.min(), counts.max()) if len(counts) else (0, 0)
    return f"{low}" + (f" to {high}" if high > low else "")


def evenly(items, count: int):
    """At most ``count`` of the items, evenly chosen."""
    return items if len(items) <= count else items[np.linspace(0, len(items) - 1, count).round().astype(int)]


def spread(count: int, width: float) -> np.ndarray:
    """Places beside each other about zero, up to ``width`` away."""
    return np.linspace(-width, width, count) if count > 1 else np.zeros(count)


def network_title(name: str) -> str:
    """A network's name for readers."""
    return architecture(name).title if name else "no runs"


# --- estimates with intervals -----------------------------------------------------------------------------------------
@style()
def forest(table: pd.DataFrame, title: str = "", caption: str = "", looks=LOOKS, band=None, **bar) -> Figure:
    """Estimates and their intervals, one row each from the top, one panel for each unit.

    Columns: label, unit, mean, low, high (NaN: none); if present also n (said beside the label), verdict (one of
    ``looks``: its colour and mark), spread (a thin line of so much to both sides) and said (text at the right).
    ``band``: low, mean and high, shaded behind all; ``bar``: settings of the intervals' lines. ValueError for an
    estimate whose verdict ``looks`` lacks.
    """
    table = table.assign(**{name: "" for name in ("n", "verdict", "said") if name not in table})
    if unknown := set(table.verdict[table["mean"].notna()]) - {*looks, ""}:
        raise ValueError(f"verdicts {sorted(unknown)} are unknown; allowed: {', '.join(looks)}")
    table = table.assign(label=[_with_n(row.label, row.n) for row in table.itertuples()])
    lines = [1.5 + max(row.label.count("\n"), row.said.count("\n")) for row in table.itertuples()]
    parts = [part for _, part in table.assign(lines=lines).groupby("unit", sort=False)] or [table.assign(lines=lines)]
    heights = [1 + LINE * part.lines.sum() for part in parts]
    figure, axes = subplots(len(parts), 1, sum(heights) / len(parts), WIDTH - 1, height_ratios=heights)
    for ax, part in zip(axes.flat, parts, strict=True):
        _estimates(ax, part.assign(place=part.lines.cumsum() - part.lines / 2), {"": (BLUE, "o")} | looks, bar)
        if band:
            ax.axvspan(band[0], band[2], color=BLUE, alpha=0.12, linewidth=0, gid="band")
            ax.axvline(band[1], color=BLUE, linewidth=0.8, linestyle="--")
    axes[0, 0].set_title(title)
    return finish(figure, axes, axes[-1, 0].get_xlabel(), "", caption, columns=3)


def _with_n(label, n):
    text = f"{label} (n\u00a0=\u00a0{n:g})" if n and n == n else label
    return "\n".join(textwrap.fill(line, LETTERS, break_on_hyphens=False) for line in text.split("\n"))


def _estimates(ax, part, looks, bar):
    """One panel of `forest`."""
    ax.axvline(0, color=GREY, linewidth=0.8)
    if "spread" in part:
        ax.hlines(part.place, part["mean"] - part.spread, part["mean"] + part.spread, color=GREY, linewidth=0.6)
    known = part.dropna(subset="mean")
    for verdict, (colour, mark) in looks.items():
        rows = known[known.verdict == verdict]
        if len(rows):
            ax.hlines(rows.place, rows.low, rows.high, gid="interval", **{"color": colour, "linewidth": 1.6} | bar)
            ax.plot(rows["mean"], rows.place, mark, color=colour, markersize=5, label=verdict)
    for row in part.itertuples():
        ax.text(1.03, row.place, row.said, size=8, va="center", transform=ax.get_yaxis_transform())
    ax.set(yticks=part.place, yticklabels=part.label, ylim=(part.lines.sum() or 1, 0), xlabel="".join(part.unit[:1]))
    ax.margins(x=0.08)
    if len(known):
        ax.locator_params(axis="x", nbins=4 if part.said.any() else 6)  # narrower beside text
    else:
        ax.set_xticks([])


# --- weights ----------------------------------------------------------------------------------------------------------
def figure1(base_counts, case_counts, edges, case: str) -> Figure:
    """The paper's Figure 1: weights after training in the base case and in ``case``, their difference, and both.

    Counts between ``edges``, summed or averaged over seeds; drawn as densities, since the bins are unequal.
    """
    base, other = density(base_counts, edges), density(case_counts, edges)
    one, two = (base, BLUE, "base"), (other, GREEN, case)
    panels = {
        f"base, n = {round(np.sum(base_counts)):,}": [one],
        f"{case}, n = {round(np.sum(case_counts)):,}": [two],
        "absolute difference": [(np.abs(base - other), RED, "absolute difference")],
        "overlay": [one, two],
    }
    return _histograms(panels, edges)


def weights_before_after(before, after, case: str = "") -> Figure:
    """Pretrained weights and the same right after re-initialisation; ``after`` is an array, or a dict case -> array."""

    def layer(weights, *look):
        inside = np.ravel(weights).clip(HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1])
        return density(np.histogram(inside, HISTOGRAM_EDGES)[0], HISTOGRAM_EDGES), *look

    after, old = after if isinstance(after, dict) else {case: after}, layer(before, BLUE, "pretrained")
    panels = {
        f"{name}, n = {np.size(new):,}": [old, layer(new, GREEN, "re-initialised")] for name, new in after.items()
    }
    return _histograms(panels, HISTOGRAM_EDGES, logarithmic=True)


def density(counts, edges) -> np.ndarray:
    """Counts in (unequal) bins as a density, which integrates to 1."""
    return np.asarray(counts, float) / np.diff(edges) / max(np.sum(counts), 1)


@style()
def _histograms(panels, edges, logarithmic=False):
    """Panels (title -> densities, colours, labels) on the same axes; logarithmic: of weights beyond 0.01."""
    columns = 2 if len(panels) > 1 else 1
    figure, axes = subplots(max(1, -(-len(panels) // 2)), columns, width=8, sharex=True, sharey=True)
    for ax, (title, drawn) in zip(axes.flat, panels.items(), strict=False):
        ax.set_title(title)
        for i, (values, colour, label) in enumerate(drawn):
            look = {"fill": True, "color": colour, "alpha": 0.45 if i else 0.75, "label": label}
            ax.stairs(values, edges, baseline=1e-12, **look)
    if logarithmic:
        axes[0, 0].set_xscale("asinh", linear_width=0.01)
        axes[0, 0].set_xticks([-1, -0.1, 0, 0.1, 1], ["-1", "-0.1", "0", "0.1", "1"])
        axes[0, 0].minorticks_off()
    reach, seen = _in_view([values for drawn in panels.values() for values, *_ in drawn], edges)
    axes[0, 0].set(yscale="log", xlim=(-reach, reach), ylim=(max(seen.min() / 2, seen.max() / 1e7), 2 * seen.max()))
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    return finish(figure, axes, "weight (no unit)", "density (1 / weight)")


def _in_view(layers, edges):
    """How far from zero all but the outermost 1/20,000 of each layer's both sides reach, and the densities there."""
    sums = [np.cumsum(v * np.diff(edges)) for v in layers if v.any()]
    kept = [np.searchsorted(c / c[-1], (5e-5, 1 - 5e-5)) for c in sums]
    ends = [edges[i] for low, high in kept for i in (low, min(high + 1, len(edges) - 1))]
    reach = max(map(abs, ends), default=1)
    return reach, np.concatenate([[0.1], *(v[(v > 0) & (np.abs(edges[1:]) <= reach)] for v in layers)])


# --- runs -------------------------------------------------------------------------------------------------------------
def accuracy_by_case(frame: pd.DataFrame) -> Figure:
    """Test accuracy of every run by case, a panel for each architecture (row) and data set (column)."""
    return _by_case(_shown(frame, 100 * frame.accuracy), "test accuracy (%)")


def epochs_by_case(frame: pd.DataFrame) -> Figure:
    """Epochs until early stopping of every run by case, in the panels of ``accuracy_by_case``."""
    return _by_case(_shown(frame, frame.epochs), "training time (epochs)")


@style()
def _by_case(frame, label):
    known = present(frame.case, (*CASES, *CONTROL_CASES))
    cases, controls = ([c for c in known if (c in CONTROL_CASES) is wanted] for wanted in (False, True))
    places = {c: i + (0.5 if c in controls else 0) for i, c in enumerate([*cases, *controls])}
    figure, axes, panels = _panels(frame, "shown", sharex=True)
    for ax, rows in panels:
        for case, x in places.items():
            _runs(ax, x, rows[rows.case == case].shown.dropna(), case)
        for case, count in rows[rows.status == "failed"].groupby("case").size().items():
            at = {"xy": (places[case], 0.03), "xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
            ax.annotate(f"{count} failed", rotation=90, size=7, color=RED, **at)
        if rows.shown[rows.case == "base"].notna().any():
            ax.axhline(rows.shown[rows.case == "base"].mean(), color=COLOURS["base"], linestyle="--", linewidth=0.8)
        if cases and controls:
            ax.axvline(len(cases) - 0.25, color=GREY, linewidth=0.5)
        ax.set_xticks([*places.values()], [*places], rotation=90)
    caption = "Dot: one run; bar: mean; dashed: mean of base; right of the grey line: controls."
    return finish(figure, axes, "case", label, caption)


@style()
def transfer(frame: pd.DataFrame) -> Figure:
    """What pretraining is worth: test accuracy of the base case against training from scratch, every run a dot."""
    frame = _shown(frame, 100 * frame.accuracy).dropna(subset="shown").query("case in ('base', 'scratch')")
    names, datasets = present(frame.architecture, ARCHITECTURES), present(frame.dataset, TITLES)
    figure, axes = subplots(1, len(datasets), height=6.5, sharey=True)
    for ax, dataset in zip(axes.flat, datasets, strict=True):
        rows = frame[frame.dataset == dataset]
        for i, name in enumerate(names):
            base, scratch = (rows[(rows.architecture == name) & (rows.case == c)].shown for c in ("base", "scratch"))
            _runs(ax, i - 0.2, base, "base", 0.3)
            _runs(ax, i + 0.2, scratch, "scratch", 0.3)
            if len(base) and len(scratch):
                at = {"xy": (i, max(base.max(), scratch.max())), "xytext": (0, 5), "textcoords": "offset points"}
                ax.annotate(f"{base.mean() - scratch.mean():+.1f}", ha="center", **at)
        ax.set_title(f"{TITLES.get(dataset, dataset)}\nn = {span(rows.groupby(['architecture', 'case']).size())}")
        ax.set_xticks(range(len(names)), [network_title(name).replace(" ", "\n") for name in names])
        ax.margins(y=0.12)
    caption = "Dot: one run; bar: mean; number: mean of base minus mean of scratch, in percentage points."
    return finish(figure, axes, "architecture", "test accuracy (%)", caption)


@style()
def convergence(histories: pd.DataFrame) -> Figure:
    """Validation accuracy by epoch of `CONVERGING`: mean over seeds, band from least to most, median stop marked."""
    figure, axes, panels = _panels(histories[histories.case.isin(CONVERGING)], "validation_accuracy")
    for ax, rows in panels:
        for i, case in enumerate(c for c in CONVERGING if (rows.case == c).any()):
            runs, colour = rows[rows.case == case], _colour(case)
            table, stop = carried_forward(runs, rows.epoch.max()), runs.groupby("seed").epoch.max().median()
            mean, ends = table.mean(axis=1), (table.min(axis=1), table.max(axis=1))
            ax.plot(mean, color=colour, linewidth=1.2, label=case)
            ax.fill_between(table.index, *ends, color=colour, alpha=0.15, linewidth=0)
            ax.plot(stop, np.interp(stop, mean.index, mean), MARKS[i], color=colour, markeredgecolor="white")
    caption = "Line: mean over seeds; band: least to most; marker: median stopping epoch."
    caption += " A stopped run is carried forward with its last value."
    return finish(figure, axes, "epoch", "validation accuracy (%)", caption)


def carried_forward(runs: pd.DataFrame, length: int) -> pd.DataFrame:
    """Validation accuracy in percent, epochs 1..length by seed; a run that stopped keeps its last value."""
    table = 100 * runs.pivot_table(index="epoch", columns="seed", values="validation_accuracy")
    return table.reindex(range(1, length + 1)).ffill()


def _shown(frame, values):
    return frame.assign(shown=pd.to_numeric(values).where(frame.status == "done")).sort_values("seed", kind="stable")


def _runs(ax, x, values, case, width=0.5):
    """Every value as a dot, spread evenly about ``x``, and their mean as a bar."""
    if len(values):
        look, label = {"color": _colour(case)}, case if width < 0.5 else None
        places = x + spread(len(values), width / 3)
        ax.scatter(places, values, s=9, alpha=0.6, linewidths=0, gid="runs", label=label, **look)
        ax.hlines(values.mean(), x - width / 1.5, x + width / 1.5, linewidth=1.6, gid="mean", **look)


def _panels(frame, value, **sharing):
    """A titled grid of architectures x data sets, and its axes with their rows of the frame."""
    names, datasets = present(frame.architecture, ARCHITECTURES), present(frame.dataset, TITLES)
    figure, axes = subplots(len(names), len(datasets), **sharing)
    panels = []
    for ax, (name, dataset) in zip(axes.flat, [(n, d) for n in names for d in datasets], strict=True):
        rows = frame[(frame.architecture == name) & (frame.dataset == dataset)]
        count = span(rows.dropna(subset=value).groupby("case").seed.nunique())
        ax.set_title(f"{network_title(name)}, n = {count}\n{TITLES.get(dataset, dataset)}")
        panels.append((ax, rows))
    return figure, axes, panels


def _colour(case):
    return COLOURS.get(case.lstrip("0123456789. "), GREY)


# --- layers and images ------------------------------------------------------------------------------------------------
@style()
def resets_by_layer(reports: dict[str, list[dict]]) -> Figure:
    """Share of each weight tensor that was reset, in forward order, for each label's rows (name, kind, size, reset)."""
    weights = {label: [row for row in rows if row["kind"] == "weight"] for label, rows in reports.items()}
    sizes = {row["name"]: row["size"] for rows in weights.values() for row in rows}
    places = {name: i for i, name in enumerate(sizes)}
    figure, axes = subplots(1, 1, height=2 + 0.36 * len(sizes), width=14)
    ax = axes[0, 0]
    for i, (label, rows) in enumerate(weights.items()):
        look = {"color": SERIES[1 + i % 5], "label": label, "markersize": 4, "linewidth": 0.8}
        shares, names = [100 * row["reset"] / row["size"] for row in rows], [places[row["name"]] for row in rows]
        ax.plot(shares, names, MARKS[i % 8] + "-", **look)
    ax.set(yticks=range(len(sizes)), yticklabels=map(abbreviated, sizes), ylim=(max(1, len(sizes)) - 0.5, -0.5))
    ax.set_title(f"n = {len(sizes)} weight tensors, {sum(sizes.values()):,} weights")
    ax.set_xlim(left=0)
    return finish(figure, axes, "share reset (%)", "weight tensor, in forward order")


def abbreviated(name: str, longest: int = 28) -> str:
    """A tensor's name without "weight"; if still long, without its outer containers and with clipped words."""
    name = re.sub(r"[._]weight$", "", name)
    if len(name) > longest:
        numbered = re.search(r"[^.]*\d.*", name)
        name = re.sub(r"([a-z]{3})[a-z]{2,}", r"\1", (numbered[0] if numbered else name).replace("self_", ""))
    return name if len(name) <= longest else "…" + name[1 - longest :]


def class_title(name: str, label: int, longest: int = 18) -> str:
    """A class's name if the fonts here have all its signs, else its number; long ones without their middle."""
    fonts = [font_manager.get_font(font_manager.findfont(font)) for font in ("DejaVu Sans", *cjk_fonts())]
    if not all(any(ord(sign) in font.get_charmap() for font in fonts) for sign in name):
        return f"class {label}"
    if len(name) <= longest:
        return name
    short = textwrap.shorten(name, longest, placeholder="…")
    return short if len(short) > longest / 2 else f"{name[: longest // 2]}…{name[1 - longest // 2 :]}"


def cjk_fonts() -> list[str]:
    """The fonts of this machine that have Chinese, Japanese or Korean signs, by usual names."""
    usual = ("Noto Sans CJK", "Source Han Sans", "WenQuanYi", "Microsoft YaHei", "PingFang", "Hiragino Sans", "Malgun")
    return sorted(name for name in font_manager.get_font_names() if name.startswith(usual))


@style()
def contact_sheet(dataset, per_class: int = 6, classes: int = 25) -> Figure:
    """Some train items of a packed data set, a block for each of at most ``classes`` classes."""
    train, names, gap = ~np.asarray(dataset.test), dataset.class_names, 2
    images, labels = np.asarray(dataset.images), np.asarray(dataset.labels)
    shown, abreast = evenly(np.arange(len(names)), classes), max(1, -(-per_class // 2))
    columns = min(5, int(np.ceil(np.sqrt(len(shown)))))
    figure, axes = subplots(-(-len(shown) // columns), columns, height=2.9, width=max(3.2, 10 / columns))
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, label in zip(axes.flat, shown, strict=False):
        items = np.flatnonzero(train & (labels == label))
        tiles = np.full((2 * abreast, *np.add(images.shape[1:], (gap, gap, 0))), 255, np.uint8)  # the absent: white
        tiles[: min(per_class, len(items)), :-gap, :-gap] = images[evenly(items, per_class)]
        ax.imshow(np.vstack([np.hstack(tiles[:abreast]), np.hstack(tiles[abreast:])]), interpolation="nearest")
        title = f"{class_title(names[label], label)}\nn = {len(items)}"
        ax.set_title(title, size=8, parse_math=False, family=[*plt.rcParams["font.family"], *cjk_fonts()])
    counts = f"{len(shown)} of {len(names)} classes, n = {train.sum():,} train items"
    figure.suptitle(f"{TITLES.get(dataset.name, dataset.name)}: {counts}", size=9)
    return figure
