"""What holds for every method of the registry: one table, one contract."""

import itertools
import math
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import NamedTuple

import pytest
import torch
from helpers import PHASES, Keeping, equal, fit, prepared, resumed, same, start_of, state_of, without_state
from torch import nn

from plasticity.interventions import Intervention
from plasticity.methods.combined import Combined
from plasticity.methods.registry import NAMED, build, canonical
from plasticity.networks import table as networks


class Row(NamedTuple):
    """A method that acts; a setting that changes nothing; values that are refused besides -1, NaN and infinity."""

    acts: str
    neutral: str = ""
    refused: dict = {}
    has_state: bool = False


TABLE = {
    "scratch": Row("scratch", "scratch"),  # in a run from scratch
    "ema": Row("ema(momentum=0.8)", "ema(momentum=0)", {"momentum": [1.0]}, True),
    "hare_tortoise": Row(
        "hare_tortoise(momentum=0.8, steps=4)",
        "hare_tortoise(momentum=0, steps=1)",
        {"momentum": [1.0, 1.5], "steps": [0]},
        True,
    ),
    "self_distillation": Row(
        "self_distillation(momentum=0.8, strength=5)",
        "self_distillation(momentum=0, strength=0)",
        {"momentum": [1.0]},
        True,
    ),
    "soft_rescaling": Row(
        "soft_rescaling(features=0.1, classifier=0.2, reinit=true)",
        "soft_rescaling(features=0, classifier=0)",
        {"features": [1.5], "classifier": [1.5], "product": ["maybe"]},
        True,
    ),
    "shrink_perturb": Row("shrink_perturb(keep=0.9, noise=0.01)", "shrink_perturb(keep=1)", {"keep": [1.1]}),
    "head_reset": Row("head_reset"),
    "head_only": Row("head_only"),
    "frozen_head": Row("frozen_head"),
    "other_head": Row("other_head(draw=2)", "", {"draw": [0]}),
    "l2": Row("l2(strength=0.1)", "l2(strength=0)"),
    "l2_init": Row("l2_init(strength=0.1)", "l2_init(strength=0)"),
    "l2_sp": Row("l2_sp(strength=0.5, head_strength=0.1)", "l2_sp(strength=0, head_strength=0)", {}, True),
    "spectral_decoupling": Row("spectral_decoupling(strength=0.1)", "spectral_decoupling(strength=0)"),
    "redo": Row("redo(threshold=0.7, every=1)", "redo(threshold=0, every=1)", {"every": [0]}, True),
    "continual_backprop": Row(
        "continual_backprop(rate=0.02, maturity=3, decay=0.9)",
        "continual_backprop(rate=0, maturity=0)",
        {"rate": [1.5], "decay": [1.0]},
        True,
    ),
    "selective_reinit": Row(
        "selective_reinit(every=2, threshold=0.2)",
        "selective_reinit(every=1, threshold=0, utility=magnitude)",
        {"every": [0], "fraction": [1.5], "utility": ["age"], "method": ["X"]},
        True,
    ),
    "crelu": Row("crelu(where=all)", "", {"where": ["tail"]}),
    "layer_norm": Row("layer_norm"),
    "augmentation": Row("augmentation"),
    "crop": Row("crop"),
}
LAST = 2 * PHASES.max_epochs  # epoch of the run
DEFAULTS = {  # as the papers have them, or as the docstrings say where they leave it open
    "ema": [0.999, False],
    "hare_tortoise": [0.999, False, 1950, 0],
    "self_distillation": [0.999, False, 1.0],
    "soft_rescaling": [0.001, 0.001, False, "auto"],
    "shrink_perturb": [0.2, 0.0, False],
    "head_reset": [False],
    "other_head": [1],
    "l2": [1e-4],
    "l2_init": [1e-3],
    "l2_sp": [1e-3, 1e-3],
    "spectral_decoupling": [1e-3],
    "redo": [0.1, 5],
    "continual_backprop": [1e-4, 100, 0.99],
    "crelu": ["head"],
    "selective_reinit": [100, 0.1, 0.0, "gradient", "R"],
}
names = pytest.mark.parametrize("name", TABLE)
stateful = pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.has_state])


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """Where states are kept."""
    return tmp_path_factory.mktemp("states")


