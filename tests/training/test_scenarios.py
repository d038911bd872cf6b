"""Phases: which items, which labels, how long; noise and buffers counted by hand; and the loop that runs them."""

import re
from dataclasses import replace

import pytest
import torch
from helpers import Keeping, equal, fit, resumed, same, tiny_arrays

from plasticity import train
from plasticity.analysis.frames import METRICS
from plasticity.datasets.prepare import pack
from plasticity.interventions import Intervention
from plasticity.methods import registry as methods
from plasticity.methods.combined import Combined
from plasticity.run import Run
from plasticity.training import notation, scenarios
from plasticity.training.scenarios import Continual, WarmStart, build, canonical, wrong

LABELS = torch.arange(1000) % 10
ITEMS = torch.arange(1000)[LABELS != 3][:800]  # not all items train, and one class has none


def stream(purpose):
    return train.generator(7, purpose)


def phases(scenario, epochs=12):
    return scenario.phases(ITEMS, LABELS, 10, epochs, stream)


# --- labels -----------------------------------------------------------------------------------------------------------
def test_a_wrong_label_is_another_class_and_exactly_the_share_is_wrong():
    noisy = wrong(LABELS, ITEMS, 0.25, 10, stream("noise"))
    changed = (noisy != LABELS).nonzero().flatten()
    assert len(changed) == 200 and torch.isin(changed, ITEMS).all()
    assert noisy.min() >= 0 and noisy.max() <= 9
    assert torch.equal(noisy, wrong(LABELS, ITEMS, 0.25, 10, stream("noise")))


def test_wrong_labels_are_uniform_over_the_other_classes():
    labels = torch.zeros(90_000, dtype=torch.long)
    noisy = wrong(labels, torch.arange(90_000), 1.0, 10, stream("noise"))
    counts = torch.bincount(noisy, minlength=10)
    assert counts[0] == 0 and ((counts[1:] - 10_000).abs() < 500).all()


def test_no_noise_touches_no_label_and_one_class_has_no_other():
    assert torch.equal(wrong(LABELS, ITEMS, 0, 10, stream("noise")), LABELS)
    assert not wrong(torch.zeros(5, dtype=torch.long), torch.arange(5), 1.0, 1, stream("noise")).any()


# --- phases -----------------------------------------------------------------------------------------------------------
def test_a_warm_start_has_a_noisy_subset_and_then_everything_clean():
    first, second = phases(WarmStart(0.1, 0.5))
    assert len(first.items) == 80 and torch.isin(first.items, ITEMS).all() and len(first.items.unique()) == 80
    assert (first.labels[first.items] != LABELS[first.items]).sum() == 40
    assert torch.equal(second.items, ITEMS) and torch.equal(second.labels, LABELS)
    assert (first.epochs, second.epochs) == (120, 12)


@pytest.mark.parametrize("subset, epochs", [(0.1, 1000), (0.2, 500), (0.4, 250), (0.6, 166), (0.8, 125), (1.0, 100)])
def test_the_first_phase_has_as_many_updates(subset, epochs):
    """Lee et al. 2024, A.3, of 100 epochs."""
    assert phases(WarmStart(subset), 100)[0].epochs == epochs
    assert phases(WarmStart(subset, equal=False), 100)[0].epochs == 100


def test_the_subset_is_the_same_whatever_the_noise():
    one, other = (phases(WarmStart(0.2, noise))[0] for noise in (0.0, 0.5))
    assert torch.equal(one.items, other.items)


def test_continual_with_full_access_grows_and_its_noise_falls_to_zero():
    found = phases(Continual(chunks=5, noise=0.5))
    assert [len(phase.items) for phase in found] == [160, 320, 480, 640, 800]
    shares = [(phase.labels != LABELS).sum().item() / len(phase.items) for phase in found]
    assert shares == pytest.approx([0.5, 0.375, 0.25, 0.125, 0])
    assert torch.equal(found[-1].items.sort().values, ITEMS)
    for earlier, later in zip(found, found[1:], strict=False):
        assert torch.equal(later.items[: len(earlier.items)], earlier.items)


