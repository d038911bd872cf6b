"""The averages against closed forms worked out here, and the exact moments of a reset."""

import copy
from dataclasses import replace

import pytest
import torch
from helpers import PHASES, equal, fit, interrupted, prepared, resumed, same, start_of, state_of
from torch import nn

from plasticity.methods.averages import Ema, HareTortoise, SelfDistillation
from plasticity.training.batches import forward


def network():
    """A linear layer of one weight per class and a normalisation, whose buffers are floats and one integer."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        model[1].bias.zero_()
    return model


def pointers(model):
    return {value.untyped_storage().data_ptr() for value in model.state_dict().values()}


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
        norm = ema.slow[2]
        seen.append((ema.slow[1].weight[0, 0].item(), norm.running_mean[0].item(), norm.num_batches_tracked.item()))
    # the weight is 1, 5, 5, -3: .75 x 1 + .25 x 5 = 2, .75 x 2 + .25 x 5 = 2.75, .75 x 2.75 - .25 x 3 = 1.3125
    assert seen == [(2.0, 1.0, 1), (2.75, 1.75, 2), (1.3125, 0.3125, 3)]


def test_an_average_goes_on_or_begins_anew_at_a_later_phase():
    for restart, value in ((False, 2.0), (True, 9.0)):
        model = network()
        ema = prepared(Ema(momentum=0.75, restart=restart), model)
        with torch.no_grad():
            model[1].weight.add_(4.0)
            model[2].num_batches_tracked.add_(5)
        ema.after_step(1)
        slow = ema.slow
        with torch.no_grad():
            model[1].weight[0, 0] = 9.0
        ema.prepare(model, start_of(phase=2))
        assert ema.slow is slow and slow[1].weight[0, 0] == value and slow[2].num_batches_tracked == 5
    assert HareTortoise(restart=True).restart and not pointers(model) & pointers(slow)


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


def test_the_average_is_a_network_apart():
    model = network().train()
    ema = prepared(Ema(), model)
    assert ema.predicts and ema.evaluated(model) is ema.slow and not pointers(model) & pointers(ema.slow)
    assert not any(p.requires_grad for p in ema.slow.parameters()) and all(p.requires_grad for p in model.parameters())
    assert not any(module.training for module in ema.slow.modules())
    assert all(module.training for module in model.modules())


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
    average.prepare(model, start_of(phase=2))
    assert average.slow is slow and equal(slow, before) and not equal(before, model)
    average.after_step(2)
    assert torch.equal(slow[1].weight, 0.5 * before["1.weight"] + 0.5)
    average.prepare(model, start_of(phase=1))
    assert equal(average.slow, model), "another run begins anew"


def losses(fitted):
    return [row["train_loss"] for row in fitted.history]


def test_the_average_only_watches_and_the_others_at_no_strength_are_the_average(world):
    average = fit(PHASES, world, intervention=Ema(0.8))
    assert losses(fit(PHASES, world)) == losses(average)
    assert same(average, fit(PHASES, world, intervention=SelfDistillation(0.8, strength=0.0)))
    often = losses(fit(PHASES, world, intervention=HareTortoise(0.8, epochs=2)))
    assert losses(average)[:2] == often[:2] and losses(average)[2] != often[2], "the first reset follows epoch 2"


# --- hare and tortoise ------------------------------------------------------------------------------------------------
def test_the_hare_goes_back_at_its_epochs_and_no_others():
    model = network()
    method = prepared(HareTortoise(momentum=0.5, steps=1, epochs=3), model)
    parameters, went_back = [id(p) for p in model.parameters()], []
    for epoch in range(1, 8):
        with torch.no_grad():
            model[1].weight.add_(1)
            model[2].running_var.add_(1)
        method.after_step(epoch)
        hare, tortoise = state_of(model), state_of(method.slow)
        method.after_epoch(epoch)
        assert equal(tortoise, method.slow) and not equal(hare, tortoise), "a reset moves the hare alone"
        assert equal(model, tortoise if epoch % 3 == 0 else hare)
        went_back += [epoch] if equal(model, tortoise) else []
        assert not pointers(model) & pointers(method.slow)
    assert went_back == [3, 6] and [id(p) for p in model.parameters()] == parameters
    assert all(p.requires_grad for p in model.parameters())


def test_the_hare_goes_back_at_its_steps_and_no_others():
    """Phases of two epochs, of 2 and then of 3 steps; step 4 is the last of an epoch, whose end the hare awaits."""
    model, method, step, moments = network(), HareTortoise(momentum=0.5, steps=4), 0, []
    for phase, length in ((1, 2), (2, 3)):
        prepared(method, model, phase=phase, steps_per_epoch=length, shortest=(4, 2))
        for epoch in (1, 2):
            for _ in range(length):
                step += 1
                nn.init.constant_(model[1].weight, step)
                method.after_step(step)
                moments += [step] * equal(model, method.slow)
            stands = equal(model, method.slow)
            method.after_epoch(2 * phase - 2 + epoch)
            moments += [f"end of {step}"] * (equal(model, method.slow) and not stands)
    assert moments == ["end of 4", 8]


def test_as_many_steps_as_an_epoch_has_are_an_epoch_bit_for_bit(world):
    single = replace(PHASES, scenario="single", schedule="constant", measure=1)  # six steps an epoch
    one, other = (fit(single, world, intervention=HareTortoise(0.8, **n)) for n in ({"steps": 6}, {"epochs": 1}))
    assert same(one, other)


@pytest.mark.parametrize(
    "interval, says",
    [
        ({"steps": 0}, r"steps=0 is outside its range \[1, inf\); 'ema' is an average without resets"),
        (
            {"steps": 7},
            "steps=7 is longer than the run.s shortest phase, of 6 steps; allowed: 1 to 6. Lower steps or train",
        ),
        (
            {"steps": 1, "epochs": 3},
            "epochs=3 is longer than the run.s shortest phase, of 2 epochs; allowed: 1 to 2. Lower ep",
        ),
        ({}, "steps=1950 is longer than the run.s shortest phase, of 6 steps"),
    ],
)
def test_an_interval_that_never_ends_is_refused(world, interval, says):
    with pytest.raises(ValueError, match=says):
        fit(PHASES, world, intervention=HareTortoise(**interval))


def test_the_default_interval_is_the_papers():
    """Ten epochs of 50,000 items in batches of 256; the hare keeps 86% of its way."""
    hare = HareTortoise()
    assert hare.steps == 10 * (50_000 // 256) and 1 - hare.momentum**hare.steps == pytest.approx(0.858, abs=5e-4)


@pytest.mark.parametrize("text", ["steps=4", "steps=6", "epochs=2"])
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_killed_run_goes_on_bit_for_bit_between_and_at_resets(world, tmp_path, text, epoch):
    run = replace(PHASES, case=f"hare_tortoise(momentum=0.8, {text})", measure=1)
    whole = fit(run, world)
    interrupted(run, world, tmp_path / "running", epoch)
    again = resumed(run, world, tmp_path / "running")
    assert again.resumed == [epoch] and same(whole, again)


def test_after_a_reset_the_two_go_apart_again():
    """In code that shares memory, the hare's next step moves the tortoise with it."""
    model = network()
    method = prepared(HareTortoise(momentum=0.5, epochs=1), model)
    method.after_epoch(1)
    before = state_of(method.slow)
    with torch.no_grad():
        model[1].weight.add_(4)
    assert equal(method.slow, before)
    method.after_step(1)
    assert torch.equal(method.slow[1].weight, before["1.weight"] + 2)