@pytest.fixture(scope="module")
def whole(world, states):
    """A function: the uninterrupted run of a case, trained once, its states kept in ``states/<case>-<epoch>``."""

    @cache
    def train(case):
        with Keeping(states / case) as checkpoint:
            return fit(PHASES, world, intervention=build(case), checkpoint=checkpoint)

    return train


def test_the_table_has_every_method():
    assert TABLE.keys() == NAMED.keys()


@names
def test_it_acts_and_repeats_and_its_neutral_setting_is_the_base_run_bit_for_bit(world, whole, name):
    row, base = TABLE[name], whole("base")
    if row.acts != row.neutral:
        assert not same(whole(row.acts), base)
    assert same(whole(row.acts), fit(replace(PHASES, case=row.acts), world)), "by name, once more"
    if row.neutral:
        assert same(whole(row.neutral), base)


@names
@pytest.mark.parametrize("epoch", range(1, LAST))
def test_a_killed_run_goes_on_bit_for_bit_in_each_phase(world, states, whole, name, epoch):
    case = TABLE[name].acts
    run = whole(case)
    assert [row["phase"] for row in run.history] == [1, 1, 2, 2]
    again = resumed(PHASES, world, states / f"{case}-{epoch}", intervention=build(case))
    assert same(run, again) and again.resumed == [epoch]


@stateful
def test_its_state_is_needed(world, states, whole, name):
    case = TABLE[name].acts
    run = whole(case)
    lost = resumed(PHASES, world, states / f"{case}-{LAST - 1}", intervention=without_state(build(case)))
    assert lost.resumed == [LAST - 1] and not same(run, lost)


@names
def test_what_has_no_state_needs_none(name):
    method = build(TABLE[name].acts)
    assert (type(method).state_dict is not Intervention.state_dict) == TABLE[name].has_state


class Freeze(Intervention):
    """Takes a layer out of training, and remembers what it was before the first step of the phase."""

    layers = ("features.0", "features.1", "features.7")

    def prepare(self, model, start):
        self.layer = nn.ModuleList(model.get_submodule(name) for name in self.layers)
        self.layer.requires_grad_(False)
        self.begun = [parameter.clone() for parameter in self.layer.parameters()]
        return []


@names
def test_what_is_out_of_training_stays(world, name):
    freeze = Freeze()
    fit(PHASES, world, intervention=Combined([build(TABLE[name].acts), freeze]))
    assert all(map(torch.equal, freeze.layer.parameters(), freeze.begun))


HEAD, LAYER = "8", "3"
FROZEN = {  # how something is taken out of training, by a method or beforehand
    "frozen_head": (),
    "head_only": (),
    "the head": (HEAD,),
    "a layer": (LAYER,),
    "a bias": (f"{LAYER}.bias",),
    "the head's bias": (f"{HEAD}.bias",),
}
ACTS = ["10M", "25N", *(row.acts for row in TABLE.values())]
ACTS += [
    f"{case} + {act}" for case, act in itertools.product(["10N"], ["hare_tortoise(momentum=0.8, steps=1)", "l2_sp"])
]
ACTS += [
    "soft_rescaling(classifier=0.5)",
    "10N + soft_rescaling(classifier=0.5, product=never)",
    "redo(threshold=9, every=1)",
]


def two_short_phases(method, model, initial):
    """Preparation, two steps and an epoch's end, twice; yields after the first preparation and at the end."""
    images, labels = torch.randn(6, 3, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    for phase in (1, 2):
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.5)
        start = start_of(phase=phase, optimizer=optimizer, initial=initial, head=HEAD, images=lambda n: images[:n])
        method.prepare(model, start)
        if phase == 1:
            yield
        for step in (1, 2):
            logits = model.train()(images)
            penalty = method.penalty(model, logits, images)
            optimizer.zero_grad()
            (nn.functional.cross_entropy(logits, labels) + (0 if penalty is None else penalty)).backward()
            optimizer.step()
            method.after_step(2 * phase - 2 + step)
        method.after_epoch(phase)
    yield


