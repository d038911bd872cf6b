"""Redrawn weights are distributed as the network's own initialiser has them, whichever that is."""

from dataclasses import replace

import pytest
import torch
from helpers import PHASES, fit, pictures, prepared, start_of, state_of
from torch import nn

from plasticity.interventions import Intervention
from plasticity.methods.combined import Combined
from plasticity.methods.registry import build
from plasticity.methods.units import ContinualBackprop, find_units
from plasticity.networks import table as networks
from plasticity.networks.initialisers import sample
from plasticity.reinit import reinitialize

torch.set_num_threads(1)
LARGE = {"simplenet", "simplenet_half", "resnet50", "vit_b_16", "efficientnet_lite0", "resnet18", "vgg16", "vgg16_32"}
LARGE |= {"vit_tiny"}
names = [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in networks.ARCHITECTURES]


def off(state, fresh):
    """The tensors of two or more dimensions whose spread in ``state`` is not that in a ``fresh`` network's state."""
    found = {}
    for name, new in fresh.items():
        if new.ndim >= 2 and new.numel() > 1:
            n, old, redrawn = new.numel(), new.std().item(), state[name].std().item()
            if old < 1e-6:  # a constant, such as torchvision's class token
                right = torch.equal(state[name], new)
            else:  # of n draws of a normal law the ratio's standard deviation is 1 / sqrt(n), of two such states
                right = abs(redrawn / old - 1) < (0.1 if n >= 1000 else 4 / n**0.5)
            found |= {} if right else {name: (n, redrawn / max(old, 1e-9))}
    return found


@pytest.mark.parametrize("name", names)
def test_every_tensor_of_every_network_is_redrawn_with_its_own_spread(name):
    model = networks.build(name, 10, seed=0)
    initial, fresh = state_of(model), networks.build(name, 10, seed=1).state_dict()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(3)
    changes = build("100R").prepare(model, start_of(initial=initial, head=networks.architecture(name).head))
    assert {row["name"] for row in changes if row["kind"] == "weight"} == {n for n, v in fresh.items() if v.ndim >= 2}
    assert off(model.state_dict(), fresh) == {}


class Kept(Intervention):
    """The network as the methods before this one leave it before its second phase."""

    def prepare(self, model, start):
        self.state, self.initial = state_of(model), start.initial
        return []


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
@pytest.mark.parametrize("method", ["100R", "selective_reinit(every=12, fraction=1, utility=magnitude)"])
def test_networks_of_timm_are_redrawn_as_timm_initialises_them(world, name, method):
    kept = Kept()
    run = replace(PHASES, architecture=f"timm/{name}", lr=1e-12, momentum=0.0)  # of 18 steps the twelfth resets
    fitted = fit(run, world, intervention=Combined([build(method), kept]))
    state = kept.state if method == "100R" else fitted.model.state_dict()
    assert off(state, kept.initial) == {} and state.keys() == kept.initial.keys()
    assert sum(not torch.equal(state[n], v) for n, v in kept.initial.items() if v.ndim >= 2) > 5
    assert off(networks.build(f"timm/{name}", 3, seed=5).state_dict(), kept.initial) == {}


def test_a_units_new_weights_are_as_many_picks_of_the_layers_initial_ones():
    """Nothing else is drawn, however large the layer."""
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 2, 1))
    initial = {name: value + 5 for name, value in state_of(model).items()}
    units, generator = find_units(model, pictures(2))[0], torch.Generator().manual_seed(7)
    units.renew(torch.tensor([4, 9]), initial, None, generator)
    again = torch.Generator().manual_seed(7)
    places = torch.randint(64 * 27, (2 * 27,), generator=again)
    assert torch.equal(model[0].weight[[4, 9]].flatten(), initial["0.weight"].flatten()[places])
    assert torch.equal(generator.get_state(), again.get_state())


@pytest.mark.parametrize("method", ["redo", "continual_backprop"])
def test_methods_of_units_want_the_initial_state(method):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    with pytest.raises(ValueError, match=r"initial must .*\(4, 3, 3, 3\) for '0.weight', has none"):
        prepared(build(method), model, images=pictures, initial={})


def test_continual_backprop_renews_from_a_constant_by_that_constant():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.ReLU(), nn.Linear(4, 2))
    initial = state_of(model) | {"1.weight": torch.full((4, 48), 0.25)}
    method = prepared(ContinualBackprop(rate=0.5, maturity=0), model, images=pictures, initial=initial)
    model(pictures(2))
    method.after_step(1)
    assert ((model[1].weight == 0.25).all(1).sum(), (model[1].weight == 0.25).sum()) == (2, 96)


def test_sampling_is_with_replacement_and_uniform():
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    found = sample(values, 4000, torch.Generator().manual_seed(0))
    assert found.unique(return_counts=True)[1].sub(1000).abs().max() < 4 * (4000 * 3 / 16) ** 0.5


# --- the argument of reinitialize -------------------------------------------------------------------------------------
def embedding():
    model = nn.Sequential(nn.Embedding(50, 8, padding_idx=0), nn.Linear(8, 4))
    initial = {"0.weight": torch.full((50, 8), 2.0), "1.weight": torch.arange(1.0, 33.0).view(4, 8)}
    initial["0.weight"][0] = 99.0
    return model, initial


@pytest.mark.parametrize("method, linear", [("R", range(1, 33)), ("RM", [0])])
def test_padding_rows_are_neither_drawn_from_nor_written_and_a_constant_is_its_own_mean(method, linear):
    model, initial = embedding()
    reinitialize(model, f"100{method}", initial=initial, generator=torch.Generator().manual_seed(0))
    assert not model[0].weight[0].any() and (model[0].weight[1:] == 2).all()
    assert set(model[1].weight.flatten().tolist()) <= set(linear)


def test_with_an_initial_state_no_layer_needs_an_initialiser_and_the_same_seed_repeats():
    states = []
    for seed in (3, 3, 4):
        model = networks.build("mini_vit", 3, seed=0)
        with pytest.raises(ValueError, match="'class_token'.*give the network's initial state dict as initial"):
            reinitialize(model, "10R")
        reinitialize(model, "10R", initial=state_of(model), generator=torch.Generator().manual_seed(seed))
        states.append(model.encoder.pos_embedding.detach().clone())
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


WRONG = {
    "lacks it": (lambda state: state.pop("1.weight") is None or state, r"\(4, 8\) for '1.weight', has none"),
    "another shape": (
        lambda state: state | {"1.weight": torch.ones(8, 4)},
        r"\(4, 8\) for '1.weight', has shape \(8, ",
    ),
    "not finite": (lambda state: state | {"0.weight": torch.full((50, 8), torch.nan)}, "finite .* '0.weight'"),
    "a network": (lambda state: nn.Linear(2, 2), "initial=Linear must be a state dict"),
}


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("change, message", WRONG.values(), ids=WRONG)
def test_a_wrong_initial_state_is_refused_by_the_parameters_name(change, message, dry_run):
    model, initial = embedding()
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        reinitialize(model, "50R", initial=change(initial), dry_run=dry_run)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
