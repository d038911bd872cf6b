"""The method on a network with real weights, and what notebook 05 says of it."""

import numpy as np
import pandas as pd
import pytest
import torch

from plasticity.analysis.figures import save
from plasticity.studies.method import figures, findings, on_a_network


def test_photographs_are_normalised_patches():
    patches = on_a_network.photographs()
    assert patches.shape == (10, 3, 128, 128)
    assert patches.mean((0, 2, 3)).abs().max() < 1e-4 and (patches.std((0, 2, 3)) - 1).abs().max() < 1e-3


def test_m_is_near_pruning_and_n_far_from_it():
    m, z, n = (on_a_network.moved(f"10{name}") for name in "MZN")
    assert 0 < m < n and abs(m - z) < 0.2 * z
    again = on_a_network.features(on_a_network.network())
    assert torch.equal(again, on_a_network.features(on_a_network.network()))  # nothing has changed the network itself


def test_means_and_cuts_by_numpy():
    table = on_a_network.means_and_cuts(10).set_index("name")
    assert "classifier.weight" not in table.index and len(table) == 49
    row = table.loc["conv_head.weight"]
    weights = on_a_network.network().get_parameter("conv_head.weight").detach().numpy().ravel()
    assert row["size"] == len(weights) == 409_600 and row["mean"] == pytest.approx(weights.mean(), abs=1e-6)
    assert row.cut == pytest.approx(np.sort(np.abs(weights))[40_960 - 1])
    assert bool(row.below) == (abs(weights.mean()) <= row.cut)
    assert on_a_network.largest() == "conv_head.weight" and len(on_a_network.shown_means(table.reset_index())) == 7


def test_a_quarter_of_the_weights_become_the_mean():
    before, after = on_a_network.weights(), on_a_network.weights("25M")
    assert (before != after).mean() == pytest.approx(0.25, abs=1e-4)
    assert len(np.unique(after[before != after])) == 1


def test_findings_and_figures_follow_the_numbers(tmp_path):
    moved = {"M": 0.1, "MN": 0.11, "Z": 0.1, "NS": 0.5, "N": 2.0}
    table = pd.DataFrame([(name, p, 0, p * v) for name, v in moved.items() for p in (5, 25)])
    table.columns = ["function", "percent", "seed", "moved"]
    means = on_a_network.shown_means(on_a_network.means_and_cuts(10))
    said = findings.answer(on_a_network.shown_movements(table), means)
    assert "at 25% they move the features by 250% and 275%, zero by 250%, NS by 1250% and N by 5000%" in said[0]
    assert f"In {on_a_network.means_and_cuts(10).below.sum()} of 49 weight tensors the mean is itself among" in said[1]
    for number, figure in enumerate((figures.movements(table), figures.small_tensor())):
        assert all(path.stat().st_size for path in save(figure, tmp_path, str(number)))


@pytest.mark.slow
def test_what_is_reported_does_not_depend_on_the_number_of_threads():
    """Draws from N(0, 1) multiply rounding: in float32 the third digit did."""
    threads, found = torch.get_num_threads(), []
    for count in (1, 2):
        torch.set_num_threads(count)
        on_a_network._features_before.cache_clear()
        found.append(on_a_network.moved("25N"))
    torch.set_num_threads(threads)
    assert found[0] == pytest.approx(found[1], rel=1e-9)
