"""Soft rescaling: the numbers by hand, what its authors promise, which networks keep the promise, and its norms in
``fit``."""

import copy
from dataclasses import replace

import pytest
import torch
from helpers import PHASES, fit, prepared, same
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from plasticity import train
from plasticity.methods.rescaling import SoftRescaling
from plasticity.networks import table as models

IMAGES = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def seeded(build, seed=0):
    """A module made without moving the global random stream."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def started(model, images=IMAGES, **fields):
    """The method after its first preparation."""
    return prepared(SoftRescaling(**fields), model, images=lambda n: images[:n])


@torch.no_grad()
def disturb(model, seed=1):
    """Stands for an optimiser's step: all parameters change, each layer's norm by another factor, biases away from
    zero."""
    draws = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.mul_(0.5 + 2 * torch.rand((), generator=draws))
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=draws))


def factors(before, after):
    """By parameter: what it was multiplied by."""
    return {n: (after[n].flatten() @ before[n].flatten() / before[n].square().sum()).item() for n in before}


def rescaled(model, method):
    """The factors of one call, which must be exact multiples."""
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    method.after_step(1)
    after = {n: p.detach() for n, p in model.named_parameters()}
    found = factors(before, after)
    assert all(torch.allclose(after[n], found[n] * before[n], rtol=1e-5, atol=1e-8) for n in before)
    return found


def mlp(activation=nn.ReLU):
    hidden = [nn.Linear(768, 20), activation(), nn.Linear(20, 20), activation()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(20, 5))


def cnn():
    convolutions = [nn.Conv2d(3, 8, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(128, 10), nn.ReLU(), nn.Linear(10, 5))


def bn_cnn():
    first = [nn.Conv2d(3, 8, 5), nn.BatchNorm2d(8), nn.ReLU()]
    second = [nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(5), nn.Flatten()]
    return nn.Sequential(*first, *second, nn.Linear(32, 10), nn.ReLU(), nn.Linear(10, 5))


class Backwards(nn.Module):
    """Registered from the last layer to the first, and one layer that is used without being called."""

    def __init__(self, child=True):
        super().__init__()
        self.last, self.middle, self.first = nn.Linear(6, 5), nn.Linear(6, 6), nn.Linear(768, 6)
        self.child = child

    def forward(self, images):
        features = self.middle(self.first(images.flatten(1)).relu()).relu()
        return self.last(features) if self.child else nn.functional.linear(features, self.last.weight, self.last.bias)


class Offset(nn.Module):
    """A parameter that belongs to no layer, and that does nothing as long as it is zero."""

    def __init__(self):
        super().__init__()
        self.inner, self.head, self.offset = nn.Linear(768, 6), nn.Linear(6, 5), nn.Parameter(torch.zeros(6))

    def forward(self, images):
        return self.head((self.inner(images.flatten(1)) + self.offset).relu())


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer, self.head = nn.Linear(768, 6), nn.Linear(6, 6), nn.Linear(6, 5)
        nn.init.zeros_(self.head.weight)  # a network that gives zeros at first must not pass for a chain

    def forward(self, images):
        features = self.inner(images.flatten(1)).relu()
        return self.head((features + self.outer(features)).relu())


# --- the formula ------------------------------------------------------------------------------------------------------
def set_to(model, *values):
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value))


def is_at(model, *values):
    return all(torch.allclose(p, torch.tensor(v), rtol=1e-6) for p, v in zip(model.parameters(), values, strict=True))


def test_two_steps_worked_out_by_hand():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    set_to(model, [[3.0, 0.0], [0.0, 4.0]], [0.5, 0.5], [[0.0, 2.0]], [1.0])  # norms 5 and 2
    method = started(model, torch.ones(2, 2), features=0.0, classifier=0.5)
    assert method.norms.tolist() == [5, 2] and method.reason == ""
    set_to(model, [[6.0, 0.0], [0.0, 8.0]], [1.0, -2.0], [[0.0, 4.0]], [8.0])
    method.after_step(1)  # c = (2.5 + 5) / 10 = 0.75 and (1 + 2) / 4 = 0.75; C = 0.5625
    assert is_at(model, [[4.5, 0.0], [0.0, 6.0]], [0.75, -1.5], [[0.0, 3.0]], [4.5])
    set_to(model, [[1.5, 0.0], [0.0, 2.0]], [0.75, -1.5], [[0.0, 3.0]], [4.5])
    method.after_step(2)  # c = (2.5 + 1.25) / 2.5 = 1.5 and (1 + 1.5) / 3 = 5/6; C = 1.25
    assert is_at(model, [[2.25, 0.0], [0.0, 3.0]], [1.125, -2.25], [[0.0, 2.5]], [5.625])


def test_each_strength_acts_on_its_own_layers_and_the_product_restarts_at_the_last_norm_layer_itself():
    model = seeded(bn_cnn)
    method = started(model, features=0.5, classifier=1.0)
    target = method.norms.clone()
    disturb(model)
    now = torch.stack([p.norm() for n, p in model.named_parameters() if n.endswith("weight")]).detach()
    strength = torch.tensor([0.5, 0.5, 0.5, 0.5, 1.0, 1.0])
    c = ((strength * target + (1 - strength) * now) / now).tolist()
    total = [c[0], c[1], c[2], c[3], c[3] * c[4], c[3] * c[4] * c[5]]
    found = rescaled(model, method)
    assert method.names == ["0", "1", "3", "4", "8", "10"]
    assert list(found.values()) == pytest.approx([v for pair in zip(c, total, strict=True) for v in pair], rel=1e-5)


def test_a_norm_layer_without_gain_restarts_the_product_with_the_layer_behind_it():
    def build():
        front = [nn.Flatten(), nn.Linear(768, 6), nn.BatchNorm1d(6, affine=False)]
        return nn.Sequential(*front, nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 5))

    model = seeded(build)
    method = started(model, classifier=0.5)
    disturb(model)
    found = rescaled(model, method)
    assert method.reason == "" and found["1.bias"] == pytest.approx(found["1.weight"], rel=1e-5)
    assert found["3.bias"] == pytest.approx(found["3.weight"], rel=1e-5)
    assert found["5.bias"] == pytest.approx(found["3.weight"] * found["5.weight"], rel=1e-5)


def test_a_layer_of_norm_zero_stays_and_harms_nobody():
    model = seeded(mlp)
    method = started(model, classifier=0.5)
    disturb(model)
    nn.init.zeros_(model[3].weight)
    bias = model[3].bias.detach().clone()
    first = model[1].weight.detach().clone()
    method.after_step(1)
    c = (model[1].weight.norm() / first.norm()).item()
    assert not model[3].weight.any() and torch.allclose(model[3].bias, c * bias) and c != pytest.approx(1, abs=0.01)
    assert all(p.isfinite().all() for p in model.parameters())


# --- what is promised -------------------------------------------------------------------------------------------------
def relative(got, expected):
    return ((got - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("build", [mlp, cnn])
@torch.no_grad()
def test_outputs_are_multiplied_by_the_product(build):
    model = seeded(build)
    method = started(model, features=0.3, classifier=0.6, product="always")
    for step in (1, 2, 3):
        disturb(model, step)
        before = model(IMAGES)
        found = rescaled(model, method)
        total = torch.tensor([v for n, v in found.items() if n.endswith("weight")]).prod()
        assert abs(total - 1) > 0.05 and relative(model(IMAGES), total * before) < 1e-5


@torch.no_grad()
def test_behind_the_last_batch_norm_outputs_are_multiplied_by_the_product():
    model = seeded(bn_cnn)
    model(IMAGES)  # running statistics that are not those of a fresh network
    method = started(model.eval(), features=0.3, classifier=0.6, product="always")
    disturb(model)
    buffers = [b.clone() for b in model.buffers()]
    inside = model[:4](IMAGES)
    before = model[4:](inside)
    found = rescaled(model, method)
    total = found["4.weight"] * found["8.weight"] * found["10.weight"]
    assert abs(total - 1) > 0.05 and relative(model[4:](inside), total * before) < 1e-5
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))


@settings(deadline=None, max_examples=30)
@given(st.floats(0.1, 1), st.floats(0.1, 10), st.lists(st.floats(0.5, 1), min_size=40, max_size=40))
@torch.no_grad()
def test_norms_are_bounded_whatever_the_steps(strength, growth, steps):
    model = nn.Linear(4, 3, bias=False)
    set_to(model, [[1.0, 0.0, -1.0, 2.0]] * 3)
    method, start = started(model, torch.ones(2, 4), classifier=strength), model.weight.norm().item()
    for step, share in enumerate(steps, start=1):
        model.weight.mul_(1 + share * growth / model.weight.norm())  # outwards: the worst that a step so long can do
        method.after_step(step)
        bound = start + growth * (1 - strength) / strength
        assert start * (1 - 1e-4) <= model.weight.norm().item() <= bound * (1 + 1e-4)


# --- which networks ---------------------------------------------------------------------------------------------------
def test_forward_order_is_not_the_order_of_registration():
    model = seeded(Backwards)
    method = started(model, classifier=0.5, product="always")
    assert method.names == ["first", "middle", "last"]
    disturb(model)
    found = rescaled(model, method)
    product = found["first.weight"] * found["middle.weight"] * found["last.weight"]
    assert found["last.bias"] == pytest.approx(product, rel=1e-5)
    assert found["last.bias"] != pytest.approx(found["last.weight"], rel=0.01)
    used_without_a_call = seeded(lambda: Backwards(child=False))
    assert started(used_without_a_call).names == ["first", "middle", "last"]


@pytest.mark.parametrize(
    "build, where",
    [
        (Residual, "'head'"),
        (Offset, "'head'"),
        (lambda: models.build("mini_resnet", 5, 0), "'fc'"),
        (lambda: mlp(nn.GELU), "'3'"),
        (lambda: mlp(nn.ReLU6), "'3'"),
    ],
)
def test_a_network_that_is_no_chain_scales_each_layer_by_itself_or_is_refused(build, where):
    model = seeded(build)
    method = started(model, features=0.5, classifier=0.5)
    disturb(model)
    found = rescaled(model, method)
    for name in (n for n in found if n.endswith("bias")):  # "offset" is none
        assert found[name] == pytest.approx(found[name.replace("bias", "weight")], rel=1e-4)
    with pytest.raises(ValueError, match=f"always.*output of ({where}) is not multiplied"):
        started(model, product="always")


def test_a_vision_transformer_is_a_chain_behind_its_last_norm_layer_and_every_layer_counts_once():
    model = models.build("mini_vit", 4, seed=0)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    method = started(model, images, features=0.5, classifier=0.25, product="auto")
    assert method.reason == "" and method.names[0] == "conv_proj" and method.names[-2:] == ["encoder.ln", "heads.head"]
    assert len(method.names) == len(set(method.names)) == 1 + 4 * 6 + 2
    before = copy.deepcopy(model.state_dict())
    disturb(model)
    norms = {n: p.norm().item() for n, p in model.named_parameters()}
    found = rescaled(model, method)
    assert [n for n, v in found.items() if v == pytest.approx(1, abs=1e-6)] == ["class_token", "encoder.pos_embedding"]
    name = "encoder.layers.encoder_layer_0.self_attention.in_proj_"
    share = before[name + "weight"].norm().item() / norms[name + "weight"]
    assert found[name + "weight"] == pytest.approx(0.25 * share + 0.75, rel=1e-4)
    assert found[name + "bias"] == pytest.approx(found[name + "weight"], rel=1e-4)
    assert found["heads.head.bias"] == pytest.approx(found["encoder.ln.weight"] * found["heads.head.weight"], rel=1e-4)


def test_never_takes_each_layers_own_factor_where_the_product_would_do():
    model = seeded(cnn)
    method = started(model, features=0.5, classifier=0.5, product="never")
    disturb(model)
    found = rescaled(model, method)
    assert found["8.bias"] == pytest.approx(found["8.weight"], rel=1e-5)


def test_preparing_touches_nothing():
    def build():
        return nn.Sequential(*seeded(bn_cnn)[:8], nn.Dropout(0.5), nn.Linear(32, 5))

    model = seeded(build).train()
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    started(model)
    assert all(torch.equal(a, b) for a, b in zip(state.values(), model.state_dict().values(), strict=True))
    assert torch.equal(random, torch.get_rng_state())
    assert all(m.training and not m._forward_hooks for m in model.modules())


# --- its cost ---------------------------------------------------------------------------------------------------------
class Counted(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operations.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def test_a_step_takes_the_same_few_operations_at_any_depth_and_asks_for_no_number():
    counts = []
    for depth in (1, 12):
        layers = [part for _ in range(depth) for part in (nn.Linear(6, 6), nn.ReLU())]
        method = started(nn.Sequential(*layers), torch.ones(2, 6))
        with Counted() as counted:
            method.after_step(1)
        assert not {"_local_scalar_dense", "item", "nonzero"} & set(counted.operations)
        assert "_foreach_mul_" in counted.operations
        counts.append(len(counted.operations))
    assert counts[0] == counts[1] < 20


# --- in fit -----------------------------------------------------------------------------------------------------------


def norms(model, method):
    return torch.stack([model.get_submodule(name).weight.detach().norm() for name in method.names])


def test_the_first_phases_initial_norms_hold_through_both_phases(world):
    fitted = fit(PHASES, world, intervention=(method := SoftRescaling(0.01, 0.01)))
    initial = norms(train.build(PHASES, world)[0], method)
    assert torch.allclose(method.norms, initial) and not torch.allclose(norms(fitted.model, method), initial)


def test_full_strength_keeps_the_norms_themselves(world):
    fitted = fit(PHASES, world, intervention=(method := SoftRescaling(1.0, 1.0)))
    assert torch.allclose(norms(fitted.model, method), method.norms, rtol=1e-5)
    assert not same(fitted, fit(PHASES, world, intervention=SoftRescaling(1.0, 0.0)))


class Watched(SoftRescaling):
    """Notes the steps after which the n_l were others, and whether they were the norms that the step had led to."""

    def prepare(self, model, start):
        self.changes = getattr(self, "changes", [])
        self.model = model
        return super().prepare(model, start)

    def after_step(self, step):
        before, found = self.norms.clone(), norms(self.model, self)
        super().after_step(step)
        if not torch.equal(before, self.norms):
            assert torch.allclose(self.norms, found, rtol=1e-5)
            self.changes.append(step)


@pytest.mark.parametrize(
    "fields, reinit, changes",
    [  # phases of 2 x 3 and 2 x 6 steps; a new phase is no decay, and the step after half of them is one
        ({}, True, [4, 6, 6 + 7, 6 + 10]),
        ({}, False, []),
        ({"warmup": 0.5, "schedule": "constant"}, True, []),  # warming up again, from low, is no decay
    ],
)
def test_reinit_takes_the_present_norms_at_each_decay_and_never_else(world, fields, reinit, changes):
    fit(replace(PHASES, **fields), world, intervention=(method := Watched(0.1, 0.1, reinit=reinit)))
    assert method.changes == changes
