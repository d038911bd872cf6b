"""Resets of whole networks, heads and weights: worked out by hand, in place, and nothing besides."""

import copy

import pytest
import torch
from test_checkpoints import Interrupted, Interrupting, same
from torch import nn

from plasticity import Run, train
from plasticity.interventions import Intervention, Start
from plasticity.methods import registry as methods
from plasticity.methods.combined import Combined
from plasticity.methods.resets import (
    Augmentation,
    FrozenHead,
    HeadOnly,
    HeadReset,
    OtherHead,
    ShrinkPerturb,
    own_generator,
)
from plasticity.methods.selective import SelectiveReinit
from plasticity.networks import table as models
from plasticity.running.checkpoints import Checkpoint

PHASES = {
    "weights": "none",
    "scenario": "warm_start(subset=0.5, noise=0.2)",
    "patience": 0,
    "validation": 0.0,
    "max_epochs": 1,
    "batch_size": 8,
    "augment": "flip",
    "optimizer": "adamw",
    "lr": 1e-3,
}


def run_of(**fields):
    return Run("mini_simplenet", "photos", **PHASES | fields)


def go(world, method=None, run=None, checkpoint=None):
    return train.fit(run or run_of(), world, "cpu", intervention=method or Intervention(), checkpoint=checkpoint)


def resumes(world, folder, method, run=None):
    """That a run which was interrupted in its first and in its second phase ends as one that was not; gives the latter."""
    run = run or run_of(max_epochs=2)
    whole = go(world, method(), run)
    assert [row["phase"] for row in whole.history] == [1, 1, 1, 1, 2, 2]
    for epoch in (2, 4, 5):
        with pytest.raises(Interrupted), Interrupting(folder, epoch) as checkpoint:
            go(world, method(), run, checkpoint)
        with Checkpoint(folder) as checkpoint:
            again = go(world, method(), run, checkpoint)
        assert again.resumed == [epoch] and same(whole, again)
        Checkpoint(folder).remove()
    return whole


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


def start_of(initial=None, optimizer=None, seed=1, **more):
    fields = {
        "generator": torch.Generator().manual_seed(seed),
        "optimizer": optimizer,
        "gradients": dict,
        "head": "4",
        "initial": initial or {},
    }
    return Start(**fields | more)


# --- shrink and perturb -----------------------------------------------------------------------------------------------
def test_shrink_is_the_weighted_mean_of_present_and_initial_weights_and_leaves_buffers():
    model, initial = small(0), state_of(small(1))
    model[1].running_mean += 3
    before, places = state_of(model), [p.data_ptr() for p in model.parameters()]
    untouched = {name: value.clone() for name, value in initial.items()}
    ShrinkPerturb(keep=0.2).prepare(model, start_of(initial=initial))
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter, 0.2 * before[name] + 0.8 * initial[name], atol=1e-7), name
    assert not torch.equal(model[0].weight, before["0.weight"])
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert places == [p.data_ptr() for p in model.parameters()], "in place"
    assert equal(initial, untouched)


def test_shrink_of_three_numbers():
    model = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 10.0]]))
    ShrinkPerturb(keep=0.25).prepare(model, start_of(initial={"weight": torch.tensor([[5.0, 2.0, -2.0]])}))
    assert model.weight.tolist() == [[4.0, 1.0, 1.0]]


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


def test_tied_parameters_shrink_once():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    before = model[0].weight.detach().clone()
    initial = {name: torch.zeros(2, 2) for name in model.state_dict()}
    ShrinkPerturb(keep=0.5).prepare(model, start_of(initial=initial))
    assert torch.equal(model[0].weight, before / 2) and model[1].weight is model[0].weight


@pytest.mark.parametrize("method", [ShrinkPerturb(), HeadReset()])
def test_nothing_is_reset_where_nothing_was_learned(method):
    model = small()
    before = state_of(model)
    assert method.prepare(model, start_of(initial=state_of(small(1)), learned=False)) == []
    assert equal(before, model.state_dict())
    method.prepare(model, start_of(initial=state_of(small(1))))
    assert not equal(before, model.state_dict())


