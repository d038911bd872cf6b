"""The list of the paper's contradictions is known to the last entry."""

from decimal import Decimal

from plasticity.studies.audit.contradictions import cells_of_table6, contradictions, contradictions_frame, sentences
from plasticity.studies.main_paper.numbers import CLAIMS_IN_TEXT, RESULTS

NOT_TEN_RUNS = {  # rows of which ten runs are impossible; * by their mean alone
    ("Table 3", "SimpleNet", "DTD"): "base",
    ("Table 3", "SimpleNet", "Brain Tumor"): "base* 10MN 10M 5M*",
    ("Table 3", "SimpleNet", "Fruit25"): "10M* 25M* base 5MN*",
    ("Table 4", "ResNet-50", "DTD"): "10MN 10M*",
    ("Table 4", "ResNet-50", "Brain Tumor"): "10M 25M* 10MN*",
    ("Table 5", "ViT-B16", "DTD"): "5M base 5MN 25MN",
    ("Table 5", "ViT-B16", "Brain Tumor"): "5MN 10M",
    ("Table 5", "ViT-B16", "Fruit25"): "25M 5M 25MN base",
}


def test_rows_that_ten_runs_cannot_give():
    found = {}
    for entry in contradictions():
        if entry.kind == "arithmetic":
            assert entry.printed == "10" and entry.where.startswith("Section 3.4, ")
            *cell, case = entry.where.split(", ")[1:]
            found.setdefault(tuple(cell), []).append(case + "*" * ("std" not in entry.why))
    assert {cell: " ".join(cases) for cell, cases in found.items()} == NOT_TEN_RUNS
    by_mean = [row for row in RESULTS if row.epochs * 10 % 1]
    assert [
        next(n for n in range(2, 99) if abs(row.epochs - round(row.epochs * n) / Decimal(n)) <= Decimal("0.0005"))
        for row in by_mean
    ] == [6, 11, 3, 3, 3, 3, 6, 4]


def test_every_other_contradiction():
    assert [
        (entry.kind, entry.where, entry.printed, entry.derived)
        for entry in contradictions()
        if entry.kind != "arithmetic"
    ] == [
        ("table against table", "Table 6, SimpleNet, Brain Tumor, accuracy", "-0.7", "-0.783"),
        ("table against table", "Table 6, ResNet-50, DTD, epochs", "-90", "-89.4"),
        ("table against table", "Table 6, ResNet-50, Brain Tumor, epochs", "-5", "-3.7"),
        ("table against table", "Table 6, ViT-B16, DTD, accuracy", "0.15", "0.160"),
        ("table against table", "Table 6, ViT-B16, Brain Tumor, accuracy", "0.4", "0.349"),
        ("table against table", "Table 6, ViT-B16, Fruit25, accuracy", "0.7", "0.796"),
        ("text against table", "Section 4.2, ResNet-50, Brain Tumor, epochs 10M - base", "-5", "-3.7"),
        ("text against table", "Section 4.3, ViT-B16, Brain Tumor, accuracy 25M - base", "0.4", "0.349"),
        ("text against table", "Section 4.3, ViT-B16, Fruit25, accuracy 25M - base", "0.8", "0.7"),
        ("text against text", "Section 4.3, ViT-B16, DTD, p of epochs", "5MN", "5M"),
        ("text against table", "Section 5.1, gains in accuracy", "0.5 to 2", "-0.783 to 2.429"),
        ("text against table", "Section 5, largest mean gain", "Fruit25", "DTD"),
        ("text against text", "Section 1, gains", "most far from ImageNet", "most on Fruit25"),
        ("text against text", "Section 3.1, noise of MN", "N(0, 1), scaled", "none"),
    ]
    wheres = [entry.where for entry in contradictions()]
    assert len(wheres) == len(set(wheres)) == 38 == len(contradictions_frame())


def test_the_tables_of_all_numbers_agree_with_the_list():
    said, cells = sentences(), cells_of_table6()
    assert len(said) == len(CLAIMS_IN_TEXT) and len(cells) == 18
    assert said[said.Agrees == "no"].Of.tolist() == ["ResNet-50, Brain Tumor, epochs", "ViT-B16, Brain Tumor, accuracy"]
    of_table6 = [
        entry.where.removeprefix("Table 6, ") for entry in contradictions() if entry.where.startswith("Table 6")
    ]
    assert cells[cells.Agrees == "no"].Of.tolist() == of_table6
