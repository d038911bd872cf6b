"""Re-initialisation against examples worked by hand, a slow and obvious reference, and the bugs such code has had."""

import copy
import math
from fractions import Fraction

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from plasticity import Case, reinitialize
from plasticity.networks import table as models
from plasticity.reinit import METHODS, NothingToReset

torch.set_num_threads(1)
FAST = settings(max_examples=60, deadline=None)


class Bag(nn.Module):
    """A module whose parameters are the given tensors."""

    def __init__(self, **tensors):
        super().__init__()
        for name, values in tensors.items():
            self.register_parameter(name, nn.Parameter(torch.as_tensor(values)))


def bag(values, **others):
    """One weight ``w``, a row of floats, and perhaps other tensors."""
    return Bag(w=torch.tensor([values]), **{name: torch.tensor(v) for name, v in others.items()})


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def bits(tensor):
    """The bytes of a tensor's values in logical order: 0.0 and -0.0 differ, NaN equals itself."""
    return tensor.detach().contiguous().view(torch.uint8 if tensor.ndim else tensor.dtype).numpy().tobytes()


def same_bits(one, other):
    return one.keys() == other.keys() and all(bits(one[n]) == bits(other[n]) for n in one)


def smallest(utilities, fraction):
    """The obvious reference: positions of the floor(fraction x n) smallest, sorted by (utility, position)."""
    count = math.floor(Fraction(str(fraction)) * len(utilities))
    return set(sorted(range(len(utilities)), key=lambda i: (utilities[i], i))[:count])


def changed(before, after):
    """Positions at which the bits of two tensors of a dtype differ."""
    size = before.element_size()
    one, other = bits(before), bits(after)
    return {i for i in range(before.numel()) if one[i * size : (i + 1) * size] != other[i * size : (i + 1) * size]}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


# --- by hand ----------------------------------------------------------------------------------------------------------
ROW = [4.0, -1.0, 2.0, -0.5, 8.0, 0.25, -6.0, 1.25, 3.0, 5.0]  # sum 16: mean 1.6; the two smallest: positions 5 and 3
BOTH = {"w": [1, 2, 3, 6], "bias": [0.5, -3, 0.25, 2]}
KEPT, SMALLEST, ZERO = {}, {"bias": [0.5, -3, 0, 2]}, {"bias": [0, 0, 0, 0]}
FIRST = {"w": [3, 2, 3, 6]}
PAIR = {"a": [1, 3], "b": [10, 30]}
NORMS = {"w": [1, 2, 3, 6], "gain": [3, 0.5, 2, 1.5], "other_gain": [9, 9, 9, 1]}


def zeroed(*positions):
    return {"w": [0 if i in positions else value for i, value in enumerate(ROW)]}


