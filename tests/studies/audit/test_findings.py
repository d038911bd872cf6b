"""The audit's findings on tables of a few rows, worked out by hand."""

import pandas as pd

from plasticity.studies.audit import findings


def test_answers_about_ten_runs_are_counted():
    table = pd.DataFrame({"10 runs": ["no", "no", "yes", "possible"], "Runs by both": ["5", "5", "10", "5, 10"]})
    first, second = findings.runs(table)
    assert first.endswith("impossible for 2 of the 4 published rows, possible for 1 and certain for 1")
    assert second == "The most frequent answer is 5 runs, in 2 rows"


def test_of_sizes_the_smallest_of_the_plain_assumption_is_named():
    plain = findings.ASSUMED
    rows = [("A", plain, "12, 24"), ("A", "another", "7"), ("B", plain, "none"), ("C", plain, "9")]
    table = pd.DataFrame(rows, columns=["Dataset", "Assumed", "Test items"])
    assert findings.sizes(table) == [
        "The printed digits allow test sets of 12 items for A and 9 items for C, or multiples",
        "No size from 50 to 4000 fits B as its table stands",
    ]
    assert len(findings.sizes(table[table.Dataset != "B"])) == 1


def test_what_does_not_agree_is_counted_in_both_tables():
    table6, sentences = (pd.DataFrame({"Agrees": each}) for each in (["yes", "no", "no"], ["yes", "yes"]))
    said = findings.stated(table6, sentences)[0]
    assert said.startswith("2 of 3 numbers of table 6 and 0 of 2 in the text of section 4 don't agree")


def test_p_values_by_what_rows_allow():
    answers = ["no", "not excluded", "not excluded", "only by a table of z", "no", "no"]
    said = findings.p_values(pd.DataFrame({"Is the printed p possible?": answers}))[0]
    assert said == (
        "Of 6 printed p-values 3 can't come from a Mann-Whitney test of such rows, 1 only by a table of z, and 2 are "
        "not excluded"
    )


def test_trust_quotes_five_and_ten_runs():
    table = pd.DataFrame({"Runs": [2, 5, 10], "Refuted by both": ["0%", "75.0%", "1%"]})
    said = findings.trust(table)[0]
    assert "in 75.0% of rows that have five, and in 1% of those that have ten" in said
