"""Resets of whole networks, heads and weights: worked out by hand, in place, and nothing besides."""

import copy
from dataclasses import replace

import pytest
import torch
from helpers import PHASES, equal, fit, start_of, state_of
from torch import nn

from plasticity import train
from plasticity.interventions import Intervention
from plasticity.methods.combined import Combined
from plasticity.methods.registry import build, canonical
from plasticity.methods.resets import FrozenHead, HeadOnly, HeadReset, OtherHead, ShrinkPerturb
from plasticity.methods.selective import SelectiveReinit
from plasticity.networks import table as networks

TRANSFER = replace(PHASES, weights="source", scenario="transfer", validation=0.2)


def go(world, method=None, **fields):
    """A run of two phases, trained."""
    return fit(replace(PHASES, **fields), world, intervention=method)


def places(model):
    return [p.data_ptr() for p in model.parameters()]


def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


# --- shrink and perturb -----------------------------------------------------------------------------------------------
def test_shrink_is_the_weighted_mean_of_present_and_initial_weights_and_leaves_buffers():
    model, initial = small(0), state_of(small(1))
    model[1].running_mean += 3
    before, memory = state_of(model), places(model)
    untouched = {name: value.clone() for name, value in initial.items()}
    ShrinkPerturb(keep=0.2).prepare(model, start_of(initial=initial))
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter, 0.2 * before[name] + 0.8 * initial[name], atol=1e-7), name
    assert not torch.equal(model[0].weight, before["0.weight"])
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert memory == places(model), "in place"
    assert equal(initial, untouched)


def test_shrink_of_three_numbers():
    model = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 10.0]]))
    ShrinkPerturb(keep=0.25).prepare(model, start_of(initial={"weight": torch.tensor([[5.0, 2.0, -2.0]])}))
    assert model.weight.tolist() == [[4.0, 1.0, 1.0]]


@pytest.mark.parametrize("method", [ShrinkPerturb(keep=0.5, fresh=True), HeadReset(fresh=True)])
def test_fresh_is_another_draw_from_the_tensors_own_initial_values(method):
    def reset(phase):
        model = small(0)
        start = start_of(initial=initial, head="4", generator=torch.Generator().manual_seed(phase), phase=phase)
        method.prepare(model, start)
        return model

    before, initial = small(0), state_of(small(1))
    after, again, other = reset(2), reset(2), reset(3)
    weight, old, first = after[4].weight, before[4].weight, initial["4.weight"]
    drawn = 2 * weight - old if isinstance(method, ShrinkPerturb) else weight
    distances = (drawn.flatten()[:, None] - first.flatten()).abs().min(1).values
    assert distances.max() < 1e-6 and (drawn - first).abs().max() > 1e-3
    assert equal(after, again) and not equal(after, other)
    assert torch.equal(after[0].weight, before[0].weight) == isinstance(method, HeadReset)


def test_perturbation_is_normal_noise_of_that_size_from_the_streams_generator():
    def perturbed(seed):
        model = nn.Linear(200, 100, bias=False)
        with torch.no_grad():
            model.weight.fill_(2.0)
        ShrinkPerturb(keep=1.0, noise=0.5).prepare(model, start_of(initial=state_of(model), seed=seed))
        return model.weight.detach()

    noise = perturbed(1) - 2
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 0.5) < 0.02
    assert torch.equal(perturbed(1), perturbed(1)) and not torch.equal(perturbed(1), perturbed(2))


@pytest.mark.parametrize("method", [ShrinkPerturb(), HeadReset()])
def test_nothing_is_reset_where_nothing_was_learned(method):
    model = small()
    before = state_of(model)
    start = start_of(initial=state_of(small(1)), head="4", learned=False)
    assert method.prepare(model, start) == [] and equal(before, model)
    method.prepare(model, replace(start, learned=True))
    assert not equal(before, model)


def test_the_noise_follows_the_seed(world):
    noisy = [go(world, ShrinkPerturb(keep=1.0, noise=0.01), seed=seed).model for seed in (0, 0, 1)]
    assert equal(noisy[0], noisy[1]) and not equal(noisy[0], noisy[2])


# --- heads ------------------------------------------------------------------------------------------------------------
def test_the_head_goes_back_to_its_own_initial_copy_and_nothing_else_moves():
    model, initial = small(0), state_of(small(1))
    before, memory = state_of(model), places(model)
    HeadReset().prepare(model, start_of(initial=initial, head="4"))
    for name, value in model.state_dict().items():
        assert torch.equal(value, (initial if name.startswith("4.") else before)[name]), name
    assert memory == places(model)
    with torch.no_grad():
        model[4].weight.zero_()
    assert initial["4.weight"].abs().sum() > 0, "no memory is shared with the initial copy"


def test_in_fine_tuning_the_head_is_fresh_already(world):
    assert equal(fit(TRANSFER, world).model, fit(TRANSFER, world, intervention=HeadReset()).model)