@pytest.mark.parametrize(
    "tensors, case, options, changes",
    [
        ({"w": ROW}, "20M", {}, {"w": [4, -1, 2, 1.6, 8, 1.6, -6, 1.25, 3, 5]}),
        ({"w": ROW}, "20Z", {}, zeroed(3, 5)),
        ({"w": [-1, -2, -3, -10]}, "50M", {}, {"w": [-4, -4, -3, -10]}),  # the mean is signed
        (PAIR, "50M", {}, {"a": [2, 3], "b": [20, 30]}),  # and each tensor's own
        ({"w": [1, -1, 1, 0.5, -1, 2, -1, 1]}, "50Z", {}, {"w": [0, 0, 0, 0, -1, 2, -1, 1]}),  # ties by position
        (BOTH, "25M", {"reading": "code"}, FIRST | SMALLEST),
        (BOTH, "25M", {"reading": "text"}, FIRST | ZERO),
        (BOTH, "25M", {"reading": "code", "biases": "zero"}, FIRST | ZERO),
        (BOTH, "25M", {"reading": "text", "biases": "smallest"}, FIRST | SMALLEST),
        (BOTH, "25M", {"reading": "code", "biases": "keep"}, FIRST),
        (BOTH, "25M", {"reading": "text", "biases": "keep"}, FIRST),
        (BOTH, "base", {"reading": "code"}, KEPT),
        (BOTH, "base", {"reading": "text"}, ZERO),
        (BOTH, "biases", {"reading": "code"}, SMALLEST),
        (BOTH, "biases", {"reading": "text"}, ZERO),
        ({"w": ROW}, "Z", {"threshold": 1.0}, zeroed(1, 3, 5)),  # the bound itself goes
        ({"w": ROW}, "Z", {"threshold": 0.99}, zeroed(3, 5)),
        ({"w": ROW}, "Z", {"threshold": 0.5, "relative": True}, zeroed(1, 3, 5, 7)),  # the mean size is 3.1
        ({"w": ROW}, "Z", {"threshold": 0.4, "relative": True}, zeroed(1, 3, 5)),  # so the bound is 1.24
        ({"w": ROW}, "Z", {"threshold": 100}, zeroed(*range(10))),
        (PAIR, "Z", {"threshold": 0.6, "relative": True}, {"a": [0, 3], "b": [0, 30]}),
        (PAIR, "Z", {"threshold": 0.6, "relative": True, "scope": "global"}, {"a": [0, 0]}),  # the bound is 6.6
        (BOTH | {"a_bias": [0.01, 0.02]}, "50Z", {"scope": "global"}, {"w": [0, 0, 3, 6], "a_bias": [0, 0]} | SMALLEST),
        (NORMS, "25M", {}, {"w": [3, 2, 3, 6]}),
        (NORMS, "25M", {"include": ["gain"]}, {"w": [3, 2, 3, 6], "gain": [3, 1.75, 2, 1.5]}),
        (NORMS, "25M", {"include": "other_gain"}, {"w": [3, 2, 3, 6], "other_gain": [9, 9, 9, 7]}),
        (NORMS, "25Z", {"include": "gain", "scope": "global"}, {"w": [0, 2, 3, 6], "gain": [3, 0, 2, 1.5]}),
        (NORMS, "25M", {"include": ["gain", "other_gain"], "exclude": ["gain"]}, {**FIRST, "other_gain": [9, 9, 9, 7]}),
    ],
)
def test_by_hand(tensors, case, options, changes):
    shaped = {name: values if "bias" in name or "gain" in name else [values] for name, values in tensors.items()}
    model = Bag(**{name: torch.tensor(values, dtype=torch.float32) for name, values in shaped.items()})
    before = snapshot(model)
    report = reinitialize(model, case, **options)
    for name, value in model.named_parameters():
        assert value.flatten().tolist() == pytest.approx((tensors | changes)[name], rel=1e-6), name
    counts = {name: len(changed(before[name], value)) for name, value in model.named_parameters()}
    assert {t.name: t.reset for t in report.tensors if t.reset} == {n: count for n, count in counts.items() if count}
    assert all(t.kind == ("bias" if "bias" in t.name else "weight") for t in report.tensors)
    assert report.case == case and report.reset == sum(counts.values())


def test_a_report_is_printed():
    report = reinitialize(bag(ROW), "20M")
    assert [(t.name, t.kind, t.size, t.reset) for t in report.tensors] == [("w", "weight", 10, 2)]
    assert str(report) == f"{'w':40s} weight          2 of         10\n20M: 2 entries in 1 tensors"


@pytest.mark.parametrize(
    "method, reading, expected",
    [
        ("MN", "code", lambda draw: 1.6 * (1 + draw(1).expand(3) / 10)),  # one draw per tensor
        ("MN", "text", lambda draw: 1.6 * (1 + draw(3) / 10)),  # one draw per weight
        ("NS", "code", lambda draw: 0.2 * draw(3)),
        ("N", "code", lambda draw: draw(3)),
    ],
)
def test_random_values_come_from_the_generator(method, reading, expected):
    model = bag(ROW)
    reinitialize(model, f"30{method}", reading=reading, generator=seeded(3))
    drawn = expected(lambda count: torch.randn(count, generator=seeded(3)))
    assert model.w[0, [1, 3, 5]].tolist() == pytest.approx(drawn.tolist(), rel=1e-6)