def test_keeping_everything_is_the_base_run_bit_for_bit(world):
    base = go(world)
    assert equal(base.model.state_dict(), go(world, ShrinkPerturb(keep=1.0)).model.state_dict())
    assert not equal(base.model.state_dict(), go(world, ShrinkPerturb(keep=0.9)).model.state_dict())
    noisy = [go(world, ShrinkPerturb(keep=1.0, noise=0.01), run_of(seed=seed)).model.state_dict() for seed in (0, 0, 1)]
    assert equal(noisy[0], noisy[1]) and not equal(noisy[0], noisy[2])


@pytest.mark.parametrize("fields", [{"keep": 1.1}, {"keep": -0.1}, {"noise": -1.0}])
def test_shares_out_of_range(fields):
    with pytest.raises(ValueError, match="keep|noise"):
        ShrinkPerturb(**fields)


# --- heads ------------------------------------------------------------------------------------------------------------
def test_the_head_goes_back_to_its_own_initial_copy_and_nothing_else_moves():
    model, initial = small(0), state_of(small(1))
    before, places = state_of(model), [p.data_ptr() for p in model.parameters()]
    HeadReset().prepare(model, start_of(initial=initial))
    for name, value in model.state_dict().items():
        assert torch.equal(value, (initial if name.startswith("4.") else before)[name]), name
    assert places == [p.data_ptr() for p in model.parameters()]
    with torch.no_grad():
        model[4].weight.zero_()
    assert initial["4.weight"].abs().sum() > 0, "no memory is shared with the initial copy"


def test_in_fine_tuning_the_head_is_fresh_already(world):
    run = Run("mini_simplenet", "photos", batch_size=8, max_epochs=1, patience=0, augment="flip", weights="source")
    fitted = [
        train.fit(run, world, "cpu", weights=world / "mini_simplenet.pt", intervention=m)
        for m in (Intervention(), HeadReset())
    ]
    assert equal(fitted[0].model.state_dict(), fitted[1].model.state_dict())
    assert not equal(go(world).model.state_dict(), go(world, HeadReset()).model.state_dict()), (
        "but it acts between phases"
    )


@pytest.mark.parametrize("before", [[], ["10N"]], ids=["alone", "after a reset of weights"])
def test_a_frozen_head_keeps_its_initial_weights_through_both_phases(world, before):
    method = Combined([*(methods.build(case) for case in before), FrozenHead()])
    fitted = go(world, method, run_of(weight_decay=0.5))
    fresh = models.build("mini_simplenet", 3, train.generator(0, "model").initial_seed())
    assert torch.equal(fitted.model.classifier.weight, fresh.classifier.weight)
    assert torch.equal(fitted.model.classifier.bias, fresh.classifier.bias)
    assert not torch.equal(fitted.model.features[0].weight, fresh.features[0].weight), "the rest is trained"


def test_only_the_head_is_trained_and_no_buffer_moves(world):
    fitted = go(world, HeadOnly(), run_of(weight_decay=0.5, optimizer="sgd", momentum=0.9))
    fresh = models.build("mini_simplenet", 3, train.generator(0, "model").initial_seed()).state_dict()
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
    HeadOnly().prepare(model, start_of())
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin[1].running_mean += 5  # a copy that answers for itself
    for network in (model, twin):
        network.train()
        assert network.training and not network[1].training and network[0].training
    assert torch.equal(model(images), expected) and not torch.allclose(twin(images), expected)
    assert torch.allclose(model(images[:1]), expected[:1]) and model[1].num_batches_tracked == 0
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["4.weight", "4.bias"]


TRANSFER = {"weights": "source", "scenario": "transfer", "patience": 0, "validation": 0.2}


def test_another_head_differs_in_the_head_alone_and_repeats(world):
    run = run_of(**TRANSFER)
    built = {
        case: train.build(run, world, methods.build(case), world / "mini_simplenet.pt")
        for case in ("base", "other_head", "other_head(draw=1)", "other_head(draw=2)", "10M + other_head")
    }
    states = {case: state_of(model) for case, (model, *_) in built.items()}
    heads = (
        [states[case].pop("classifier.weight") for case in states],
        [state.pop("classifier.bias") for state in states.values()],
    )
    assert all(equal(state, states["base"]) for state in states.values()), "bit for bit"
    for base, one, again, two, combined in heads:
        assert torch.equal(one, again) and torch.equal(one, combined)
        assert not torch.equal(base, one) and not torch.equal(one, two) and not torch.equal(base, two)
        assert all((head.abs() <= 96**-0.5).all() for head in (one, two)), (
            "the same initialiser: U(-1/sqrt(n), 1/sqrt(n))"
        )
    initial = built["other_head"][1]
    assert torch.equal(initial["classifier.weight"], heads[0][1]), "what frozen_head, head_reset and l2_init go back to"