@pytest.mark.parametrize("before", [[], ["10N"]], ids=["alone", "after a reset of weights"])
def test_a_frozen_head_keeps_its_initial_weights_through_both_phases(world, before):
    method = Combined([*(build(case) for case in before), FrozenHead()])
    fitted = go(world, method, weight_decay=0.5)
    fresh = networks.build("mini_simplenet", 3, train.generator(0, "model").initial_seed())
    assert torch.equal(fitted.model.classifier.weight, fresh.classifier.weight)
    assert torch.equal(fitted.model.classifier.bias, fresh.classifier.bias)
    assert not torch.equal(fitted.model.features[0].weight, fresh.features[0].weight), "the rest is trained"


def test_only_the_head_is_trained_and_no_buffer_moves(world):
    fitted = go(world, HeadOnly(), weight_decay=0.5)
    fresh = networks.build("mini_simplenet", 3, train.generator(0, "model").initial_seed()).state_dict()
    moved = {name for name, value in fitted.model.state_dict().items() if not torch.equal(value, fresh[name])}
    assert moved == {"classifier.weight", "classifier.bias"}


def test_a_probed_network_and_its_copies_normalise_as_in_evaluation():
    model = small()
    with torch.no_grad():
        model[1].running_mean += 1
    images = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    model.eval()
    expected = model(images)
    model.train()
    HeadOnly().prepare(model, start_of(head="4"))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin[1].running_mean += 5  # a copy that answers for itself
    for network in (model, twin):
        network.train()
        assert network.training and not network[1].training and network[0].training
    assert torch.equal(model(images), expected) and not torch.allclose(twin(images), expected)
    assert torch.allclose(model(images[:1]), expected[:1]) and model[1].num_batches_tracked == 0
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["4.weight", "4.bias"]


def test_another_head_differs_in_the_head_alone_and_repeats(world):
    cases = ("base", "other_head", "other_head(draw=1)", "other_head(draw=2)", "10M + other_head")
    built = {case: train.build(TRANSFER, world, build(case), world / "mini_simplenet.pt") for case in cases}
    states = {case: state_of(model) for case, (model, *_) in built.items()}
    heads = [[state.pop(f"classifier.{kind}") for state in states.values()] for kind in ("weight", "bias")]
    assert all(equal(state, states["base"]) for state in states.values()), "bit for bit"
    for base, one, again, two, combined in heads:
        assert torch.equal(one, again) and torch.equal(one, combined)
        assert not torch.equal(base, one) and not torch.equal(one, two) and not torch.equal(base, two)
        assert all((head.abs() <= 96**-0.5).all() for head in (one, two)), "the same initialiser, up to 1/sqrt(n)"
    initial = built["other_head"][1]
    assert torch.equal(initial["classifier.weight"], heads[0][1]), "what frozen_head, head_reset and l2_init go back to"


def test_another_head_moves_no_other_stream(world):
    seen = {}

    class Spy(Intervention):
        def __init__(self, inner):
            self.inner, self.head_draw, self.images = inner, inner.head_draw, []

        def prepare(self, model, start):
            self.split = start.images(100)
            self.state = start.generator.get_state()
            return self.inner.prepare(model, start)

        def penalty(self, model, logits, images):
            self.images.append(images.clone())

    for case in ("base", "base + other_head"):
        seen[case] = Spy(build(case))
        fit(TRANSFER, world, intervention=seen[case])
    one, other = seen.values()
    assert torch.equal(one.split, other.split) and torch.equal(one.state, other.state)
    assert len(one.images) == len(other.images) > 2
    assert all(map(torch.equal, one.images, other.images)), "order and augmentation"


def test_another_head_goes_with_probing_and_a_frozen_head(world):
    fitted = fit(TRANSFER, world, intervention=build("other_head + frozen_head"))
    begun = train.build(TRANSFER, world, OtherHead(), world / "mini_simplenet.pt")[0]
    assert torch.equal(fitted.model.classifier.weight, begun.classifier.weight)
    assert canonical("head_only + other_head(draw=3)") == "head_only + other_head(draw=3)"


# --- selective re-initialisation --------------------------------------------------------------------------------------
def two_layers():
    model = nn.Sequential(nn.Linear(4, 2, bias=True), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.1, 5.0, 0.2, 6.0]]))
        model[0].bias.copy_(torch.tensor([0.001, 5.0]))  # biases do not compete
        model[1].weight.copy_(torch.tensor([[1.0, 2.0]]))
    return model


def watched(model, method, optimizer=None, **more):
    method.prepare(model, start_of(model, **({"optimizer": optimizer} | more)))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    return method


def test_a_weight_goes_if_its_utility_is_a_share_of_the_tensors_mean():
    model = two_layers()  # mean |w| of the first tensor: 21.3 / 8 = 2.66; a tenth: .266. Of the second: 1.5
    method = watched(model, SelectiveReinit(every=2, threshold=0.1, utility="magnitude", method="Z"))
    before = state_of(model)
    method.after_step(1)
    assert equal(before, model), "every second step"
    memory = places(model)
    method.after_step(2)
    assert model[0].weight.tolist() == [[1.0, 2.0, 3.0, 4.0], [0.0, 5.0, 0.0, 6.0]]
    assert model[1].weight.tolist() == [[1.0, 2.0]]
    assert torch.equal(model[0].bias, before["0.bias"]) and memory == places(model)


