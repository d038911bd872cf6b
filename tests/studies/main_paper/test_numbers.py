"""The paper's numbers are transcribed without a slip."""

from collections import Counter
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

import pytest

from plasticity.studies.main_paper import numbers as paper
from plasticity.studies.main_paper.numbers import (
    CLAIMS_IN_TEXT,
    DATASETS,
    P_VALUES,
    PARAMETERS,
    RESULTS,
    TABLE6,
    Row,
    best_rows,
    table6,
)

NUMBERS = ("accuracy", "accuracy_std", "epochs", "epochs_std")
GROUPS = {(row.architecture, row.dataset): [] for row in RESULTS}
for _row in RESULTS:
    GROUPS[_row.architecture, _row.dataset].append(_row)
CELLS = """
    SimpleNet DTD          | 10M 10MN 5MN base     | 10M  |  2.429   6.6
    SimpleNet Brain Tumor  | base 10MN 10M 5M      | 10MN | -0.783 -61.967
    SimpleNet Fruit25      | 10M 25M base 5MN      | 10M  |  0.464 -17.933
    ResNet-50 DTD          | 5M base 10MN 10M      | 5M   |  0.292 -89.4
    ResNet-50 Brain Tumor  | 10M 25M 10MN base     | 10M  |  0.502  -3.7
    ResNet-50 Fruit25      | 10MN 5MN 25M 10M base | 10MN |  0.920  -9
    ViT-B16   DTD          | 5M base 5MN 25MN      | 5M   |  0.160  -2.2
    ViT-B16   Brain Tumor  | 25M 5MN 10M base      | 25M  |  0.349   4.5
    ViT-B16   Fruit25      | 25M 5M 25MN base      | 25M  |  0.796   3.8
"""  # the cases in printed order, the best but base, its gains
CELLS = [[part.split() for part in line.split("|")] for line in CELLS.strip().splitlines()]
CELLS = {(name, " ".join(dataset)): rest for (name, *dataset), *rest in CELLS}

# Sums down each column, plain and weighted by the row number, made from the text of the paper by a separate script.
SUMS = {
    3: ("947.749 10.283 1217.164 360.172", "6522.153 56.499 7924.176 2813.098"),
    4: ("1113.303 11.478 1773.684 535.558", "8097.522 65.999 12189.420 3540.456"),
    5: ("1039.280 6.353 955.300 170.917", "7053.606 37.828 5950.900 1144.503"),
}


@pytest.mark.parametrize("table", SUMS)
def test_columns_have_the_sums_of_the_printed_tables(table):
    rows = [row for row in RESULTS if row.table == table]
    plain = " ".join(str(sum(getattr(row, name) for row in rows)) for name in NUMBERS)
    weighted = " ".join(str(sum(row.row * getattr(row, name) for row in rows)) for name in NUMBERS)
    assert (plain, weighted) == SUMS[table]


def test_rows_and_cases_per_table_best_first_as_the_captions_say():
    counts = Counter((row.table, row.architecture) for row in RESULTS)
    assert counts == {(3, "SimpleNet"): 12, (4, "ResNet-50"): 13, (5, "ViT-B16"): 12}
    assert {cell: [row.case for row in rows] for cell, rows in GROUPS.items()} == {c: v[0] for c, v in CELLS.items()}
    for rows in GROUPS.values():
        assert rows == sorted(rows, key=lambda row: row.accuracy, reverse=True)


@pytest.mark.parametrize(
    "cell, case, numbers",
    [
        (("SimpleNet", "DTD"), "base", "57.926 1.463 89.400 5.899"),
        (("SimpleNet", "Brain Tumor"), "5M", "94.822 1.136 89.364 35.192"),
        (("ResNet-50", "DTD"), "base", "71.738 1.915 218.400 69.984"),
        (("ResNet-50", "Fruit25"), "5MN", "89.520 0.000 183.000 26.870"),
        (("ViT-B16", "Fruit25"), "base", "89.904 0.677 74.400 12.341"),
    ],
)
def test_spot_checks(cell, case, numbers):
    (row,) = (row for row in GROUPS[cell] if row.case == case)
    assert " ".join(str(getattr(row, name)) for name in NUMBERS) == numbers