def test_the_optimiser_keeps_its_state():
    model = network()
    method = prepared(HareTortoise(momentum=0.5, epochs=1), model)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(4, 2)).square().sum().backward()
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    method.after_step(1)
    method.after_epoch(1)
    after = optimizer.state_dict()
    assert before["state"] and all(equal(before["state"][i], after["state"][i]) for i in before["state"])


def test_through_two_phases_the_tortoise_goes_on(world):
    class Watched(HareTortoise):
        begins = []

        def prepare(self, model, start):
            before = state_of(self.slow) if start.phase > 1 else None
            rows, slow = super().prepare(model, start), self.slow.state_dict()
            self.begins.append((start.phase, before and equal(before, slow), equal(model, slow)))
            self.hare = model
            return rows

        def after_epoch(self, epoch):
            super().after_epoch(epoch)
            assert equal(self.hare, self.slow) == (epoch == 3)

    fit(PHASES, world, intervention=Watched(0.8, steps=4))  # of 3 + 3 + 6 + 6 steps
    assert Watched.begins == [(1, None, True), (2, True, False)]


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
    expected = 3 / 2 * torch.stack([torch.stack([0.5 - p, p - 0.5]), torch.zeros(2)])
    assert torch.allclose(logits.grad, expected, atol=1e-6)
    assert method.slow[1].weight.grad is None


def test_the_teacher_touches_nothing():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(16, 3))
    method, images = prepared(SelfDistillation(), model), torch.randn(5, 3, 2, 2)
    model.train()
    logits = model(images)
    before, slow, stream = state_of(model), state_of(method.slow), torch.get_rng_state()
    assert method.penalty(model, logits, images) > 0
    assert equal(before, model) and equal(slow, method.slow) and torch.equal(stream, torch.get_rng_state())
    model.load_state_dict(slow)
    assert method.penalty(model, model.eval()(images), images).abs() < 1e-6, "what teaches is what predicts"


def test_the_teacher_computes_in_the_precision_of_the_run():
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), torch.randn(2, 3, 4, 4)
    for precision in ("fp32", "bf16"):
        method = prepared(SelfDistillation(), model, precision=precision)
        assert method.penalty(model, forward(model, images, precision), images).abs() < 1e-9
    other = forward(model, images, "fp32")
    assert method.penalty(model, other, images) > 1e-8, "the precisions differ at all"