@pytest.mark.parametrize("method, deviation", [("NS", 0.2), ("N", 1.0)])
def test_ns_and_n_have_the_standard_deviation_they_name(method, deviation):
    model = Bag(w=noise(100, 100))
    reinitialize(model, f"100{method}", generator=seeded(1))
    assert model.w.mean().item() == pytest.approx(0, abs=4 * deviation / 100)
    assert model.w.std().item() == pytest.approx(deviation, rel=0.03)


def test_mn_noise_is_a_tenth_of_the_mean():
    model = Bag(w=noise(100, 100) + 5)
    mean = model.w.mean().item()
    reinitialize(model, "100MN", reading="text", generator=seeded(1))
    assert model.w.mean().item() == pytest.approx(mean, rel=0.005)
    assert model.w.std().item() == pytest.approx(mean / 10, rel=0.03)


def test_norm_shifts_are_biases_and_norm_gains_stay():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    nn.init.uniform_(model[1].weight, 0.1, 1)
    nn.init.uniform_(model[1].bias, 0.1, 1)
    before = snapshot(model)
    report = reinitialize(model, "25N", generator=seeded())
    assert {t.name: t.reset for t in report.tensors} == {"0.weight": 54, "0.bias": 2, "1.bias": 2}
    assert bits(model[1].weight) == bits(before["1.weight"])
    assert int((model[1].bias == 0).sum()) == 2


# --- properties against the reference ---------------------------------------------------------------------------------
number = st.one_of(st.sampled_from([0.0, -0.0, 0.5, -0.5, 1.0]), st.floats(-4, 4, width=32))
values = st.lists(number, min_size=2, max_size=40)
percentages = st.integers(1, 100)


@FAST
@given(values, percentages, st.sampled_from(["N", "Z", "M"]))
def test_exactly_the_smallest_change_and_all_others_keep_their_bits(row, percentage, method):
    model = Bag(w=torch.tensor([row]))
    before = model.w.detach().clone()
    expected = smallest([abs(v) for v in row], f"{percentage / 100:g}")
    if not expected:
        with pytest.raises(ValueError, match="resets nothing"):
            reinitialize(model, f"{percentage}{method}")
        assert bits(model.w) == bits(before)
        return
    report = reinitialize(model, f"{percentage}{method}", generator=seeded())
    assert report.reset == len(expected)
    touched = changed(before, model.w)
    assert touched <= expected
    if method == "N":  # a draw from N(0, 1) never equals an old value here, so the sets agree
        assert touched == expected


@FAST
@given(values, values, percentages)
def test_global_scope_is_one_long_tensor(first, second, percentage):
    model = Bag(a=torch.tensor([first]), b=torch.tensor([second]))
    expected = smallest([abs(v) for v in first + second], f"{percentage / 100:g}")
    before = snapshot(model)
    if not expected:
        with pytest.raises(ValueError, match="resets nothing"):
            reinitialize(model, f"{percentage}N", scope="global")
        return
    report = reinitialize(model, f"{percentage}N", scope="global", generator=seeded())
    touched = changed(before["a"], model.a) | {len(first) + i for i in changed(before["b"], model.b)}
    assert touched == expected
    in_first = sum(i < len(first) for i in expected)
    assert [t.reset for t in report.tensors] == [in_first, len(expected) - in_first]


@FAST
@given(values, st.data())
def test_gradient_utility_is_the_size_of_weight_times_gradient(row, data):
    slopes = data.draw(st.lists(st.floats(-4, 4, width=32), min_size=len(row), max_size=len(row)))
    model = Bag(w=torch.tensor([row]))
    before = model.w.detach().clone()
    gradients = {"w": torch.tensor([slopes])}
    utilities = (before * gradients["w"]).abs().flatten().tolist()
    reinitialize(model, "50N", utility="gradient", gradients=gradients, generator=seeded())
    assert changed(before, model.w) == smallest(utilities, 0.5)


