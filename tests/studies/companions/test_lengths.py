"""Whether the training was long enough is said in words above the verdicts; and what depends on its length."""

import pytest
from helpers import ROOT, record

from plasticity.analysis.frames import run_table
from plasticity.studies.companions import figures, lengths

BOTH = "l2 + augmentation"


def fresh(*fits, case=BOTH, network="mini_vgg"):
    runs = enumerate(fits)
    return [record(case, i, 0.5, "single", network, "world_20", train_accuracy=fit) for i, fit in runs]


def timed(epochs, case, scenario, *accuracies):
    made = [record(case, i, a, scenario, train_accuracy=0.9) for i, a in enumerate(accuracies)]
    for one in made:
        one["config"]["max_epochs"] = epochs
    return made


def test_a_fresh_network_that_does_not_fit_is_named_above_the_verdicts():
    frame = run_table(fresh(0.9, 0.8, 0.72) + fresh(0.99, case="base", network="mini_resnet18"))
    assert lengths.in_words(frame) == "Every fresh network fits at least 80% of its training data, the least 81%."
    frame = run_table(fresh(0.9, 0.8, 0.69) + fresh(0.99, case="base", network="mini_resnet18"))
    said = lengths.in_words(frame)
    assert said.startswith("**Too short: 1 of 2 fresh networks fit less than 80% of their training data: miniature VGG")
    assert "(l2 + augmentation: 80%)" not in said and "(l2 + augmentation: 79.7%)" in said, "not rounded to the bar"
    assert "No fresh network was trained" in lengths.in_words(run_table([]))


def test_what_fresh_networks_fit_as_a_table():
    table = lengths.fitted(run_table(fresh(0.9, 0.8) + fresh(0.7, case="base")))
    assert table.values.tolist() == [
        ["miniature VGG", "world_20", "l2 + augmentation", "85.0 ± 7.1", "yes", "50.0 ± 0.0", "2"],
        ["miniature VGG", "world_20", "nothing", "70.0", "no", "50.0", "1"],
    ]


def test_by_length_each_method_is_compared_at_its_own_length():
    made = timed(12, BOTH, "warm_start", 0.3, 0.3) + timed(12, BOTH, "single", 0.4, 0.4)
    made += timed(12, f"ema + {BOTH}", "warm_start", 0.2, 0.2) + timed(48, BOTH, "warm_start", 0.5, 0.5)
    made += timed(48, f"ema + {BOTH}", "warm_start", 0.6, 0.6)
    rows = lengths.by_length(run_table(made)).to_dict("records")
    assert [(row["Epochs"], row["Fresh, Minus Nothing More"], row["ema, Minus Nothing More"]) for row in rows] == [
        ("12", "+10.0 [+10.0, +10.0] (n = 2)", "-10.0 [-10.0, -10.0] (n = 2)"),
        ("48", "-", "+10.0 [+10.0, +10.0] (n = 2)"),
    ]
    (panel,) = figures.lengths(run_table(made)).axes
    drawn = {line.get_label(): [round(y) for y in line.get_ydata()] for line in panel.lines}
    assert drawn == {"nothing more": [30, 50], "no warm start": [40], "ema": [20, 60]}


@pytest.mark.parametrize("there", [True, False])
def test_committed_records_are_those_of_the_checkout(tmp_path, monkeypatch, there):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "plasticity"\n')
    path = tmp_path / lengths.COMMITTED
    if there:
        path.parent.mkdir(parents=True)
        run_table(timed(12, BOTH, "warm_start", 0.3)).to_csv(path, index=False)
    monkeypatch.chdir(tmp_path)
    found = lengths.committed()
    assert list(found.accuracy) == ([0.3] if there else []) and {"kind", "method", "max_epochs"} <= set(found)
    assert (ROOT / lengths.COMMITTED).parent.is_dir()
