"""The averages against closed forms worked out here, the exact moments of a reset, and runs through ``fit``, interrupted or not."""

import copy
import shutil

import pytest
import torch
from conftest import tiny_arrays
from test_checkpoints import interrupted, resumed, same
from torch import nn
from torch.nn import functional as F

from plasticity import train
from plasticity.datasets.prepare import pack
from plasticity.interventions import Intervention, Start
from plasticity.methods import registry as methods
from plasticity.methods.averages import Ema, HareTortoise, SelfDistillation
from plasticity.run import Run
from plasticity.running.checkpoints import Checkpoint
from plasticity.training import notation

TWO_PHASES = Run(
    "mini_resnet",
    "photos",
    weights="none",
    scenario="warm_start(subset=0.5, noise=0.2)",
    patience=0,
    validation=0.0,
    batch_size=16,
    max_epochs=2,
    optimizer="sgd",
    lr=0.05,
    momentum=0.9,
    augment="flip",
)
FIRST = 4  # epochs of its first phase; two more follow


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The tiny set of the other tests, packed once for all tests here."""
    folder = tmp_path_factory.mktemp("world")
    pack(folder, "photos", tiny_arrays())
    return folder


@pytest.fixture(scope="module")
def average(world):
    """A run whose average of momentum 0.8 predicts."""
    return go(world, intervention=Ema(0.8))


def start(phase=1, precision="fp32"):
    return Start(torch.Generator(), None, dict, phase, precision=precision)


def network():
    """A linear layer of one weight per class and a normalisation, whose buffers are floats and one integer."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        model[1].bias.zero_()
    return model


def prepared(method, model):
    method.prepare(model, start())
    return method


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def pointers(model):
    return {value.untyped_storage().data_ptr() for value in model.state_dict().values()}


def go(world, run=TWO_PHASES, intervention=None):
    return train.fit(run, world, "cpu", intervention=intervention)


# --- the moving average -----------------------------------------------------------------------------------------------
def test_the_average_by_hand():
    model = network()
    ema = prepared(Ema(momentum=0.75), model)
    seen = []
    for step, add in enumerate((4.0, 0.0, -8.0), start=1):
        with torch.no_grad():
            model[1].weight.add_(add)
            model[2].running_mean.add_(add)
            model[2].num_batches_tracked.add_(1)
        ema.after_step(step)
        seen.append(
            (
                ema.slow[1].weight[0, 0].item(),
                ema.slow[2].running_mean[0].item(),
                ema.slow[2].num_batches_tracked.item(),
            )
        )
    # the weight is 1, 5, 5, -3: .75 x 1 + .25 x 5 = 2, .75 x 2 + .25 x 5 = 2.75, .75 x 2.75 - .25 x 3 = 1.3125
    assert seen == [(2.0, 1.0, 1), (2.75, 1.75, 2), (1.3125, 0.3125, 3)]


def test_the_average_in_closed_form():
    torch.manual_seed(0)
    model, m = network(), 0.9
    ema, weights = prepared(Ema(m), model), [model[1].weight.detach().clone()]
    for step in range(1, 31):
        with torch.no_grad():
            model[1].weight.normal_()
        weights.append(model[1].weight.detach().clone())
        ema.after_step(step)
    expected = m**30 * weights[0] + sum((1 - m) * m ** (30 - i) * weights[i] for i in range(1, 31))
    assert torch.allclose(ema.slow[1].weight, expected, atol=1e-6)


def test_without_momentum_the_average_is_the_network():
    model = network()
    ema = prepared(Ema(0.0), model)
    with torch.no_grad():
        model[1].weight.mul_(1 / 3)
    ema.after_step(1)
    assert equal(ema.slow.state_dict(), model.state_dict())


def test_the_average_is_a_network_apart():
    model = network().train()
    ema = prepared(Ema(), model)
    assert ema.predicts and ema.evaluated(model) is ema.slow and not pointers(model) & pointers(ema.slow)
    assert not any(p.requires_grad for p in ema.slow.parameters()) and all(p.requires_grad for p in model.parameters())
    assert not any(module.training for module in ema.slow.modules()) and all(
        module.training for module in model.modules()
    )


def test_a_tied_weight_is_averaged_once():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    nn.init.zeros_(model[0].weight)
    ema = prepared(Ema(0.5), model)
    nn.init.ones_(model[0].weight)
    ema.after_step(1)
    assert ema.slow[1].weight is ema.slow[0].weight and torch.equal(ema.slow[0].weight, torch.full((2, 2), 0.5))


def test_the_average_follows_weights_that_were_loaded():
    model = network()
    ema = prepared(Ema(0.5), model)
    model.load_state_dict({name: torch.full_like(value, 9) for name, value in model.state_dict().items()})
    ema.after_step(1)
    assert ema.slow[1].weight[0, 0] == 5 and ema.slow[2].num_batches_tracked == 9