def test_gradient_utility_is_weight_times_the_steps_gradient():
    model = two_layers()
    method = watched(model, SelectiveReinit(every=1, threshold=0.1, method="Z"))
    model[0].weight.grad[0, 3] = 0.01  # |w g| = .04, although |w| is among the largest
    model[0].weight.grad[1, 0], model[0].weight.grad[1, 2] = 30.0, 15.0  # 3 and 3
    method.after_step(1)
    assert model[0].weight.detach()[0].tolist() == [1.0, 2.0, 3.0, 0.0] and (model[0].weight[1] != 0).all()


def test_resampled_weights_are_initial_ones_of_their_tensor_by_the_methods_own_generator():
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(100, 50))
        with torch.no_grad():
            model[0].weight.pow_(2)  # not what reset_parameters would give
        initial = state_of(model)
        with torch.no_grad():
            model[0].weight.fill_(7.0)[:, :80] = 0.0
        method = SelectiveReinit(every=1, threshold=0.5, utility="magnitude")
        watched(model, method, seed=seed, initial=initial).after_step(1)
        fresh = model[0].weight.detach()[:, :80]
        assert (model[0].weight[:, 80:] == 7).all()
        assert torch.isin(fresh, initial["0.weight"]).all() and 2000 < len(fresh.unique()) < 4000
        results.append(fresh)
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_a_fraction_is_rounded_at_random_to_the_right_mean():
    counts = []
    for seed in range(60):
        model = nn.Sequential(nn.Linear(5, 3))  # 15 x .1 = 1.5
        watched(model, SelectiveReinit(every=1, fraction=0.1, utility="magnitude", method="Z"), seed=seed).after_step(1)
        counts.append(int((model[0].weight == 0).sum()))
    assert set(counts) == {1, 2} and 15 < counts.count(1) < 45


def test_moments_of_reset_weights_are_cleared_and_all_others_stay():
    model = two_layers()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    method = watched(model, SelectiveReinit(every=1, utility="magnitude", method="Z"), optimizer)
    optimizer.step()
    method.after_step(1)
    weight, bias, other = (optimizer.state[p] for p in (model[0].weight, model[0].bias, model[1].weight))
    for name in ("exp_avg", "exp_avg_sq"):
        assert (weight[name] == 0).tolist() == [[False] * 4, [True, False, True, False]]
        assert (other[name] != 0).all() and (bias[name] != 0).all()
    assert weight["step"] == 1


def test_nothing_to_reset_and_diverged_weights_do_not_stop_the_training():
    model = two_layers()
    before = state_of(model)
    watched(model, SelectiveReinit(every=1, threshold=0.0, utility="magnitude")).after_step(1)
    watched(model, SelectiveReinit(every=1, fraction=1e-9, utility="magnitude")).after_step(1)
    assert equal(before, model)
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    watched(model, SelectiveReinit(every=1)).after_step(1)


@pytest.mark.parametrize("method", ["R", "RM", "Z"])
def test_class_token_and_position_embedding_are_reset_like_all_others(method):
    model = networks.build("mini_vit", 3, seed=0)
    initial = state_of(model)
    with torch.no_grad():
        model.class_token.normal_()  # zeros at first
    watched(model, SelectiveReinit(1, 0.5, utility="magnitude", method=method), initial=initial).after_step(1)
    for name in ("encoder.pos_embedding", "encoder.layers.encoder_layer_0.self_attention.in_proj_weight"):
        changed = model.state_dict()[name][model.state_dict()[name] != initial[name]]
        assert len(changed) and torch.isin(changed, initial[name]).all() == (method == "R")
        assert (changed == 0).all() == (method != "R")
    assert 0 < (model.class_token == 0).sum() < 64


def test_a_network_without_weights_is_refused_and_so_is_an_initial_state_of_another():
    with pytest.raises(ValueError, match="two or more dimensions: LayerNorm has none"):
        SelectiveReinit().prepare(model := nn.LayerNorm(3), start_of(model))
    with pytest.raises(ValueError, match=r"method 'R': initial must .*\(2, 4\) for '0.weight', has none: give"):
        SelectiveReinit().prepare(two_layers(), start_of())
    SelectiveReinit(method="Z").prepare(two_layers(), start_of())


def test_it_sees_the_gradient_of_the_step_just_done_in_fit(world):
    class Probe(SelectiveReinit):
        seen = ()

        def after_step(self, step):
            gradients = [p.grad for p in self.model.parameters() if p.ndim > 1]
            self.seen = (*self.seen, all(g is not None and g.any() for g in gradients))
            super().after_step(step)

    go(world, probe := Probe(every=1, threshold=0.01))
    assert len(probe.seen) == 2 * 3 + 2 * 6 and all(probe.seen)
