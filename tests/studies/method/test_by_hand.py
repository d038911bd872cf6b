"""The method on one small tensor, every number worked out here."""

import pytest
import torch

from plasticity.studies.method import by_hand

FIVE = [(0, 1), (1, 0), (1, 2), (2, 0), (2, 2)]  # the five of twenty weights with the smallest |w|


def test_five_of_twenty_are_pruned_at_25_percent():
    assert [tuple(place) for place in by_hand.pruned("25N").nonzero().tolist()] == FIVE
    assert by_hand.pruned("5N").sum() == 1 and by_hand.pruned("10N").sum() == 2 and by_hand.pruned("4N").sum() == 0
    table = by_hand.utilities()
    assert table.Utility.astype(float).is_monotonic_increasing and len(table) == 20
    assert table["25%"].tolist() == ["pruned"] * 5 + ["-"] * 15
    assert table.loc[0].tolist() == ["1", "unit 2, input 3", "-0.01", "0.01", "pruned", "pruned", "pruned"]


def test_the_functions_by_hand():
    mean = sum(map(sum, by_hand.WEIGHTS)) / 20
    assert mean == pytest.approx(0.051)
    draws = torch.randn(5, generator=torch.Generator().manual_seed(by_hand.SEED))
    values = {name: by_hand.changed(f"25{name}").weight[by_hand.pruned("25N")] for name in by_hand.PAPERS}
    assert torch.allclose(values["M"], torch.full((5,), mean))
    assert torch.allclose(values["MN"], mean * (1 + draws[:1] / 10).expand(5))
    assert torch.allclose(values["NS"], 0.2 * draws) and torch.allclose(values["N"], draws)
    shown = by_hand.functions().set_index(["Notation", "Reading"])
    assert shown.loc[("25 M", "both")].tolist()[1:] == ["+0.051"] * 5
    assert shown.loc[("before", "-")].tolist()[1:] == ["-0.020", "+0.050", "-0.010", "-0.080", "+0.030"]


def test_equation_1_draws_once_or_for_each_weight():
    table = by_hand.equation_1()
    by_reading = table.groupby("Reading").Draw.nunique()
    assert by_reading["code"] == 1 and by_reading["text"] == 5
    draws = torch.randn(5, generator=torch.Generator().manual_seed(by_hand.SEED)).tolist()
    assert table[table.Reading == "text"].Draw.astype(float).tolist() == pytest.approx(draws, abs=0.006)
    assert "0.0510 x (1 +0.066) = 0.0544" in table["New Weight"].tolist()


def test_the_readings_differ_about_biases():
    table = by_hand.readings().set_index(["Reading", "Case"])
    assert table.loc[("code", "base")].tolist() == ["+0.11", "-0.31", "+0.02", "+0.24"]
    assert table.loc[("code", "25 M")].tolist() == ["+0.11", "-0.31", "+0.00", "+0.24"]
    assert set(table.loc["text"].to_numpy().flatten()) == {"+0.00"}
