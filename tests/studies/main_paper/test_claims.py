"""Each claim of the paper: the difference that decides it, and the verdict, on frames made by hand."""

import numpy as np
import pandas as pd
import pytest

from plasticity.analysis.verdict import verdict
from plasticity.profiles import CASES, get_profile, grid
from plasticity.studies.main_paper import claims
from plasticity.studies.main_paper.claims import BASE, CLAIMS, GENTLE, Contrast, differences

CELLS = [
    (network, data)
    for network in ("mini_simplenet", "mini_resnet", "mini_vit")
    for data in ("photos", "elpv", "fruits")
]


def frame(accuracy=lambda *run: 0.5, epochs=lambda *run: 10, seeds=3, cells=CELLS, cases=CASES):
    rows = [
        (*cell, case, seed, "done", accuracy(*cell, case, seed), epochs(*cell, case, seed))
        for cell in cells
        for case in cases
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows, columns=["architecture", "dataset", "case", "seed", "status", "accuracy", "epochs"])


def noise(network, data, case, seed):
    """A hundredth of a point or less, different in each run, so that no interval is a point."""
    return (hash_of(network, data, case, seed) % 100) / 1e6


def hash_of(*parts):
    return sum((i + 1) * sum(map(ord, str(part))) for i, part in enumerate(parts)) * 7919


def judged(table, key):
    (claim,) = (claim for claim in CLAIMS if claim.key == key)
    return claims.judge(claim, table, np.random.default_rng(0))


def test_differences_are_taken_pair_by_pair_in_points():
    table = frame(lambda network, data, case, seed: 0.5 + 0.1 * seed + (0.02 if case in GENTLE else 0))
    assert differences(table, Contrast(GENTLE, BASE)) == pytest.approx([2.0] * 27)
    assert differences(table, Contrast(GENTLE, BASE, where="ViT")) == pytest.approx([2.0] * 9)
    assert differences(table, Contrast(GENTLE, BASE, shift=-0.5)) == pytest.approx([1.5] * 27)
    assert differences(table, Contrast(GENTLE, BASE, where="DTD", less="Brain Tumor and Fruit25")) == pytest.approx(
        [0.0] * 9
    )


def test_a_mean_of_cases_counts_every_case_once():
    value = {"5M": 0.5, "5MN": 0.6, "base": 0.4}
    table = frame(lambda network, data, case, seed: value[case], cases=tuple(value))
    assert differences(table, Contrast(("5M", "5MN"), BASE)) == pytest.approx([15.0] * 27)


def test_epochs_are_shares_of_the_mean_of_base_in_the_cell():
    table = frame(
        epochs=lambda network, data, case, seed: (20 if case == "base" else 15) * (2 if network == "mini_vit" else 1)
    )
    assert differences(table, Contrast(BASE, GENTLE, "epochs")) == pytest.approx([25.0] * 27)


def test_an_interaction_is_paired_by_network_and_seed():
    table = frame(
        lambda network, data, case, seed: 0.5 + (0.01 * (1 + seed) if case in GENTLE and data == "fruits" else 0)
    )
    assert sorted(
        differences(table, Contrast(GENTLE, BASE, where="Fruit25", less="DTD and Brain Tumor"))
    ) == pytest.approx([1] * 3 + [2] * 3 + [3] * 3)


def test_a_failed_run_takes_its_pair_out_and_no_other():
    table = frame()
    table.loc[(table.case == "10M") & (table.seed == 1) & (table.dataset == "photos"), ["status", "accuracy"]] = (
        "failed",
        np.nan,
    )
    assert (
        len(differences(table, Contrast(("10M",), BASE))) == 24
        and len(differences(table, Contrast(("5M",), BASE))) == 27
    )


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((1, 0.2, 2), "supported"),
        ((-1, -2, -0.2), "contradicted"),
        ((0.1, -0.2, 0.4), "not supported"),
        ((0.2, -0.2, 0.6), "undecided"),
        ((np.nan,) * 3, "not tested"),
    ],
)
def test_a_verdict_follows_from_the_interval_and_the_margin(interval, said):
    assert verdict(*interval, margin=0.5) == said


def test_about_zero_is_supported_within_the_margin_only():
    assert [verdict(0, low, high, 5, True) for low, high in ((-4, 4), (-6, 1), (6, 9))] == [
        "supported",
        "undecided",
        "contradicted",
    ]


def test_where_nothing_happens_nothing_is_supported_but_that_nothing_happens():
    table = claims.verdicts(frame(noise), np.random.default_rng(0)).set_index("key")
    assert table.verdict["no_harm"] == table.verdict["vit_as_fast"] == "supported"
    assert table.verdict["half_a_point"] == "contradicted" and table.verdict["ten_m"] in (
        "not supported",
        "contradicted",
    )
    assert (
        table.verdict["significant"] == "not supported"
        and table.verdict["cheap"] == table.verdict["n_moves"] == "not tested"
    )
    assert table.effect["never_worse"] <= 3  # 108 comparisons of noise