def test_gradient_utility_in_half_precision_does_not_underflow():
    model = Bag(w=torch.tensor([[3e-4, 2e-4, 1e-4, 4e-4]], dtype=torch.float16))
    before = model.w.detach().clone()
    reinitialize(model, "25N", utility="gradient", gradients={"w": torch.full((1, 4), 1e-9)}, generator=seeded())
    assert changed(before, model.w) == {2}


@pytest.mark.parametrize(
    "percentage, size",
    [
        ("29", 100),
        ("57", 100),
        ("7", 100),
        ("0.3", 1000),
        ("2.5", 40),
        ("10", 19),
        ("58", 50),
        ("1.1", 1000),
        ("100", 7),
    ],
)
def test_the_floor_is_exact_for_decimal_fractions(percentage, size):
    model = Bag(w=noise(1, size))
    expected = math.floor(Fraction(percentage) * size / 100)
    assert reinitialize(model, f"{percentage}N").reset == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_floating_dtype(dtype):
    weight = noise(1, 400).to(dtype)
    model = Bag(w=weight.clone())
    reinitialize(model, "13N", generator=seeded())
    expected = smallest(weight.flatten().double().abs().tolist(), 0.13)
    assert model.w.dtype == dtype and changed(weight, model.w) == expected
    model = Bag(w=weight.clone())
    reinitialize(model, "13M")
    wide = weight.double().mean()
    assert torch.allclose(model.w[0, sorted(expected)].double(), wide, rtol=2 * torch.finfo(dtype).eps, atol=1e-7)


def test_the_mean_of_half_precision_weights_does_not_overflow():
    model = Bag(w=torch.full((300, 300), 60.0, dtype=torch.float16))  # their sum, 5.4 million, is beyond float16
    reinitialize(model, "10M")
    assert torch.equal(model.w, torch.full((300, 300), 60.0, dtype=torch.float16))


@pytest.mark.parametrize("method", ["M", "N", "MN"])
def test_memory_format_does_not_matter(method):
    before = noise(6, 5, 3, 3).round(decimals=1)  # rounded, so that ties by logical position count
    plain = Bag(w=before.clone())
    channels_last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    assert not channels_last.w.is_contiguous()
    for model in (plain, channels_last):
        reinitialize(model, "30" + method, reading="text", generator=seeded())
    assert torch.allclose(plain.w, channels_last.w, rtol=1e-6)
    assert changed(before, plain.w) == changed(before, channels_last.w)
    assert channels_last.w.is_contiguous(memory_format=torch.channels_last)


# --- bugs that such code has had in public ----------------------------------------------------------------------------
def test_bug_reset_is_in_place_and_not_in_a_copy():
    model = nn.Linear(10, 10)
    parameter, storage, before = model.weight, model.weight.data_ptr(), model.weight.detach().clone()
    reinitialize(model, "10N")
    assert model.weight is parameter and model.weight.data_ptr() == storage and parameter.requires_grad
    assert len(changed(before, parameter)) == 10


def test_bug_buffers_are_touched():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 8))
    model.register_buffer("table_bias", noise(4, 4))
    model(noise(4, 3, 3, 3))  # moves the running statistics
    before = {n: b.clone() for n, b in model.named_buffers()}
    reinitialize(model, "25N", reading="text")
    assert len(before) == 4 and same_bits(before, dict(model.named_buffers()))


def test_bug_tied_parameters_are_reset_twice():
    model = nn.ModuleDict({"a": nn.Linear(10, 10, bias=False), "b": nn.Linear(10, 10, bias=False)})
    model["b"].weight = model["a"].weight
    before = model["a"].weight.detach().clone()
    report = reinitialize(model, "10N", generator=seeded())
    assert [(t.name, t.reset) for t in report.tensors] == [("a.weight", 10)]
    assert changed(before, model["a"].weight) == smallest(before.abs().flatten().tolist(), 0.1)
    assert model["a"].weight is model["b"].weight


def test_a_tied_parameter_is_excluded_by_each_of_its_names():
    model = nn.ModuleDict({"a": nn.Linear(10, 10), "b": nn.Linear(10, 10)})
    model["b"].weight = model["a"].weight
    before = model["a"].weight.detach().clone()
    with pytest.raises(NothingToReset, match="resets nothing"):
        reinitialize(model, "10N", exclude=["b"])
    assert bits(before) == bits(model["a"].weight)