def test_table1_multiplies_out_and_table2_is_as_printed():
    printed = {
        "DTD": (47, (120, 120), 5640),
        "Brain Tumor": (4, (1600, 2000), 7150),
        "Fruit25": (25, (450, 450), 11250),
    }
    assert DATASETS == printed
    assert all(classes * low <= total <= classes * high for classes, (low, high), total in printed.values())
    assert (
        " ".join(f"{name} {millions}" for name, millions in PARAMETERS.items())
        == "SimpleNet 0.5 ResNet-50 25.6 ViT-B16 86.6"
    )


def test_frame_holds_every_row_as_floats():
    data = paper.frame()
    assert data.shape == (37, 9) and set(map(str, data[list(NUMBERS)].dtypes)) == {"float64"}
    assert data.groupby("table")["accuracy"].sum().round(3).tolist() == [947.749, 1113.303, 1039.280]


def test_table6_from_tables_3_to_5():
    assert {cell: [row.case] for cell, row in best_rows().items()} == {
        cell: best for cell, (_, best, _) in CELLS.items()
    }
    assert {cell: [*map(str, gains)] for cell, gains in table6().items()} == {cell: v[2] for cell, v in CELLS.items()}


def test_table6_misprints_by_plain_rounding():
    wrong = []
    for (architecture, dataset), gains in table6().items():
        for printed, gain in zip(TABLE6[dataset][architecture], gains, strict=True):
            rounded = {gain.quantize(Decimal(printed), how) for how in (ROUND_HALF_UP, ROUND_HALF_EVEN)}
            wrong += [f"{architecture} {dataset} {printed}"] * (Decimal(printed) not in rounded)
    assert wrong == [
        "SimpleNet Brain Tumor -0.7",
        "ResNet-50 DTD -90",
        "ResNet-50 Brain Tumor -5",
        "ViT-B16 DTD 0.15",
        "ViT-B16 Brain Tumor 0.4",
        "ViT-B16 Fruit25 0.7",
    ]


def test_p_values_and_the_papers_verdicts():
    assert Counter(value.section for value in P_VALUES) == {"4.1": 5, "4.2": 6, "4.3": 4}
    assert sum(value.p for value in P_VALUES) == Decimal("2.65974")  # from the text, by a separate script
    assert all(value.significant == (value.p < Decimal("0.05")) for value in P_VALUES)
    significant = [str(value.p) for value in P_VALUES if value.significant]
    assert significant == ["0.03836", "0.03005", "0.00964", "0.04363", "0.04457", "0.04093"]
    assert {value.alternative for value in P_VALUES if value.metric == "epochs"} == {"less"}
    accuracies = [value for value in P_VALUES if value.metric == "accuracy"]
    assert len(accuracies) == 9 and [str(v.p) for v in accuracies if v.alternative == "less"] == ["0.2109"]
    assert {value.against for value in P_VALUES} == {"base"}


def test_claims_name_printed_cases_and_carry_the_stated_digits():
    assert Counter(claim.section for claim in CLAIMS_IN_TEXT) == {"4.1": 6, "4.2": 7, "4.3": 6}
    assert sum(claim.stated for claim in CLAIMS_IN_TEXT) == Decimal("598.5")
    for claim in CLAIMS_IN_TEXT:
        cases = {row.case for row in GROUPS[claim.architecture, claim.dataset]}
        assert set(claim.quantity.replace("+", " - ").split(" - ")) <= cases


def test_what_the_text_says_rightly_of_table6():
    gains = table6()
    assert max(gains, key=lambda cell: gains[cell][0])[0] == "SimpleNet"
    assert min(gains, key=lambda cell: gains[cell][1])[0] == "ResNet-50"
    assert [row.case for (_, dataset), row in best_rows().items() if dataset == "DTD"] == ["10M", "5M", "5M"]


def test_published_numbers_keep_their_digits_and_types(tmp_path):
    names = "table,row,architecture,dataset,case," + ",".join(NUMBERS)
    (tmp_path / "t.csv").write_text(f"{names}\n3,7,SimpleNet,Fruit25,10MN,1.10,0.2,3,4.0\n")
    (row,) = paper.read_published(tmp_path / "t.csv", Row)
    assert row == Row(3, 7, "SimpleNet", "Fruit25", "10MN", *map(Decimal, ("1.10", "0.2", "3", "4.0")))
    assert str(row.accuracy) == "1.10"