def test_where_the_paper_is_right_its_claims_are_supported():
    gain = {"M": 0.012, "MN": 0.011, "NS": -0.05, "N": -0.2}

    def accuracy(network, data, case, seed):
        rf = case.lstrip("0123456789")
        return 0.5 + gain.get(rf, 0) + noise(network, data, case, seed)

    def epochs(network, data, case, seed):
        return 100 + hash_of(data, case, seed) % 3 - (20 if case in GENTLE and network != "mini_vit" else 0)

    table = claims.verdicts(frame(accuracy, epochs, seeds=5), np.random.default_rng(0)).set_index("key")
    right = [
        "cnn_accuracy",
        "vit_accuracy",
        "faster",
        "cnn_faster",
        "vit_as_fast",
        "m_and_mn",
        "ns_hurts",
        "n_hurts",
        "half_a_point",
        "ten_m",
        "no_harm",
        "significant",
        "larger",
    ]
    assert {key: table.verdict[key] for key in right} == dict.fromkeys(right, "supported")
    assert table.verdict["never_worse"] == "contradicted"  # N and NS are worse, and the sentence says no case
    assert table.effect["m_and_mn"] == pytest.approx(13.65, abs=0.01)
    assert (table.holm.dropna() >= table.p[table.holm.notna()]).all()


def test_what_length_explains_is_taken_off():
    table = frame(lambda network, data, case, seed: 0.5 + 0.001 * length(network, data, case, seed), length, seeds=5)
    row = judged(table, "beyond_runtime")
    assert row["effect"] == pytest.approx(0, abs=1e-6) and row["n"] == 45
    more = table.assign(
        accuracy=table.accuracy
        + 0.01 * table.case.isin(GENTLE)
        + [noise(*key) for key in zip(table.architecture, table.dataset, table.case, table.seed, strict=True)]
    )
    assert judged(more, "beyond_runtime")["effect"] == pytest.approx(1, abs=0.02)
    assert judged(more, "beyond_runtime")["verdict"] == "supported"


def length(network, data, case, seed):
    return 10 + hash_of(network, data, case, seed) % 17


def record(case, counts, seed=0):
    config = {"architecture": "mini_vit", "dataset": "photos", "seed": seed, "case": case}
    return {"status": "done", "config": config, "histogram": counts}


def test_how_far_the_weights_moved_is_half_the_sum_of_differences():
    table = frame(cells=[("mini_vit", "photos")], cases=("base", "25M", "25N"), seeds=1)
    found = [record("base", [1, 1, 2]), record("25M", [1, 2, 1]), record("25N", [4, 0, 0])]
    assert claims.with_moved(table, found).set_index("case").moved.to_dict() == pytest.approx(
        {"base": 0, "25M": 0.25, "25N": 0.75}
    )


def test_the_overhead_is_measured_and_small():
    table = claims.with_overhead(
        frame(cells=[("mini_vit", "photos")], cases=("base", "10M")).assign(seconds=30.0), rounds=1
    )
    assert table.overhead.notna().sum() == 3
    assert judged(table, "cheap")["verdict"] == "supported"
    assert judged(table.assign(overhead=table.overhead * 1e6), "cheap")["verdict"] == "contradicted"


def test_mixed_profiles_are_refused_by_what_differs():
    table = frame().assign(lr=0.01)
    other = table.assign(lr=0.03, seed=7)[table.architecture == "mini_resnet"]
    with pytest.raises(ValueError, match="mini_resnet has lr 0.01 and 0.03"):
        claims.verdicts(pd.concat([table, other]), np.random.default_rng(0))
    with pytest.raises(ValueError, match="there more than once"):
        claims.one_protocol(pd.concat([table, table]))
    with pytest.raises(ValueError, match="make reproduce"):
        claims.one_protocol(table[:0])


def test_every_claim_names_cases_and_cells_that_exist():
    contrasts = [claim.decided_by for claim in CLAIMS if isinstance(claim.decided_by, Contrast)]
    assert {case for contrast in contrasts for case in contrast.plus + contrast.minus} <= set(CASES)
    assert len({claim.key for claim in CLAIMS}) == len(CLAIMS)
    assert all(claim.decided_by in claims.FUNCTIONS for claim in CLAIMS if isinstance(claim.decided_by, str))
    assert all(len(differences(frame(), contrast)) for contrast in contrasts if contrast.value != "moved")


def test_the_committed_runs_are_judged_and_written():
    frames = claims.reference_frames("reference")
    assert {"mini", "imagenet"} <= set(frames) and len(frames["mini"]) == len(grid(get_profile("mini")))
    tables = {name: claims.verdicts(runs, np.random.default_rng(1)) for name, runs in frames.items()}
    assert tables["mini"].set_index("key").verdict["n_hurts"] == "supported"
    assert tables["imagenet"].set_index("key").verdict["vit_accuracy"] == "not tested"  # that profile has no ViT
    text = claims.written(tables["mini"])
    assert list(text.columns) == ["Section", "Claim", "Decided by", "Effect", "Unit", "n", "p (Holm)", "Verdict"]
    assert claims.beside(tables).shape == (len(CLAIMS), 4)


def test_equal_generators_give_equal_verdicts():
    table = frame(noise)
    once, again = (claims.verdicts(table, np.random.default_rng(3)) for _ in range(2))
    pd.testing.assert_frame_equal(once, again)
