"""A network with real ImageNet weights goes through the same notebooks as the miniatures: profile imagenet_quick."""

import pytest
from helpers import run_notebook

from plasticity.analysis import frames
from plasticity.profiles import get_profile, grid
from plasticity.running import records


@pytest.mark.slow
def test_a_network_with_imagenet_weights_goes_through_the_same_notebooks(tmp_path):
    for name in ("00_data_prep", "13_efficientnet_lite0", "20_analysis"):
        run_notebook(name, tmp_path, profile="imagenet_quick")
    assert "efficientnet-lite0-57934424" in (tmp_path / "notebooks" / "00_data_prep.ipynb").read_text()
    assert "photographs, 64 pixels" in (tmp_path / "tables" / "table_efficientnet_lite0.csv").read_text()
    frame = frames.frame(records.load_runs(grid(get_profile("imagenet_quick")), tmp_path / "runs"))
    means = frame[frame.dataset == "photos_64"].groupby("case").accuracy.mean()
    assert means["base"] > means["scratch"] + 0.2  # after two epochs, ImageNet weights are far ahead
