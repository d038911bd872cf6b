"""The audit of published tables: what it says of the paper, that it keeps the truth, what it does with a bad table."""

from decimal import Decimal
from fractions import Fraction
from itertools import combinations, combinations_with_replacement, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm

from plasticity.studies.audit import figures as audit_figures
from plasticity.studies.audit import p_values as ranks
from plasticity.studies.audit import rows as audit
from plasticity.studies.audit import simulation as audit_simulation
from plasticity.studies.main_paper.numbers import P_VALUES

D = Decimal
LINES = audit.published()
GROUPS = audit.by_group(LINES)
CSV = """group,name,accuracy,accuracy_std,epochs,epochs_std
DTD,5MN,59.220,0.251,88.500,6.364
DTD,base,57.926,1.463,89.400,5.899
"""
RUNS = st.lists(st.integers(2, 12), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def settled():
    return audit.settle(LINES)


def line(group, name):
    (found,) = (each for each in GROUPS[group] if each.name == name)
    return found


# --- the paper --------------------------------------------------------------------------------------------------------
def test_the_sizes_that_fit_the_paper(settled):
    assert settled == {"DTD": (1128, 0), "Brain Tumor": (1431, 0), "Fruit25": (1250, 1)}
    table = audit.sizes_table(LINES)
    first = table[table.Assumed == next(iter(audit.ASSUMPTIONS))]
    assert first["Test items"].tolist() == ["1128, 2256, 3384", "1431, 2862", "none"]
    assert first["Expected by luck"].astype(float).max() < 0.01


def test_every_row_is_possible_and_few_with_ten_runs(settled):
    table = audit.rows_table(LINES, settled).set_index(["Dataset", "Row"])
    assert len(table) == 37 and "none" not in table["Runs by both"].tolist()
    assert table["10 runs"].value_counts().to_dict() == {"no": 30, "possible": 5, "yes": 2}
    both = table["Runs by both"]
    assert both["DTD", "ViT-B16, 5M"] == "5" and both["Brain Tumor", "SimpleNet, 5M"] == "11"
    assert both["Fruit25", "ViT-B16, 25M"] == "4 of 5" and both["Brain Tumor", "ViT-B16, base"] == "10"
    assert not any(" of " in entry for (dataset, _), entry in both.items() if dataset != "Fruit25")


def plain_grimmer(mean, std, n, unit):
    """A check for at least five runs far from all bounds: a whole sum, whole squares of the same parity."""
    half = Fraction(1, 2000)
    for total in range(int((mean - half) * n / unit), int((mean + half) * n / unit) + 2):
        if abs(unit * total / n - mean) <= half:
            spreads = ((n - 1) * max(std + error, 0) ** 2 / unit**2 for error in (-half, half))
            low, high = (spread + Fraction(total**2, n) for spread in spreads)
            if any(low <= q <= high for q in range(int(low), int(high) + 2) if (q - total) % 2 == 0):
                return True
    return False


def test_an_independent_recomputation_agrees_row_by_row():
    for group, size in (("DTD", 1128), ("Brain Tumor", 1431), ("Fruit25", 1250)):
        for row in GROUPS[group]:
            accuracy, epochs, tried = [*map(Fraction, row[2:4])], [*map(Fraction, row[4:])], range(5, 13)
            by_epochs = {n for n in tried if plain_grimmer(*epochs, n, Fraction(1))}
            by_accuracy = {n for n in tried if plain_grimmer(*accuracy, n, Fraction(100, size))}
            assert audit.runs_by_epochs(row, tried) == by_epochs, row
            assert audit.runs_by_accuracy(row, size, tried) == by_accuracy, row


def test_runs_recovered_by_hand():
    row = line("DTD", "SimpleNet, 5MN")
    assert audit.recovered(row, 2, 1128) == [(666, 670)] and audit.recovered_epochs(row, 2) == [(84, 93)]
    found = audit.recovered(line("DTD", "ViT-B16, 5M"), 5, 1128)
    percent = 100 * np.array(found) / 1128
    assert len(found) == 28
    assert {f"{x.mean():.3f} {x.std(ddof=1):.3f}" for x in percent} == {"71.809 0.862"}


def test_the_table_of_recovered_runs(settled):
    table = audit.recovered_table(LINES, settled).set_index(["Dataset", "Row"])
    assert len(table) == 28 and table.Runs.astype(int).max() == 5
    assert tuple(table.loc[("Fruit25", "ResNet-50, 10MN")]) == ("3", "1", "1118, 1122, 1125")


def test_the_steps_by_hand_name_the_reason():
    table = audit.steps(line("DTD", "SimpleNet, 5MN")).set_index("Runs")
    assert table.Possible[2] == "yes" and table["Sum of squares"][2] == str(84**2 + 93**2)
    reasons = "no: no whole sum", "no: no whole sum of squares", "no: one is odd, the other even"
    assert tuple(table.Possible[[3, 4, 6]]) == reasons


def test_sizes_from_the_text(settled):
    table = audit.sources_table(LINES).set_index("Test items")
    assert table["Rows that fit"][[1128, 1431]].tolist() == [12, 12] and table["Rows that fit"][1430] == 1
    assert table["Or one accuracy fewer"][1250] == 13 and table["Rows that fit"].drop([1128, 1431]).max() < 10


def test_rows_that_fit_counts_what_candidates_demands():
    members, sizes = GROUPS["Brain Tumor"], range(1400, 1500)
    count = audit.rows_that_fit(members, sizes)
    assert np.array(sizes)[count == 12].tolist() == audit.candidates(members, sizes) == [1431]


# --- the truth is kept ------------------------------------------------------------------------------------------------
@given(st.integers(60, 3000), RUNS, st.integers(0, 1), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_a_table_of_real_runs_always_keeps_its_truth(size, runs, missing, seed):
    rng = np.random.default_rng(seed)
    lost = [missing if n > 2 else 0 for n in runs]
    lines = [audit_simulation.row(n, size, rng, lost=gone) for n, gone in zip(runs, lost, strict=True)]
    assert size in audit.candidates(lines, range(max(50, size - 20), size + 20), missing=missing)
    for row, n, gone in zip(lines, runs, lost, strict=True):
        assert (n - gone, n) in audit.pairs(row, size, missing=missing)


def test_simulated_tables_are_told_and_batch_means_are_not():
    rng = np.random.default_rng(1)
    told, spoilt = (audit_simulation.simulate(rng, 3, sizes=(1128,), spoil=spoil) for spoil in ("exact", "batches"))
    (told,), (spoilt,) = (audit_simulation.summary(each).to_dict("records") for each in (told, spoilt))
    setting = {"Test items": 1128, "Runs a row": "2 to 10", "Accuracies": "exact", "May lack": 0, "n": 3}
    shares = {"Truth kept": "100%", "Truth told": "100%", "Only multiples besides": "100%", "Nothing fits": "0%"}
    rows = {"Rows: n kept": "100%", "Rows: wrong n told": "0%"}
    assert (setting | shares | rows).items() <= told.items() and spoilt["Truth kept"] == "0%"
    with pytest.raises(ValueError, match="spoil='luck' is unknown; allowed: exact, float32, rounded, batches"):
        audit_simulation.accuracies(np.array([1]), 10, rng, "luck")


def test_the_mean_over_batches_weighs_a_short_last_batch_too_much():
    rng = np.random.default_rng(0)
    assert audit_simulation.accuracies(np.array([64, 0]), 64, rng, "batches").tolist() == [100, 0]
    values = audit_simulation.accuracies(np.full(50, 20), 33, rng, "batches")  # the odd item counts as half of the set
    assert set(np.round(values, 6)) == {round(100 * 20 / 64, 6), round(100 * (19 / 64 + 1 / 2), 6)}


def test_a_false_claim_of_ten_is_refuted_and_a_true_one_never():
    table = audit_simulation.claims(np.random.default_rng(0), 30, true=(5, 10)).set_index("Runs")
    assert table["Refuted by both"][10] == "0%" and float(table["Refuted by epochs"][5].rstrip("%")) > 40


# --- p-values ---------------------------------------------------------------------------------------------------------
def test_exact_tails_count_the_arrangements():
    for n1, n2 in ((2, 3), (3, 3), (4, 2)):
        every, arrangements = set(range(n1 + n2)), combinations(range(n1 + n2), n1)
        u = np.array([sum(x > y for x in some for y in every - set(some)) for some in arrangements])
        assert ranks.exact_tails(n1, n2) == pytest.approx([np.mean(u >= k) for k in range(n1 * n2 + 1)])


def test_tie_sums_are_those_of_all_groupings():
    known = {sum(np.bincount(x) ** 3 - np.bincount(x)) for x in combinations_with_replacement(range(6), 6)} - {6**3 - 6}
    assert ranks.tie_sums(6).tolist() == sorted(known)


def test_z_u_and_ties_are_scipys():
    rng = np.random.default_rng(0)
    ones, others = rng.integers(0, 6, (20, 4)), rng.integers(0, 6, (20, 5))
    u, ties = (part.diagonal() for part in ranks.u_and_ties(ones, others))
    for continuity in (0.5, 0):
        how = {"alternative": "greater", "method": "asymptotic", "use_continuity": continuity > 0}
        theirs, z = mannwhitneyu(ones, others, axis=1, **how), ranks.z_of(u, 4, 5, ties, continuity)
        assert u == pytest.approx(theirs.statistic) and norm.sf(z) == pytest.approx(theirs.pvalue)


def test_p_values_that_are_tails_of_a_z_of_two_decimals():
    assert ranks.two_decimals(D("0.03836")) == 1.77 and ranks.two_decimals(D("0.2109")) is None
    found, of, chance = ranks.tails()
    assert (found, of) == (14, 15) and chance < 0.3
    assert ranks.by_chance(D("0.04457")) == pytest.approx(1e-5 / (norm.sf(1.695) - norm.sf(1.705)), rel=1e-3)


def test_ways_to_a_p():
    assert ranks.ways(D("0.00397"), 5, 5)[:2] == ["exact", "exact, ties"]  # 1 / 252
    assert ranks.ways(D("0.04365"), 5, 5)[0] == "exact, ties"  # 11 / 252; without ties the tails are 12 or 7 of 252
    assert "normal" in ranks.ways(D(f"{norm.sf(8 / np.sqrt(25 * 11 / 12)):.5f}"), 5, 5)
    assert ranks.ways(D("0.2109"), 6, 5) == []


def test_all_results_of_two_rows_bracket_what_scipy_says_of_each(settled):
    """ViT on DTD, 5M against base: no p of any results that round to the printed rows is near the printed one."""
    (value,) = (each for each in P_VALUES if str(each.p) == "0.04457")
    ones, others = (ranks.results(each, "accuracy", 5, 1128) for each in ranks.sides(value))
    every = ranks.possible(value.p, ones, others)
    how, p = {"alternative": "greater", "method": "asymptotic"}, []
    for x, y, corrected in product(ones, others[::4], (True, False)):
        p.append(mannwhitneyu(x, y, use_continuity=corrected, **how).pvalue)
    assert every["least"] <= min(p) + 1e-12 and max(p) - 1e-12 <= every["most"]
    assert not every["printed"] and not every["by table"] and every["least"] > 3 * float(value.p)
    whole = ranks.outcomes(value, ranks.runs(value, settled["DTD"]), 1128)
    assert (whole["least"], whole["most"]) == (every["least"], every["most"])


def test_normal_samples_have_the_printed_means_and_p_of_scipy():
    p = ranks.plausible((D("5"), D("4")), (D("1"), D("1")), 3, 4, np.random.default_rng(0), 500)
    assert set(p) <= set(ranks.exact_tails(3, 4)) and 0.05 < np.median(p) < 0.5
    far = ranks.plausible((D("50"), D("4")), (D("1"), D("1")), 3, 4, np.random.default_rng(0), 10)
    assert far == pytest.approx(np.full(10, 1 / 35))


def test_the_answers():
    assert ranks.answer(set(), None) == "no" and ranks.answer({"exact"}, None) == "not excluded"
    known = [ranks.answer({"exact"}, {"printed": a, "by table": b}) for a, b in permutations((True, False))]
    assert known == ["yes", "only by a table of z"]
    assert ranks.answer({"exact"}, {"printed": False, "by table": False}) == "no"
    assert ranks.answer({"exact, ties"}, {"printed": False, "by table": True}) == "not excluded"


# --- anybody's table --------------------------------------------------------------------------------------------------
@pytest.fixture
def csv(tmp_path):
    def write(text):
        (tmp_path / "t.csv").write_text(text)
        return tmp_path / "t.csv"

    return write


def test_a_csv_is_read_with_all_digits(csv):
    rows = audit.audit_rows(csv(CSV))
    assert str(rows[0].accuracy) == "59.220" and [row.name for row in rows] == ["5MN", "base"]
    marked = csv("\ufeff\ndataset , name,accuracy,accuracy_std\nDTD, 5MN ,59.220,0.251, ,\n")
    (row,) = audit.audit_rows(marked)
    assert row.group == "DTD" and row.name == "5MN" and row.epochs is None
    assert audit.runs_by_epochs(row) == set(range(2, 13))


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("59.220", "n/a", r"row 1 \(5MN\), accuracy: 'n/a' is no number; expected digits as printed, such as 60.355"),
        ("5.899", "", r"row 2 \(base\), epochs_std: '' is no number"),
        ("1.463", "-1.463", r"row 2 \(base\), accuracy_std: -1.463 is negative; expected a number of at least 0"),
        ("accuracy_std", "std", "the table lacks accuracy_std; expected the columns group, name, accuracy"),
        (",1.463,89.400,5.899", "", r"row 2 \(base\), accuracy_std: '' is no number"),
        (CSV[CSV.index("DTD") :], "", "the table lacks rows; expected the columns group"),
        (CSV, "", "the table lacks rows"),
    ],
)
def test_a_bad_csv_is_one_clear_error(csv, old, new, said):
    with pytest.raises(ValueError, match=said):
        audit.report(csv(CSV.replace(old, new)))