def test_limited_access_keeps_a_random_buffer_of_earlier_items():
    found = phases(Continual(chunks=5, noise=0, access="limited", buffer=100))
    assert [len(phase.items) for phase in found] == [160, 260, 260, 260, 260]
    seen = torch.cat([phase.items[-160:] for phase in found[:-1]])
    kept = found[-1].items[:100]
    assert torch.isin(kept, seen).all() and not torch.isin(kept, found[-1].items[100:]).any()
    assert len(LABELS[kept].unique()) == 9, "a random sample has all classes there are"
    assert len(phases(Continual(chunks=5, access="limited", buffer=0))[-1].items) == 160


def test_the_collapsed_buffer_holds_hardly_more_than_two_classes():
    kept = phases(Continual(chunks=5, access="collapsed", buffer=100))[-1].items[:100]
    assert LABELS[kept].unique().tolist() == [0, 1]


@pytest.mark.parametrize(
    "text, says",
    [
        ("warm_start(subset=0)", "subset=0.0 is outside its range (0, 1]"),
        ("warm_start(noise=2)", "noise=2.0 is outside its range [0, 1]"),
        ("continual(access=none)", "access='none' is unknown; allowed: 'full', 'limited', 'collapsed'"),
        ("continual(chunks=0)", "chunks=0 is outside its range [1, inf)"),
        ("warm", "unknown scenario 'warm'; known: transfer, single, warm_start, continual"),
        ("single(x=1)", "single takes nothing"),
        ("warm_start(subset=half)", "subset='half' is not a value like 0.1"),
        ("warm_start(subset=0.1, subset=0.2)", "once each"),
    ],
)
def test_wrong_scenarios_are_refused_by_name(text, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        build(text)


def test_fewer_items_than_chunks_are_refused():
    with pytest.raises(ValueError, match="3 items can't be divided into 10 chunks"):
        Continual().phases(ITEMS[:3], LABELS, 10, 1, stream)


def test_one_way_to_write_a_scenario():
    assert canonical(" warm_start( noise = 0.50,subset=.2 ) ") == "warm_start(subset=0.2)"
    assert canonical("warm_start(equal=FALSE)") == "warm_start(equal=false)" and canonical("single()") == "single"
    for text in ("continual(chunks=5, access=limited, buffer=0)", "warm_start(subset=1e-05)"):
        assert canonical(text) == text and notation.parse(text, scenarios.SCENARIOS, "scenario") == build(text)


# --- the loop ---------------------------------------------------------------------------------------------------------
PHASED = {"weights": "none", "scenario": "warm_start(subset=0.5, noise=0.2)", "patience": 0, "validation": 0}
ADAMW = {"optimizer": "adamw", "lr": 1e-3, "warmup": 0.1, "clip": 0.5, "batch_size": 8, "max_epochs": 3}
RUN = Run("mini_simplenet", "photos", augment="flip", measure=2, **PHASED, **ADAMW)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    pack(folder, "photos", tiny_arrays())
    return folder


class Spy(Intervention):
    """What `fit` tells a method, and the learning rates it sets."""

    def __init__(self):
        self.starts, self.steps, self.rates, self.epochs = [], [], [], []

    def prepare(self, model, start):
        self.starts.append(start)
        return []

    def after_step(self, step):
        self.steps.append(step)
        self.rates.append(self.starts[-1].optimizer.param_groups[0]["lr"])

    def after_epoch(self, epoch):
        self.epochs.append(epoch)


def test_every_phase_is_prepared_with_a_new_optimiser_and_its_own_warm_up(folder):
    spy = Spy()
    fitted = fit(RUN, folder, intervention=spy)
    assert [(start.phase, start.learned) for start in spy.starts] == [(1, False), (2, True)]
    assert [(start.steps_per_epoch, start.shortest) for start in spy.starts] == [(3, (18, 3)), (6, (18, 3))]
    assert spy.starts[0].optimizer is not spy.starts[1].optimizer
    assert spy.epochs == list(range(1, 10)) and spy.steps == list(range(1, 6 * 3 + 3 * 6 + 1))  # 24 items, then 48
    assert spy.rates[0] == spy.rates[18] == pytest.approx(1e-3 / 1.8) and spy.rates[17] == 1e-3
    assert spy.starts[1].images(5).shape == (5, 3, 32, 32) and spy.starts[0].head == "classifier"
    names = fitted.model.state_dict().keys()
    assert spy.starts[0].initial.keys() == names and fitted.inputs["weights"] is None


def test_the_record_of_a_phased_run(folder):
    fitted = fit(RUN, folder)
    assert [row["phase"] for row in fitted.history] == [1] * 6 + [2] * 3
    tested, measured = ([name in row for row in fitted.history] for name in ("test_accuracy", "srank"))
    assert tested == [True, True, False, True, False, True] + [True] * 3, "as many points per phase, and its first"
    assert measured == [False, True] * 3 + [False, True, True], "every second, and each phase's last"
    metrics = fitted.metrics
    assert metrics["epochs"] == 9 and 0 <= metrics["train_accuracy"] <= 1 and "best_accuracy" not in metrics
    assert metrics["accuracy"] == fitted.history[-1]["test_accuracy"]


def distance(model, initial):
    """The weight distance by its definition: over the layers, the sum of the mean squared way."""
    layers = [(p.double() - initial[name].double()) for name, p in model.named_parameters() if p.dim() > 1]
    return sum(layer.square().mean().item() for layer in layers)


class Last(Intervention):
    """Knows the trained network, and how far it came before and after the others' ``after_epoch``."""

    def prepare(self, model, start):
        self.model, self.initial, self.before, self.after = model, start.initial, [], []
        return []

    def after_epoch(self, epoch):
        (self.after if len(self.after) < len(self.before) else self.before).append(distance(self.model, self.initial))


@pytest.mark.parametrize(
    "acts",
    [
        "hare_tortoise(momentum=0.5, steps=18)",
        "hare_tortoise(momentum=0.5, steps=6)",
        "hare_tortoise(momentum=0.5, epochs=3)",
        "redo(threshold=9, every=3)",
    ],
)
def test_metrics_are_of_the_trained_network_before_the_method_acts(folder, acts):
    run, last = replace(RUN, scenario="single", measure=1), Last()  # 3 epochs of 6 steps
    fitted = fit(run, folder, intervention=Combined([last, methods.build(acts), last]))
    found = [row["weight_distance"] for row in fitted.history]
    assert found == pytest.approx(last.before, rel=1e-9) and found[2] != pytest.approx(last.after[2], rel=1e-3)
    if "steps=6" not in acts:  # else it acted within the run, too
        metrics = [{name: row[name] for name in METRICS} for row in (fitted.history[2], fit(run, folder).history[2])]
        assert metrics[0] == metrics[1], "to the first reset the network is the base run's, in every metric"


def test_measuring_changes_nothing(folder):
    one, other = (fit(replace(RUN, measure=often), folder) for often in (0, 1))
    assert equal(one.model, other.model)


def test_labels_are_wrong_in_training_only(folder):
    runs = [replace(RUN, scenario=f"warm_start(subset=1, noise={noise})") for noise in (0, 1)]
    clean, noisy = (fit(run, folder) for run in runs)
    assert clean.history[2]["train_loss"] < noisy.history[2]["train_loss"]
    assert noisy.history[2]["test_accuracy"] < clean.history[2]["test_accuracy"] - 0.2


@pytest.mark.parametrize("scenario", [RUN.scenario, "continual(chunks=3, access=limited, buffer=6)"])
def test_a_killed_run_goes_on_to_the_same_bits_in_every_phase(folder, tmp_path, scenario):
    run = replace(RUN, scenario=scenario, case="25R + shrink_perturb(noise=0.01)", batch_size=4)
    with Keeping(tmp_path / "state") as checkpoint:
        whole = fit(run, folder, checkpoint=checkpoint)
    for epoch in (2, 6, 7, 8):
        again = resumed(run, folder, tmp_path / f"state-{epoch}")
        assert again.resumed == [epoch] and same(again, whole)


def test_a_network_for_another_size_of_image_is_refused(folder):
    with pytest.raises(ValueError, match="mini_mlp takes images of 8 pixels; those of 'photos' have 32"):
        fit(replace(RUN, architecture="mini_mlp"), folder)


def test_the_learning_rate_falls_in_steps():
    run = replace(RUN, schedule="steps", warmup=0.0)
    factors = [train.lr_factor(run, step, 8) for step in range(1, 9)]
    assert factors == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