def test_another_head_moves_no_other_stream(world):
    run, seen = run_of(**TRANSFER, case="base + other_head"), {}

    class Spy(Intervention):
        def __init__(self, inner):
            self.inner, self.head_draw, self.images = inner, inner.head_draw, []

        def prepare(self, model, start):
            self.split = start.images(100)
            self.state = start.generator.get_state()
            return self.inner.prepare(model, start)

        def penalty(self, model, logits, images):
            self.images.append(images.clone())

    for case in ("base", run.case):
        seen[case] = Spy(methods.build(case))
        train.fit(run, world, "cpu", weights=world / "mini_simplenet.pt", intervention=seen[case])
    one, other = seen.values()
    assert torch.equal(one.split, other.split) and torch.equal(one.state, other.state)
    assert len(one.images) == len(other.images) > 2 and all(map(torch.equal, one.images, other.images)), (
        "order and augmentation"
    )


def test_another_head_goes_with_probing_and_a_frozen_head(world):
    run = run_of(**TRANSFER)
    fitted = train.fit(
        run, world, "cpu", weights=world / "mini_simplenet.pt", intervention=methods.build("other_head + frozen_head")
    )
    begun = train.build(run, world, OtherHead(), world / "mini_simplenet.pt")[0]
    assert torch.equal(fitted.model.classifier.weight, begun.classifier.weight)
    assert methods.canonical("head_only + other_head(draw=3)") == "head_only + other_head(draw=3)"
    with pytest.raises(ValueError, match="OtherHead: draw=0 is outside its range"):
        OtherHead(0)


def test_what_contradicts_each_other_says_so():
    assert HeadReset.excludes == ("frozen_head",)
    assert FrozenHead.excludes == ("head_reset", "head_only") and HeadOnly.excludes == ("frozen_head", "scratch")


# --- selective re-initialisation --------------------------------------------------------------------------------------
def two_layers():
    model = nn.Sequential(nn.Linear(4, 2, bias=True), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.1, 5.0, 0.2, 6.0]]))
        model[0].bias.copy_(torch.tensor([0.001, 5.0]))  # biases do not compete
        model[1].weight.copy_(torch.tensor([[1.0, 2.0]]))
    return model


def watched(model, method, optimizer=None, **more):
    method.prepare(model, start_of(optimizer=optimizer, **more))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    return method


def test_a_weight_goes_if_its_utility_is_a_share_of_the_tensors_mean():
    model = two_layers()  # mean |w| of the first tensor: 21.3 / 8 = 2.66; a tenth: .266. Of the second: 1.5
    method = watched(model, SelectiveReinit(every=2, threshold=0.1, utility="magnitude", method="Z"))
    before = state_of(model)
    method.after_step(1)
    assert equal(before, model.state_dict()), "every second step"
    places = [p.data_ptr() for p in model.parameters()]
    method.after_step(2)
    assert model[0].weight.tolist() == [[1.0, 2.0, 3.0, 4.0], [0.0, 5.0, 0.0, 6.0]]
    assert model[1].weight.tolist() == [[1.0, 2.0]]
    assert torch.equal(model[0].bias, before["0.bias"]) and places == [p.data_ptr() for p in model.parameters()]


def test_gradient_utility_is_weight_times_the_steps_gradient():
    model = two_layers()
    method = watched(model, SelectiveReinit(every=1, threshold=0.1, method="Z"))
    model[0].weight.grad[0, 3] = 0.01  # |w g| = .04, although |w| is among the largest
    model[0].weight.grad[1, 0], model[0].weight.grad[1, 2] = 30.0, 15.0  # 3 and 3
    method.after_step(1)
    assert model[0].weight.detach()[0].tolist() == [1.0, 2.0, 3.0, 0.0] and (model[0].weight[1] != 0).all()