@pytest.mark.parametrize("method", [Ema, HareTortoise, SelfDistillation])
def test_the_average_goes_on_in_the_next_phase(method):
    model = network()
    average = prepared(method(momentum=0.5), model)
    nn.init.ones_(model[1].weight)
    average.after_step(1)
    slow, before = average.slow, state_of(average.slow)
    average.prepare(model, start(phase=2))
    assert average.slow is slow and equal(slow.state_dict(), before) and not equal(before, model.state_dict())
    average.after_step(2)
    assert torch.equal(slow[1].weight, 0.5 * before["1.weight"] + 0.5)
    average.prepare(model, start(phase=1))
    assert equal(average.slow.state_dict(), model.state_dict()), "another run begins anew"


def test_the_average_watches_and_predicts(world, average):
    base = go(world)
    assert [row["train_loss"] for row in base.history] == [row["train_loss"] for row in average.history]
    assert not equal(base.model.state_dict(), average.model.state_dict())
    assert equal(go(world, intervention=Ema(0.0)).model.state_dict(), base.model.state_dict())


# --- hare and tortoise ------------------------------------------------------------------------------------------------
def test_the_hare_goes_back_at_its_epochs_and_no_others():
    model = network()
    method = prepared(HareTortoise(momentum=0.5, every=3), model)
    parameters, went_back = [id(p) for p in model.parameters()], []
    for epoch in range(1, 8):
        with torch.no_grad():
            model[1].weight.add_(1)
            model[2].running_var.add_(1)
        method.after_step(epoch)
        hare, tortoise = state_of(model), state_of(method.slow)
        method.after_epoch(epoch)
        assert equal(tortoise, method.slow.state_dict()) and not equal(hare, tortoise), "a reset moves the hare alone"
        assert equal(model.state_dict(), tortoise if epoch % 3 == 0 else hare)
        went_back += [epoch] if equal(model.state_dict(), tortoise) else []
        assert not pointers(model) & pointers(method.slow)
    assert went_back == [3, 6] and [id(p) for p in model.parameters()] == parameters
    assert all(p.requires_grad for p in model.parameters())


def test_after_a_reset_the_two_go_apart_again():
    """In code that shares memory, the hare's next step moves the tortoise with it."""
    model = network()
    method = prepared(HareTortoise(momentum=0.5, every=1), model)
    method.after_epoch(1)
    before = state_of(method.slow)
    with torch.no_grad():
        model[1].weight.add_(4)
    assert equal(method.slow.state_dict(), before)
    method.after_step(1)
    assert torch.equal(method.slow[1].weight, before["1.weight"] + 2)


def test_the_optimiser_keeps_its_state():
    model = network()
    method = prepared(HareTortoise(momentum=0.5, every=1), model)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(4, 2)).square().sum().backward()
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    method.after_step(1)
    method.after_epoch(1)
    after = optimizer.state_dict()
    assert before["state"] and all(equal(before["state"][i], after["state"][i]) for i in before["state"])


def test_a_hare_that_never_goes_back_is_the_average(world, average):
    never, often = (go(world, intervention=HareTortoise(0.8, every)) for every in (0, 2))
    assert same(average, never)
    losses = [[row["train_loss"] for row in fitted.history] for fitted in (average, often)]
    assert losses[0][:2] == losses[1][:2] and losses[0][2] != losses[1][2], "the first reset follows the second epoch"


def test_through_two_phases_the_tortoise_goes_on(world):
    class Watched(HareTortoise):
        begins = []

        def prepare(self, model, start):
            before = state_of(self.slow) if start.phase > 1 else None
            rows, slow = super().prepare(model, start), self.slow.state_dict()
            self.begins.append((start.phase, before and equal(before, slow), equal(model.state_dict(), slow)))
            self.hare = model
            return rows

        def after_epoch(self, epoch):
            super().after_epoch(epoch)
            assert equal(self.hare.state_dict(), self.slow.state_dict()) == (epoch % 3 == 0)

    go(world, intervention=Watched(0.8, every=3))
    assert Watched.begins == [(1, None, True), (2, True, False)]


class Forgetful:
    """Loses its state when it is taken up again."""

    def load_state_dict(self, state):
        pass