def cases_with(frozen):
    """A case and, where a method freezes, both orders; without those that contradict themselves."""
    for act in ACTS:
        for case in (f"{act} + {frozen}", f"{frozen} + {act}") if not FROZEN[frozen] else (act,):
            if case == "frozen_head" or case == "head_only" and frozen == "the head":
                continue  # the one puts the initial head back, whatever was frozen; the other would train nothing
            try:
                build(case)
            except ValueError as error:
                assert "contradict" in str(error) or "twice" in str(error)
            else:
                yield case


@pytest.mark.parametrize("frozen, case", [(frozen, case) for frozen in FROZEN for case in cases_with(frozen)])
def test_what_is_frozen_stays_bit_for_bit_through_both_phases(frozen, case):
    torch.manual_seed(0)
    features = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten()]
    model, method = nn.Sequential(*features, nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 3)), build(case)
    method.reshape(model, HEAD)
    initial = state_of(model)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(0.02 * (i % 7 + 1))  # learned, with biases that a scale would move
    named = dict(model.named_parameters())
    for name, parameter in named.items():
        parameter.requires_grad_(not any(name.startswith(begin) for begin in FROZEN[frozen]))
    before = state_of(model)
    for _ in (run := two_short_phases(method, model, initial)):
        still = {name: p.clone() for name, p in named.items() if not p.requires_grad}
        still |= {name: before[name] for name in named if any(name.startswith(begin) for begin in FROZEN[frozen])}
        for _ in run:
            assert still and [name for name in still if not torch.equal(still[name], named[name])] == []


def test_a_frozen_head_can_not_be_all_that_is_trained():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3).requires_grad_(False))
    with pytest.raises(ValueError, match="head_only trains the head alone, but '1' is frozen"):
        prepared(build("head_only"), model, head="1")
    assert model[0].weight.requires_grad


def test_what_shares_memory_with_a_frozen_head_is_frozen_too():
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 3, bias=False))
    model[0].weight = nn.Parameter(model[2].weight.detach().T)
    prepared(build("frozen_head"), model, initial=state_of(model), head="2")
    assert not any(parameter.requires_grad for parameter in model.parameters())


class Twice(nn.Module):
    """One weight and a head; ``tied``: the weight under a second name, too, as it is or as a transposed view."""

    def __init__(self, tied):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.head = nn.Linear(4, 4, bias=False), nn.Linear(4, 3)
        if tied:
            self.other = nn.Linear(4, 4, bias=False)
            self.other.weight = self.one.weight if tied == "same" else nn.Parameter(self.one.weight.detach().T)

    def forward(self, images):
        return self.head(self.one(images))


@pytest.mark.parametrize("tie", ["same", "transposed"])
@pytest.mark.parametrize("case", ["10M", *(row.acts for row in TABLE.values())])
def test_a_tied_parameter_counts_once(case, tie):
    if case.startswith(("redo", "continual_backprop", "crelu", "layer_norm")):
        pytest.skip("tied layers have no units; surgery on them is refused: test_units, test_surgery")
    case = case.replace("reinit=true", "product=never")
    found = []
    for tied in ("", tie):
        model = Twice(tied)
        initial = {name: torch.ones_like(value) for name, value in model.state_dict().items()}
        method = prepared(build(case), model, initial=initial, head="head")
        logits = model(torch.arange(8.0).view(2, 4))
        logits.sum().backward()
        for layer in (model.one, model.head):
            for parameter in layer.parameters():
                parameter.data += 1
        penalty = method.penalty(model, logits, torch.arange(8.0).view(2, 4))
        for step in (1, 2):
            method.after_step(step)
        method.after_epoch(3)
        predicts = method.evaluated(model)
        for network in (model, predicts) if tied else ():
            assert torch.equal(network.other.weight, network.one.weight if tied == "same" else network.one.weight.T)
            assert tied != "same" or network.other.weight is network.one.weight
        found.append((model.one.weight, predicts.one.weight, torch.tensor(0.0) if penalty is None else penalty))
    assert all(map(torch.equal, *found))


