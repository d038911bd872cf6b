"""The paper's numbers are transcribed without a slip."""

from collections import Counter
from decimal import ROUND_HALF_UP, Decimal

import pytest

from plasticity.studies.main_paper.numbers import (
    CLAIMS_IN_TEXT,
    DATASETS,
    P_VALUES,
    PARAMETERS,
    RESULTS,
    TABLE6,
    Row,
    best_rows,
    frame,
    read_row,
    table6,
)

NUMBERS = ("accuracy", "accuracy_std", "epochs", "epochs_std")
GROUPS = {(row.architecture, row.dataset): [] for row in RESULTS}
for _row in RESULTS:
    GROUPS[_row.architecture, _row.dataset].append(_row)

# Sums down each column, plain and weighted by the row number, made from the text of the paper by a separate script.
SUMS = {
    3: (("947.749", "10.283", "1217.164", "360.172"), ("6522.153", "56.499", "7924.176", "2813.098")),
    4: (("1113.303", "11.478", "1773.684", "535.558"), ("8097.522", "65.999", "12189.420", "3540.456")),
    5: (("1039.280", "6.353", "955.300", "170.917"), ("7053.606", "37.828", "5950.900", "1144.503")),
}


@pytest.mark.parametrize("table", SUMS)
def test_columns_have_the_sums_of_the_printed_tables(table):
    rows = [row for row in RESULTS if row.table == table]
    plain = tuple(str(sum(getattr(row, name) for row in rows)) for name in NUMBERS)
    weighted = tuple(str(sum(row.row * getattr(row, name) for row in rows)) for name in NUMBERS)
    assert (plain, weighted) == SUMS[table]


def test_rows_and_cases_per_table():
    assert len(RESULTS) == 37
    assert Counter((row.table, row.architecture) for row in RESULTS) == {
        (3, "SimpleNet"): 12,
        (4, "ResNet-50"): 13,
        (5, "ViT-B16"): 12,
    }
    assert {cell: " ".join(row.case for row in rows) for cell, rows in GROUPS.items()} == {
        ("SimpleNet", "DTD"): "10M 10MN 5MN base",
        ("SimpleNet", "Brain Tumor"): "base 10MN 10M 5M",
        ("SimpleNet", "Fruit25"): "10M 25M base 5MN",
        ("ResNet-50", "DTD"): "5M base 10MN 10M",
        ("ResNet-50", "Brain Tumor"): "10M 25M 10MN base",
        ("ResNet-50", "Fruit25"): "10MN 5MN 25M 10M base",
        ("ViT-B16", "DTD"): "5M base 5MN 25MN",
        ("ViT-B16", "Brain Tumor"): "25M 5MN 10M base",
        ("ViT-B16", "Fruit25"): "25M 5M 25MN base",
    }


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


@pytest.mark.parametrize("cell", GROUPS)
def test_groups_are_sorted_by_accuracy_as_the_captions_say(cell):
    accuracies = [row.accuracy for row in GROUPS[cell]]
    assert accuracies == sorted(accuracies, reverse=True)


def test_table1_multiplies_out_and_table2_is_as_printed():
    assert DATASETS == {
        "DTD": (47, (120, 120), 5640),
        "Brain Tumor": (4, (1600, 2000), 7150),
        "Fruit25": (25, (450, 450), 11250),
    }
    for classes, (low, high), total in DATASETS.values():
        assert classes * low <= total <= classes * high
    assert {name: str(millions) for name, millions in PARAMETERS.items()} == {
        "SimpleNet": "0.5",
        "ResNet-50": "25.6",
        "ViT-B16": "86.6",
    }


def test_frame_holds_every_row_as_floats():
    data = frame()
    assert data.shape == (37, 9) and set(map(str, data[list(NUMBERS)].dtypes)) == {"float64"}
    assert data.groupby("table")["accuracy"].sum().round(3).tolist() == [947.749, 1113.303, 1039.280]