def test_resampled_weights_come_from_the_layers_initialiser_and_the_methods_own_generator():
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(100, 50))
        with torch.no_grad():
            model[0].weight.fill_(7.0)[:, :80] = 0.0
        watched(model, SelectiveReinit(every=1, threshold=0.5, utility="magnitude"), seed=seed).after_step(1)
        fresh = model[0].weight.detach()[:, :80]
        assert (model[0].weight[:, 80:] == 7).all() and (fresh.abs() <= 0.1).all() and fresh.std() > 0.05, (
            "uniform on +-1/sqrt(100)"
        )
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
    for name in ("exp_avg", "exp_avg_sq"):
        assert (
            (optimizer.state[model[0].weight][name] == 0) == torch.tensor([[0, 0, 0, 0], [1, 0, 1, 0]]).bool()
        ).all()
        assert (optimizer.state[model[1].weight][name] != 0).all() and (optimizer.state[model[0].bias][name] != 0).all()
    assert optimizer.state[model[0].weight]["step"] == 1


def test_nothing_to_reset_and_diverged_weights_do_not_stop_the_training():
    model = two_layers()
    before = state_of(model)
    watched(model, SelectiveReinit(every=1, threshold=0.0, utility="magnitude")).after_step(1)
    watched(model, SelectiveReinit(every=1, fraction=1e-9, utility="magnitude")).after_step(1)
    assert equal(before, model.state_dict())
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    watched(model, SelectiveReinit(every=1)).after_step(1)


def test_class_token_and_position_embedding_stay_under_resampling_and_go_under_zeroing():
    for method, stays in (("R", True), ("Z", False)):
        model = models.build("mini_vit", 3, seed=0)
        with torch.no_grad():
            model.class_token.normal_()
        before = state_of(model)
        watched(model, SelectiveReinit(every=1, utility="magnitude", method=method)).after_step(1)
        assert torch.equal(before["encoder.pos_embedding"], model.encoder.pos_embedding) is stays
        attention = "encoder.layers.encoder_layer_0.self_attention.in_proj_weight"
        assert not torch.equal(before[attention], model.state_dict()[attention])


def test_frozen_parameters_stay():
    model = two_layers()
    model[0].weight.requires_grad_(False)
    before = state_of(model)
    method = watched(model, SelectiveReinit(every=1, threshold=10.0))
    model[0].weight.grad = None
    method.after_step(1)
    assert torch.equal(model[0].weight, before["0.weight"]) and not torch.equal(model[1].weight, before["1.weight"])


def test_a_network_that_nothing_initialises_is_refused():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.ones(3, 3))

    with pytest.raises(ValueError, match="reset_parameters.*Bare has none"):
        SelectiveReinit().prepare(Bare(), start_of())
    SelectiveReinit(method="Z").prepare(Bare(), start_of())


@pytest.mark.parametrize(
    "fields", [{"every": 0}, {"fraction": 1.5}, {"threshold": -0.1}, {"utility": "age"}, {"method": "X"}]
)
def test_parameters_of_selective_reinit_out_of_range(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        SelectiveReinit(**fields)


def test_selective_reinit_of_nothing_is_the_base_run_and_of_something_resumes(world, tmp_path):
    base = go(world)
    nothing = go(world, SelectiveReinit(every=1, threshold=0.0, utility="magnitude"))
    assert equal(base.model.state_dict(), nothing.model.state_dict())
    whole = resumes(world, tmp_path / "state", lambda: SelectiveReinit(every=2, threshold=0.2))
    assert not equal(go(world, run=whole.run).model.state_dict(), whole.model.state_dict())


def test_it_sees_the_gradient_of_the_step_just_done_in_fit(world):
    class Probe(SelectiveReinit):
        seen = ()

        def after_step(self, step):
            self.seen = (
                *self.seen,
                all(p.grad is not None and p.grad.abs().sum() > 0 for p in self.model.parameters() if p.ndim > 1),
            )
            super().after_step(step)

    go(world, probe := Probe(every=1, threshold=0.01))
    assert len(probe.seen) == 2 * 3 + 6 and all(probe.seen)


def test_own_generators_follow_the_phases_stream():
    states = [own_generator(start_of(seed=seed)).get_state() for seed in (1, 1, 2)]
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_augmentation_is_crop_and_flip_whatever_the_order():
    for parts in ([Augmentation(), Intervention()], [Intervention(), Augmentation()]):
        assert Combined(parts).augmentation == "crop_flip"
