"""Utility, pruning and re-initialisation on one small tensor, every number shown (Coetzer et al. 2026, section 3.1).

The tables show what `reinit.reinitialize` does to a layer of these weights, not a second version of it.
"""

import pandas as pd
import torch
from torch import nn

from ...analysis.writing import text_table
from ...reinit import METHODS, READINGS, Case, NothingToReset, reinitialize

WEIGHTS = (
    (0.31, -0.02, 0.12, -0.43, 0.26),
    (0.05, 0.22, -0.01, -0.15, 0.33),
    (-0.08, 0.19, 0.03, 0.37, -0.24),
    (0.28, -0.35, 0.17, 0.09, -0.12),
)
BIASES = (0.11, -0.31, 0.02, 0.24)
PAPERS = ("M", "MN", "NS", "N")  # the paper's re-initialisation functions
PERCENT = 25
SEED = 1


def layer() -> nn.Linear:
    """A linear layer of four units with five inputs."""
    result = nn.Linear(5, 4)
    with torch.no_grad():
        result.weight.copy_(torch.tensor(WEIGHTS))
        result.bias.copy_(torch.tensor(BIASES))
    return result


def changed(case: str, reading: str = "code") -> nn.Linear:
    """The layer after a case."""
    result = layer()
    reinitialize(result, case, reading=reading, generator=torch.Generator().manual_seed(SEED))
    return result


def pruned(case: str) -> torch.Tensor:
    """Which weights a case changes: bool [4, 5]."""
    try:
        return changed(case).weight != layer().weight
    except NothingToReset:
        return torch.zeros(4, 5, dtype=torch.bool)


def utilities(percents=(5, 10, PERCENT)) -> pd.DataFrame:
    """One row per weight, the least useful first: place, weight, utility |w|, and at which percentages it is pruned."""
    weights = layer().weight.detach()
    order = weights.abs().flatten().argsort(stable=True).tolist()
    masks = {p: pruned(f"{p}N").flatten() for p in percents}
    rows = []
    for rank, i in enumerate(order, start=1):
        w = weights.flatten()[i].item()
        marks = ["pruned" if masks[p][i] else "-" for p in percents]
        rows.append([str(rank), f"unit {i // 5 + 1}, input {i % 5 + 1}", f"{w:+.2f}", f"{abs(w):.2f}", *marks])
    return text_table(rows, ["Rank", "Weight", "w", "Utility", *(f"{p}%" for p in percents)])


def functions(percent: int = PERCENT) -> pd.DataFrame:
    """The new values of the pruned weights by function and reading, in the order of their places; ``Notation`` is
    equation 2's."""
    mask = pruned(f"{percent}N")
    rows = [["before", "-", "-", *(f"{w:+.3f}" for w in layer().weight[mask].tolist())]]
    for name in PAPERS:
        for reading in READINGS if name == "MN" else READINGS[:1]:
            values = changed(f"{percent}{name}", reading).weight[mask].tolist()
            shown = reading if name == "MN" else "both"
            rows.append([f"{percent} {name}", METHODS[name], shown, *(f"{w:+.3f}" for w in values)])
    places = [f"Unit {i + 1}, Input {j + 1}" for i, j in mask.nonzero().tolist()]
    return text_table(rows, ["Notation", "New Values", "Reading", *places])


def equation_1(percent: int = PERCENT) -> pd.DataFrame:
    """MN's noise taken apart: mean + mean x draw / 10, the draw found again from each new value, by reading."""
    mask, mean, rows = pruned(f"{percent}N"), layer().weight.mean().item(), []
    for reading in READINGS:
        for value in changed(f"{percent}MN", reading).weight[mask].tolist():
            draw = 10 * (value / mean - 1)
            rows.append([reading, f"{mean:.4f}", f"{draw:+.2f}", f"{mean:.4f} x (1 {draw / 10:+.3f}) = {value:.4f}"])
    return text_table(rows, ["Reading", "Mean", "Draw", "New Weight"])


def readings(percent: int = PERCENT) -> pd.DataFrame:
    """The biases of the base case and of a case, by reading."""
    rows = []
    for reading in READINGS:
        for case in ("base", f"{percent}M"):
            name = f"{percent} M" if Case.parse(case).fraction else case
            rows.append([reading, name, *(f"{b:+.2f}" for b in changed(case, reading).bias.tolist())])
    return text_table(rows, ["Reading", "Case", *(f"Bias {i}" for i in range(1, 5))])