def test_table6_from_tables_3_to_5():
    assert {cell: row.case for cell, row in best_rows().items()} == {
        ("SimpleNet", "DTD"): "10M",
        ("SimpleNet", "Brain Tumor"): "10MN",
        ("SimpleNet", "Fruit25"): "10M",
        ("ResNet-50", "DTD"): "5M",
        ("ResNet-50", "Brain Tumor"): "10M",
        ("ResNet-50", "Fruit25"): "10MN",
        ("ViT-B16", "DTD"): "5M",
        ("ViT-B16", "Brain Tumor"): "25M",
        ("ViT-B16", "Fruit25"): "25M",
    }
    assert [tuple(map(str, gains)) for gains in table6().values()] == [
        ("2.429", "6.6"),
        ("-0.783", "-61.967"),
        ("0.464", "-17.933"),
        ("0.292", "-89.4"),
        ("0.502", "-3.7"),
        ("0.920", "-9"),
        ("0.160", "-2.2"),
        ("0.349", "4.5"),
        ("0.796", "3.8"),
    ]


def test_table6_misprints_by_plain_rounding():
    wrong = []
    for (architecture, dataset), gains in table6().items():
        for printed, gain in zip(TABLE6[dataset][architecture], gains, strict=True):
            steps = {gain.quantize(Decimal(printed), rounding) for rounding in (ROUND_HALF_UP, "ROUND_HALF_EVEN")}
            wrong += [(architecture, dataset, printed)] * (Decimal(printed) not in steps)
    assert wrong == [
        ("SimpleNet", "Brain Tumor", "-0.7"),
        ("ResNet-50", "DTD", "-90"),
        ("ResNet-50", "Brain Tumor", "-5"),
        ("ViT-B16", "DTD", "0.15"),
        ("ViT-B16", "Brain Tumor", "0.4"),
        ("ViT-B16", "Fruit25", "0.7"),
    ]


def test_p_values_and_the_papers_verdicts():
    assert Counter(value.section for value in P_VALUES) == {"4.1": 5, "4.2": 6, "4.3": 4}
    assert sum(value.p for value in P_VALUES) == Decimal("2.65974")  # from the text, by a separate script
    assert all(value.significant == (value.p < Decimal("0.05")) for value in P_VALUES)
    assert [str(value.p) for value in P_VALUES if value.significant] == [
        "0.03836",
        "0.03005",
        "0.00964",
        "0.04363",
        "0.04457",
        "0.04093",
    ]
    assert [value.metric for value in P_VALUES].count("epochs") == 6
    assert [value.p for value in P_VALUES if value.metric == "accuracy" and value.alternative == "less"] == [
        Decimal("0.2109")
    ]


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
    on_dtd = [row.case for (_, dataset), row in best_rows().items() if dataset == "DTD"]
    assert on_dtd == ["10M", "5M", "5M"]


@pytest.mark.parametrize(
    "line, said",
    [
        (
            "DTD  10 M  60.355 ±  96.000 ±  9.110",
            "Table 3, row 1: .* has 5 parts; expected 6: data set  case  accuracy ± std",
        ),
        (
            "DTD  10 M  sixty ± 1.148  96.000 ±  9.110",
            "Table 3, row 1, accuracy: 'sixty' is no number; expected digits as printed",
        ),
        ("DTD  10 M  60.355 ± 1.148  96.000 ±  nan", "Table 3, row 1, their std: 'nan' is no number"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(line, said):
    with pytest.raises(ValueError, match=said):
        read_row(3, 1, "SimpleNet", line)


def test_a_row_as_printed_is_read():
    assert read_row(3, 7, "SimpleNet", " Fruit 25  10 MN   1.10 ± 0.2   3 ±  4.0 ") == Row(
        3, 7, "SimpleNet", "Fruit25", "10MN", *map(Decimal, ("1.10", "0.2", "3", "4.0"))
    )