def test_bug_the_seed_has_no_effect():
    def result(seed):
        model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 5))
        model.load_state_dict(start)
        reinitialize(model, "10N", generator=seeded(seed))
        return snapshot(model)

    start = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 5)).state_dict()
    assert same_bits(result(1), result(1)) and not same_bits(result(1), result(2))


@pytest.mark.parametrize("method", METHODS)
def test_bug_global_seeds_are_read_or_moved(method):
    start = nn.Linear(30, 30).state_dict()
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = nn.Linear(30, 30)
        model.load_state_dict(start)
        state = torch.random.get_rng_state()
        reinitialize(model, f"10{method}", reading="text", rounding="bernoulli", generator=seeded(7))
        reinitialize(model, f"10{method}")
        assert torch.equal(state, torch.random.get_rng_state())
        model.load_state_dict(start)
        reinitialize(model, f"10{method}", reading="text", rounding="bernoulli", generator=seeded(7))
        results.append(snapshot(model))
    assert same_bits(*results)


def test_initialisers_leave_the_streams_of_other_devices_alone(monkeypatch):
    reseeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded.append)
    reinitialize(nn.Linear(10, 10), "10R")
    models.build("mini_vit", 3, seed=0)
    assert not reseeded


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
        lambda p: torch.optim.AdamW(p, 0.1, amsgrad=True),
        lambda p: torch.optim.AdamW(p, 0.1, fused=True),
    ],
)
def test_bug_stale_optimizer_moments(make):
    model = nn.Linear(10, 10)
    optimizer = make(model.parameters())
    model(noise(4, 10)).square().sum().backward()
    optimizer.step()
    before, weights = copy.deepcopy(optimizer.state_dict()["state"]), [p.detach().clone() for p in model.parameters()]
    reinitialize(model, "20N", optimizer=optimizer)
    for state, weight, after in zip(before.values(), weights, optimizer.state_dict()["state"].values(), strict=True):
        gone = torch.zeros(weight.numel(), dtype=torch.bool)
        gone[list(smallest(weight.abs().flatten().tolist(), 0.2))] = True
        gone = gone.view(weight.shape)
        moments = state.keys() - {"step"}
        assert moments and all(torch.equal(after[m], state[m].masked_fill(gone, 0)) for m in moments)
        assert all(state[m][gone].all() for m in moments), "there was something to clear"
        assert state.get("step") == after.get("step")


def test_the_step_count_of_a_scalar_bias_stays():
    model = Bag(w=noise(1, 10), bias=torch.tensor(2.0))
    optimizer = torch.optim.Adam(model.parameters())
    (model.w.sum() * model.bias).backward()
    optimizer.step()
    reinitialize(model, "10N", reading="text", optimizer=optimizer)
    state = optimizer.state[model.bias]
    assert model.bias == 0 and state["step"] == 1 and state["exp_avg"] == 0


def test_without_the_optimizer_its_moments_stay():
    model = nn.Linear(10, 10)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(noise(4, 10)).sum().backward()
    optimizer.step()
    before = optimizer.state[model.weight]["momentum_buffer"].clone()
    reinitialize(model, "20N")
    assert torch.equal(optimizer.state[model.weight]["momentum_buffer"], before)


def test_the_mean_is_summed_as_the_weights_lie_in_memory():
    """So did the recorded runs, which are trained in channels_last: another order changes the mean's last bit."""
    for seed in range(10):
        layer = nn.Conv2d(64, 64, 3, bias=False).to(memory_format=torch.channels_last)
        with torch.no_grad():
            layer.weight.copy_(noise(64, 64, 3, 3, seed=seed))
        mean = layer.weight.mean()
        assert reinitialize(layer, "10M").reset == (layer.weight == mean).sum()