def test_a_report_says_what_fits(csv, tmp_path):
    said = "\n".join(audit.report(csv(CSV), sizes=range(1120, 1131)))
    assert "DTD: test items that fit all 2 rows: 1128" in said
    assert "base: runs by epochs: 5; with 1128 test items: 5" in said
    shares = CSV.replace("59.220,0.251", "0.59220,0.00251").replace("57.926,1.463", "0.57926,0.01463")
    assert audit.report(csv(shares), sizes=range(1120, 1131), whole=1) == said.split("\n")
    assert "rows: none" in audit.report(csv(CSV), sizes=range(1120, 1128))[0]
    fruits = csv("name,accuracy,accuracy_std,epochs,epochs_std\n25M,90.700,0.528,78.200,21.936\n")
    assert audit.report(fruits, range(2, 8), [1250], missing=1) == [
        "all rows: test items that fit all 1 rows: 1250",
        "  25M: runs by epochs: 5; with 1250 test items: 5 (accuracies 4)",
    ]
    with pytest.raises(OSError):
        audit.report(tmp_path / "none.csv")


def test_numbers_in_words():
    said = [audit.listed(x) for x in ((), (5,), (10, 5), range(2, 13), (1, 2, 3))]
    assert said == ["none", "5", "5, 10", "2 to 12", "1, 2, 3"]
    assert audit.listed(range(0, 20, 2), 2) == "0, 2 and 8 more"


def test_figures_name_their_n_and_mark_what_fits(settled):
    one = {"DTD": GROUPS["DTD"]}
    rows = audit_figures.runs_of_rows(one["DTD"], settled)
    assert rows.axes[0].get_title() == "DTD, 1128 test items, n = 12 rows"
    both = [c for c in rows.axes[0].collections if c.get_label() == "both"]
    assert sum(len(c.get_offsets()) for c in both) == 15
    sizes = audit_figures.sizes_of_groups(one["DTD"], settled, range(1000, 1200))
    assert [text.get_text() for text in sizes.axes[0].texts] == ["1128"]