@pytest.mark.parametrize(
    "method, options, epochs",
    [(Ema, {}, [FIRST + 1]), (HareTortoise, {"every": 2}, [3, FIRST, FIRST + 1]), (SelfDistillation, {}, [FIRST + 1])],
)
def test_resumed_in_either_phase_bit_for_bit(world, tmp_path, method, options, epochs):
    def make(kind=method):
        return kind(momentum=0.8, **options)

    whole = go(world, intervention=make())
    for epoch in epochs:
        interrupted(TWO_PHASES, world, tmp_path / "state", epoch, intervention=make())
        shutil.copytree(tmp_path / "state", tmp_path / "copy", dirs_exist_ok=True)
        again = resumed(TWO_PHASES, world, tmp_path / "state", intervention=make())
        assert same(whole, again) and again.resumed == [epoch]
        Checkpoint(tmp_path / "state").remove()
    lost = resumed(TWO_PHASES, world, tmp_path / "copy", intervention=make(type("Lost", (Forgetful, method), {})))
    assert not same(whole, lost), "the state is needed"


# --- the average as a teacher -----------------------------------------------------------------------------------------
def test_the_teacher_by_hand():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    model[1].weight.data = torch.eye(2)
    method = prepared(SelfDistillation(0.5, strength=3.0), model)
    model[1].weight.data.zero_()
    images = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    logits = model(images)
    logits.retain_grad()
    penalty = method.penalty(model, logits, images)
    p = 1 / (1 + torch.tensor(-2.0).exp())  # what the teacher gives the first class of the first image; the student 1/2
    assert penalty.item() == pytest.approx(3 * (p * (2 * p).log() + (1 - p) * (2 * (1 - p)).log()).item() / 2, rel=1e-5)
    penalty.backward()
    assert torch.allclose(
        logits.grad, 3 / 2 * torch.stack([torch.stack([0.5 - p, p - 0.5]), torch.zeros(2)]), atol=1e-6
    )
    assert method.slow[1].weight.grad is None


def test_the_teacher_touches_nothing():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(16, 3))
    method, images = prepared(SelfDistillation(), model), torch.randn(5, 3, 2, 2)
    model.train()
    logits = model(images)
    before, slow, stream = state_of(model), state_of(method.slow), torch.get_rng_state()
    assert method.penalty(model, logits, images) > 0
    assert (
        equal(before, model.state_dict())
        and equal(slow, method.slow.state_dict())
        and torch.equal(stream, torch.get_rng_state())
    )
    model.load_state_dict(slow)
    assert method.penalty(model, model.eval()(images), images).abs() < 1e-6, "what teaches is what predicts"


def test_the_teacher_computes_in_the_precision_of_the_run():
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), torch.randn(2, 3, 4, 4)
    for precision in ("fp32", "bf16"):
        method = SelfDistillation()
        method.prepare(model, start(precision=precision))
        assert method.penalty(model, train.forward(model, images, precision), images).abs() < 1e-9
    other = train.forward(model, images, "fp32")
    assert method.penalty(model, other, images) > 1e-8, "the precisions differ at all"


def test_a_teacher_of_no_strength_is_the_average(world, average):
    none, strong = (go(world, intervention=SelfDistillation(0.8, strength)) for strength in (0.0, 5.0))
    assert same(average, none) and not same(average, strong)
    images = torch.randn(2, 3, 2, 2)
    assert prepared(SelfDistillation(strength=0.0), network()).penalty(None, F.relu(images), images) is None


# --- what is refused --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "kind, options, said",
    [
        (Ema, {"momentum": 1.0}, "Ema: momentum=1.0 "),
        (Ema, {"momentum": -0.1}, "Ema: momentum=-0.1 "),
        (Ema, {"momentum": float("nan")}, "Ema: momentum=nan "),
        (HareTortoise, {"momentum": 1.5}, "HareTortoise: momentum=1.5 "),
        (HareTortoise, {"every": -1}, "HareTortoise: every=-1 "),
        (SelfDistillation, {"strength": -2.0}, "SelfDistillation: strength=-2.0 "),
        (SelfDistillation, {"strength": float("inf")}, "SelfDistillation: strength=inf "),
    ],
)
def test_values_outside_their_range_are_refused(kind, options, said):
    with pytest.raises(ValueError, match=f"^{said}is outside its range"):
        kind(**options)


def test_names_and_defaults(monkeypatch):
    known = {"ema": Ema, "hare_tortoise": HareTortoise, "self_distillation": SelfDistillation}
    for name, kind in known.items():
        assert notation.write(kind(), known) == name and issubclass(kind, Intervention)
        monkeypatch.setitem(methods.NAMED, name, kind)
    assert (HareTortoise().momentum, HareTortoise().every, SelfDistillation().strength) == (0.999, 10, 1.0)
    assert methods.canonical("hare_tortoise(every=5,momentum=0.9)") == "hare_tortoise(momentum=0.9, every=5)"
    for pair in ("ema + hare_tortoise", "hare_tortoise + self_distillation", "ema + self_distillation"):
        with pytest.raises(ValueError, match="take one of them"):
            methods.canonical(pair)