# --- dry run, seed of the report, exclusion ---------------------------------------------------------------------------
@pytest.mark.parametrize("rounding", ["floor", "bernoulli"])
def test_a_dry_run_changes_nothing_and_reports_the_same(rounding):
    model = nn.Sequential(nn.Linear(13, 7), nn.BatchNorm1d(7), nn.Linear(7, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(noise(4, 13)).sum().backward()
    optimizer.step()
    before = snapshot(model), optimizer.state[model[0].weight]["momentum_buffer"].clone()
    arguments = {"rounding": rounding, "optimizer": optimizer}
    planned = reinitialize(model, "25N", dry_run=True, generator=seeded(5), **arguments)
    assert same_bits(before[0], snapshot(model))
    assert torch.equal(before[1], optimizer.state[model[0].weight]["momentum_buffer"])
    assert planned == reinitialize(model, "25N", generator=seeded(5), **arguments)
    assert not same_bits(before[0], snapshot(model))


def test_the_reported_seed_repeats_the_draws():
    one = nn.Linear(20, 20)
    other = copy.deepcopy(one)
    seed = reinitialize(one, "10N").seed
    reinitialize(other, "10N", generator=torch.Generator().manual_seed(seed))
    assert same_bits(snapshot(one), snapshot(other))
    assert reinitialize(one, "10N").seed != seed


@pytest.mark.parametrize(
    "exclude, kept",
    [
        (["fc"], {"fc.weight", "fc.bias"}),
        ("fc", {"fc.weight", "fc.bias"}),
        (("fc.bias",), {"fc.bias"}),
        (["fc", "fc.bias"], {"fc.weight", "fc.bias"}),
        (["token", "body.0"], {"token", "body.0.weight", "body.0.bias"}),
    ],
)
def test_exclude_by_module_and_by_name(exclude, kept):
    model = Bag(token=noise(1, 8))
    model.body, model.fc = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), nn.Linear(8, 8)
    model.fc2 = nn.Linear(8, 8)  # its name begins like an excluded one's
    before = snapshot(model)
    report = reinitialize(model, "25N", exclude=exclude)
    everything = set(before)
    assert {n for n in before if changed(before[n], model.get_parameter(n))} == everything - kept
    assert {t.name for t in report.tensors} == everything - kept


# --- rounding, and what is no gain ------------------------------------------------------------------------------------


@pytest.mark.parametrize("include", ["0", "1.bias", "nothing", "1.running_mean"])
def test_what_is_no_gain_cannot_be_included(include):
    model = nn.Sequential(nn.Linear(10, 4, bias=False), nn.BatchNorm1d(4), nn.LayerNorm(40))
    before = snapshot(model)
    with pytest.raises(
        ValueError, match=f"include='{include}' names no one-dimensional weight.*; it has: 1.weight, 2.weight"
    ):
        reinitialize(model, "25M", include=[include])
    assert same_bits(before, snapshot(model))


def test_bernoulli_rounding_has_the_expected_mean_and_two_values():
    generator = seeded(11)
    arguments = {"rounding": "bernoulli", "generator": generator}
    counts = [reinitialize(Bag(w=noise(1, 13)), "10Z", **arguments).reset for _ in range(600)]
    assert set(counts) == {1, 2}
    assert sum(counts) / 600 == pytest.approx(1.3, abs=4 * math.sqrt(0.3 * 0.7 / 600))


def test_bernoulli_rounding_leaves_whole_numbers_alone():
    assert {reinitialize(Bag(w=noise(1, 100)), "29Z", rounding="bernoulli").reset for _ in range(20)} == {29}


# --- the layers' own initialisers -------------------------------------------------------------------------------------
@pytest.mark.parametrize("layer, bound", [(nn.Linear(16, 50), 1 / 4), (nn.Conv2d(4, 50, 2), 1 / 4)])
def test_r_draws_from_the_initialiser_of_linear_and_convolution(layer, bound):
    with torch.no_grad():
        layer.weight.copy_(100 + noise(*layer.weight.shape))
    before = layer.weight.detach().clone()
    reinitialize(layer, "75R", generator=seeded())
    drawn = layer.weight[layer.weight != before]
    assert drawn.numel() == 600 and drawn.abs().max() <= bound  # uniform up to 1 / sqrt(fan_in)
    assert drawn.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1) and drawn.unique().numel() > 590


