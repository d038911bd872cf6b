"""The figures of notebook 05."""

import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ...analysis.figures import COLOURS, GREY, MARKS, RED, finish, style, subplots
from . import by_hand
from .on_a_network import PATCHES


@style()
def small_tensor(percent: int = by_hand.PERCENT) -> Figure:
    """The small tensor before, its utilities, and after each of the paper's functions; what was pruned is framed."""
    mask, before = by_hand.pruned(f"{percent}N"), by_hand.layer().weight.detach()
    panels = {"weights": before, "utility |w|": before.abs()}
    panels |= {f"{percent} {name}": by_hand.changed(f"{percent}{name}").weight.detach() for name in by_hand.PAPERS}
    figure, axes = subplots(2, 3, 3.6, 5)
    for ax, (title, values) in zip(axes.flat, panels.items(), strict=True):
        ax.imshow(values.numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
        ax.grid(False)
        for (i, j), value in zip(_places(values), values.flatten().tolist(), strict=True):
            dark = abs(value) > 0.6
            ax.text(j, i, f"{value:.2f}", size=6.5, ha="center", va="center", color="white" if dark else "black")
            if mask[i, j]:
                ax.add_patch(_frame(i, j))
        ax.set(title=title, xticks=[], yticks=[])
    return finish(figure, axes, "", "", "Four units (rows), five inputs. Framed: pruned. One draw of each function.")


def _places(values: torch.Tensor) -> list[tuple[int, int]]:
    return [(i, j) for i in range(values.shape[0]) for j in range(values.shape[1])]


def _frame(row: int, column: int) -> Rectangle:
    return Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, edgecolor=RED, linewidth=1.6)


@style()
def movements(table: pd.DataFrame) -> Figure:
    """The relative change of the features by percentage, a line for each function, every seed a mark."""
    figure, axes = subplots(1, 1, 7, 11)
    ax = axes[0, 0]
    for i, (name, part) in enumerate(table.groupby("function", sort=False)):
        colour = COLOURS.get(name, GREY)
        means = part.groupby("percent").moved.mean()
        ax.plot(means.index, 100 * means, f"-{MARKS[i]}", color=colour, markersize=5, linewidth=1.2, label=name)
        ax.scatter(part.percent, 100 * part.moved, s=6, color=colour, alpha=0.5, linewidths=0)
    ax.set_yscale("log")
    low, high = 100 * table.moved.min(), 100 * table.moved.max()
    ticks = [tick for tick in (5, 10, 20, 50, 100, 200, 500, 1000) if low / 1.5 < tick < 1.5 * high]
    ax.set_yticks(ticks, [str(tick) for tick in ticks])
    ax.set_xticks(sorted(table.percent.unique()))
    ax.minorticks_off()
    n = table.groupby(["function", "percent"]).size().max()
    caption = f"Norm of the change over the norm, {PATCHES} patches of two photographs; n = {n}; Z: to zero."
    return finish(figure, axes, "re-initialised weights (% of each tensor)", "change of the features (%)", caption, 5)