@names
def test_what_predicts_says_so(name):
    model = networks.build("mini_simplenet", 3, seed=0)
    method = build(TABLE[name].acts)
    initial = state_of(model)
    prepared(method, model, images=lambda n: torch.zeros(n, 3, 16, 16), initial=initial, head="classifier")
    assert method.predicts == (method.evaluated(model) is not model)
    assert equal(initial, start_of(initial=initial).initial), "no method writes to the initial state"


# --- spelling and ranges ----------------------------------------------------------------------------------------------
@names
def test_there_is_one_way_to_write_it(name):
    acts = TABLE[name].acts
    assert canonical(name) == name and canonical(acts) == acts == canonical(acts.replace(", ", ",").replace("(", " ( "))
    defaults = [field.default for field in fields(NAMED[name])] if is_dataclass(NAMED[name]) else []
    assert defaults == DEFAULTS.get(name, [])
    spelled = ", ".join(f"{field.name}={field.default}" for field in fields(NAMED[name])) if defaults else ""
    assert canonical(f"{name}({spelled})") == name, "defaults are left out"


@pytest.mark.parametrize("quote", ["'", '"'])
def test_words_are_taken_with_the_quotation_marks_that_messages_show(quote):
    for name, row in TABLE.items():
        for field, value in [(field, value) for field, values in row.refused.items() for value in values]:
            if isinstance(value, str):
                with pytest.raises(ValueError, match=f"{field}={value!r} is unknown; allowed: ") as refusal:
                    build(f"{name}({field}={quote}{value}{quote})")
                for word in str(refusal.value).partition("allowed: ")[2].split(", "):
                    allowed = word.strip("'")
                    assert canonical(f"{name}({field}={quote}{allowed}{quote})") == canonical(
                        f"{name}({field}={allowed})"
                    )
    assert canonical(f"{quote}10M{quote} + ema(momentum={quote}0.9{quote})") == "10M + ema(momentum=0.9)"


def refused():
    for name, row in TABLE.items():
        for field in fields(NAMED[name]) if is_dataclass(NAMED[name]) else ():
            number = isinstance(field.default, float | int) and not isinstance(field.default, bool)
            for value in [-1, math.nan, math.inf] * number + row.refused.get(field.name, []):
                yield name, field.name, value


@pytest.mark.parametrize("name, field, value", list(refused()))
def test_a_value_out_of_range_is_refused_by_its_name(name, field, value):
    kind = NAMED[name]
    with pytest.raises(
        ValueError, match=f"^{kind.__name__}: {field}={value!r} is (outside its range|unknown; allowed)"
    ):
        kind(**{field: value})


@pytest.mark.parametrize(
    "text, message",
    [
        ("ema + hare_tortoise", "take one of them"),
        ("hare_tortoise + self_distillation", "take one of them"),
        ("ema + self_distillation", "take one of them"),
        ("scratch + l2_sp", "'l2_sp' and 'scratch' contradict each other"),
        ("head_reset + frozen_head", "'head_reset' and 'frozen_head' contradict each other"),
        ("head_only + frozen_head", "'head_only' and 'frozen_head' contradict each other"),
        ("scratch + head_only", "'head_only' and 'scratch' contradict each other"),
        ("10M + 10M", "names '10M' twice"),
        ("ema(momentum=1)", "Ema: momentum=1.0 is outside its range"),
        ("ema(speed=1)", "'speed=1' is not one of its parameters, once each; ema takes momentum=0.999"),
    ],
)
def test_contradictions_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        canonical(text)