@pytest.mark.parametrize("method", ["R", "RM"])
def test_the_initialiser_of_a_two_dimensional_layer_norm_is_one(method):
    layer = nn.LayerNorm((4, 5))
    with torch.no_grad():
        layer.weight.copy_(torch.arange(20.0).view(4, 5) + 5)
    reinitialize(layer, f"50{method}", include="weight")
    assert layer.weight.flatten().tolist() == [1.0] * 10 + [15.0 + i for i in range(10)]


@pytest.mark.parametrize("layer", [nn.Linear(8, 8), nn.Conv2d(2, 4, 3), nn.Embedding(5, 6)])
def test_the_mean_of_a_symmetric_initialiser_is_zero(layer):
    before = layer.weight.detach().clone()
    reinitialize(layer, "50RM")
    gone = smallest(before.abs().flatten().tolist(), 0.5)
    assert {i for i, v in enumerate(layer.weight.flatten().tolist()) if v == 0} == gone


@pytest.mark.parametrize("dry_run", [False, True])
def test_r_without_an_initialiser_is_refused_before_anything_is_written(dry_run):
    model = nn.Sequential(nn.Linear(8, 8), Bag(token=noise(1, 8)))
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"'R': '1\.token' belongs to Bag, which has no reset_parameters"):
        reinitialize(model, "25R", dry_run=dry_run)
    assert same_bits(before, snapshot(model))
    reinitialize(model, "25R", exclude=["1.token"])
    assert bits(before["1.token"]) == bits(model[1].token)


# --- any torch.nn.Module ----------------------------------------------------------------------------------------------
NETWORKS = {
    "timm resnet": lambda: timm.create_model("test_resnet"),
    "timm vit": lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=5),
    "attention": lambda: nn.MultiheadAttention(16, 4),
    "lstm": lambda: nn.LSTM(8, 8),
    "mini_vit": lambda: models.build("mini_vit", 5, seed=0),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network(name):
    model = NETWORKS[name]()
    before = snapshot(model)
    report = reinitialize(model, "10N", generator=seeded())
    rows = {t.name: t for t in report.tensors}
    for tensor, old in before.items():
        count = len(changed(old, model.state_dict()[tensor]))
        competes = "weight" if old.ndim >= 2 else None
        if tensor not in dict(model.named_parameters()) or not (competes or "bias" in tensor):
            assert count == 0 and tensor not in rows
        elif "bias" not in tensor:
            assert count == rows[tensor].reset == old.numel() // 10 and rows[tensor].kind == "weight"
        else:
            assert count <= rows[tensor].reset == old.numel() // 10 and rows[tensor].kind == "bias"
    assert report.reset == sum(t.reset for t in rows.values()) > 0


def test_r_on_multihead_attention_uses_its_own_initialiser():
    model = nn.MultiheadAttention(16, 4)
    with torch.no_grad():
        model.in_proj_weight.fill_(9)
    reinitialize(model, "100R")
    bound = math.sqrt(6 / (16 + 48))  # Xavier uniform
    assert model.in_proj_weight.abs().max() <= bound
    assert model.in_proj_weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


# --- cases ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text, method, fraction, printed",
    [
        ("10MN", "MN", 0.1, "10MN"),
        ("2.5 M", "M", 0.025, "2.5M"),
        ("100N", "N", 1.0, "100N"),
        ("29NS", "NS", 0.29, "29NS"),
        ("M", "M", None, "M"),
        ("base", "base", None, "base"),
        ("scratch", "scratch", None, "scratch"),
    ],
)
def test_cases_are_read_and_printed(text, method, fraction, printed):
    case = Case.parse(text)
    assert (case.method, case.fraction, str(case)) == (method, fraction, printed)
    assert Case.parse(case) is case


@FAST
@given(st.floats(0, 1, exclude_min=True))
def test_every_case_reads_back_as_itself(fraction):
    case = Case("M", fraction)
    assert Case.parse(str(case)) == case


# --- errors -----------------------------------------------------------------------------------------------------------
def linear():
    return nn.Linear(10, 10)


def broken(value):
    model = linear()
    with torch.no_grad():
        model.weight[3, 3] = value
    return model


GRADIENT = {"weight": torch.ones(10, 10), "bias": torch.ones(10)}


@pytest.mark.parametrize(
    "model, case, arguments, message",
    [
        (linear, "10X", {}, r"'10X'.*methods: M, MN, NS, N.*base"),
        (linear, "ten", {}, "'ten'"),
        (linear, 10, {}, "unknown case 10;"),
        (linear, "0M", {}, r"fraction 0\.0 is outside \(0, 1\]"),
        (linear, "101M", {}, r"fraction 1\.01 is outside \(0, 1\]"),
        (linear, "M", {}, "case M with threshold=None: give a percentage .* or a threshold"),
        (linear, "10M", {"threshold": 0.1}, r"case 10M with threshold=0\.1"),
        (linear, "M", {"threshold": -0.5}, r"threshold=-0\.5 must be zero or more"),
        (linear, "M", {"threshold": math.nan}, "threshold=nan must be zero or more"),
        (linear, "scratch", {}, "'scratch'.*nothing to re-initialise"),
        (linear, "10M", {"reading": "prose"}, "reading='prose' is unknown; allowed: 'code', 'text'"),
        (linear, "10M", {"utility": "luck"}, "utility='luck' is unknown; allowed: 'magnitude', 'gradient'"),
        (linear, "10M", {"scope": "layer"}, "scope='layer' is unknown; allowed: 'tensor', 'global'"),
        (linear, "10M", {"biases": "some"}, "biases='some' is unknown; allowed: None, 'smallest', 'zero', 'keep'"),
        (linear, "10M", {"rounding": "up"}, "rounding='up' is unknown; allowed: 'floor', 'bernoulli'"),
        (linear, "10M", {"utility": "gradient"}, "utility='gradient' needs gradients="),
        (linear, "10M", {"gradients": GRADIENT}, "only that utility takes them"),
        (linear, "10M", {"utility": "gradient", "gradients": {}}, r"shape \(10, 10\) for 'weight'"),
        (
            linear,
            "10M",
            {"utility": "gradient", "gradients": GRADIENT | {"bias": torch.ones(9)}},
            r"shape \(10,\) for 'bias'",
        ),
        (linear, "10M", {"exclude": ["head"]}, "exclude='head' names no parameter or module.*weight, bias"),
        (linear, "10M", {"exclude": "weigh"}, "exclude='weigh'"),
        (linear, "0.5M", {}, r"case 0\.5M resets nothing"),
        (linear, "10M", {"exclude": ["weight"]}, "case 10M resets nothing"),
        (linear, "M", {"threshold": 0}, "case M resets nothing"),
        (linear, "biases", {"biases": "keep"}, "'biases' with biases='keep' resets nothing"),
        (lambda: nn.Linear(4, 4, bias=False), "biases", {}, "'biases' with biases='smallest' resets nothing"),
        (nn.ReLU, "10M", {}, "case 10M resets nothing"),
        (lambda: broken(math.nan), "10M", {}, "'weight' holds NaN or infinite"),
        (lambda: broken(math.inf), "10M", {}, "'weight' holds NaN or infinite"),
        (
            linear,
            "10M",
            {"utility": "gradient", "gradients": GRADIENT | {"weight": torch.full((10, 10), math.nan)}},
            "'weight' holds NaN or infinite",
        ),
    ],
)
def test_wrong_input_is_a_value_error_that_names_it_and_changes_nothing(model, case, arguments, message):
    model = model()
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        reinitialize(model, case, **arguments)
    assert same_bits(before, snapshot(model))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("X", 0.1), "unknown method 'X'; allowed: M, MN, NS, N"),
        (("base", 0.1), r"case 'base' takes no fraction, got 0\.1"),
        (("M", 10), r"fraction 10 is outside \(0, 1\]"),
        (("M", math.nan), "fraction nan is outside"),
    ],
)
def test_wrong_cases_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Case(*arguments)
