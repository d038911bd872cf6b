"""Hidden units: which there are, what recycling one writes, and when; by hand, on networks one can see through."""

import copy
from dataclasses import replace

import pytest
import torch
from helpers import PHASES, equal, fit, pictures, prepared, start_of, state_of
from torch import nn
from torchvision.models import resnet18
from torchvision.models.resnet import BasicBlock

from plasticity.methods.units import ContinualBackprop, ReDo, Units, find_units, mean_activations, recycle
from plasticity.networks import table as networks


class Network(nn.Module):
    """Convolution, flattened [8 images of 4x4 -> 2 channels of 2x2 -> 8 columns], hidden layer, head."""

    def __init__(self, flatten="module", norm=True, inplace=True):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3) if norm else nn.Identity()
        self.relu, self.flat, self.drop = nn.ReLU(inplace), nn.Flatten(), nn.Dropout(0.5)
        self.hidden, self.head, self.how = nn.Linear(12, 5), nn.Linear(5, 2), flatten

    def forward(self, x):
        x = self.relu(self.norm(self.conv(x)))
        x = {
            "module": self.flat,
            "function": lambda x: torch.flatten(x, 1),
            "view": lambda x: x.view(len(x), -1),
            "reshape": lambda x: x.reshape(x.shape[0], -1),
            "mean": lambda x: x.mean((2, 3)).repeat(1, 4),
        }[self.how](x)
        return self.head(self.drop(self.relu(self.hidden(x))))


def named(model, found):
    names = {id(module): name for name, module in model.named_modules()}
    return [(names[id(u.producer)], names.get(id(u.norm)), names[id(u.consumer)], u.block) for u in found]


# --- which there are --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("flatten", ["module", "function", "view", "reshape"])
@pytest.mark.parametrize("inplace", [True, False])
def test_chains_share_a_relu_and_pass_dropout_and_flattening(flatten, inplace):
    model = Network(flatten, inplace=inplace)
    before = state_of(model)
    found = find_units(model, pictures(2))
    assert named(model, found) == [("conv", "norm", "hidden", 4), ("hidden", None, "head", 1)]
    assert [u.size for u in found] == [3, 5]
    assert model.training and equal(before, model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_functional_mean_ends_a_chain():
    model = Network("mean")
    assert named(model, find_units(model, pictures(2))) == [("hidden", None, "head", 1)]


def plain_units(model):
    """Of an nn.Sequential of blocks of convolution, norm layer and ReLU; the last one feeds a global max pool."""
    at = [f"features.{i}" for i, module in enumerate(model.features) if isinstance(module, nn.Conv2d)]
    return [(a, f"features.{int(a[9:]) + 1}", b, 1) for a, b in zip(at[:-1], at[1:], strict=True)]


def bottleneck_units(model):
    return [
        (f"layers.{i}.conv{k}", f"layers.{i}.bn{k}", f"layers.{i}.conv{k + 1}", 1) for i in range(4) for k in (1, 2)
    ]


def transformer_units(model):
    layers = [f"encoder.layers.encoder_layer_{i}" for i in range(4)]
    return [(f"{layer}.mlp.0", None, f"{layer}.mlp.3", 1) for layer in layers]


def basic_block_units(model):
    """Its stem feeds a convolution and an addition that no module makes."""
    blocks = [name for name, module in model.named_modules() if isinstance(module, BasicBlock)]
    return [(f"{block}.conv1", f"{block}.bn1", f"{block}.conv2", 1) for block in blocks]


@pytest.mark.parametrize(
    "build, expected",
    [
        (lambda: networks.build("mini_simplenet", 3, 0), plain_units),
        (lambda: networks.build("mini_resnet", 3, 0), bottleneck_units),
        (lambda: networks.build("mini_vit", 3, 0), transformer_units),
        (lambda: resnet18(num_classes=3), basic_block_units),
    ],
)
def test_units_of_the_architectures(build, expected):
    model = build()
    assert named(model, find_units(model, pictures(2, 32))) == expected(model) != []


class Odd(nn.Module):
    """Two linear layers with a ReLU between, and something that makes it no plain chain."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.flat = kind, nn.Flatten()
        self.one, self.relu, self.two, self.three = nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 48), nn.Linear(48, 48)
        if kind == "tied":
            self.three.weight = self.one.weight
        if kind.startswith("tied by a view"):
            tied = self.two if kind.endswith("consumer") else self.one
            self.three.weight = nn.Parameter(tied.weight.detach().T)

    def forward(self, x):
        x = self.flat(x)
        before = self.one(x)
        return ODD[self.kind](self, x, before, self.relu(before))


ODD = {
    "plain": lambda net, x, before, h: net.two(h),
    "two consumers": lambda net, x, before, h: net.two(h) + net.three(h),
    "residual": lambda net, x, before, h: net.two(h) + h,
    "given out": lambda net, x, before, h: (net.two(h), h),
    "called twice": lambda net, x, before, h: net.two(net.one(h)),
    "transposed": lambda net, x, before, h: net.two(h.view(2, 6, 8).transpose(1, 2).reshape(2, 48)),
    "read before": lambda net, x, before, h: net.two(h) + before,
    "tied": lambda net, x, before, h: net.two(h) + net.three(x),
    "tied by a view": lambda net, x, before, h: net.two(h) + net.three(x),
    "tied by a view, the consumer": lambda net, x, before, h: net.two(h) + net.three(x),
    "read elsewhere": lambda net, x, before, h: net.two(h) + nn.functional.linear(x, net.one.weight.T),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_plain_chain_has_no_units(kind):
    assert len(find_units(Odd(kind), pictures(2))) == (kind == "plain")


def test_the_next_layer_may_not_have_groups_and_a_linear_layer_must_not_run_along_the_width():
    grouped = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1, groups=2))
    along = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Linear(4, 4))
    assert find_units(grouped, pictures(2)) == find_units(along, pictures(2)) == []


@pytest.mark.parametrize("method", [ReDo(), ContinualBackprop()])
@pytest.mark.parametrize("model", [nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), Odd("residual")])
def test_a_network_without_units_is_refused_before_training(method, model):
    with pytest.raises(ValueError, match=f"needs units: .*{type(model).__name__} has none"):
        method.prepare(model, start_of(model, images=pictures))


# --- what recycling writes --------------------------------------------------------------------------------------------
def test_one_channel_before_a_flattened_layer_is_recycled_in_place_and_nothing_else_changes():
    model = Network()
    with torch.no_grad():
        for tensor in (model.norm.weight, model.norm.bias, model.norm.running_mean, model.norm.running_var):
            tensor.copy_(torch.tensor([2.0, 3.0, 4.0]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(pictures(8)).square().mean().backward()
    optimizer.step()
    before, moments = state_of(model), {n: copy.deepcopy(optimizer.state[p]) for n, p in model.named_parameters()}
    places = [p.data_ptr() for p in model.parameters()]
    units = find_units(model, pictures(2))[0]
    recycle([(units, torch.tensor([1]))], state_of(model), optimizer, torch.Generator().manual_seed(0))
    assert places == [p.data_ptr() for p in model.parameters()]

    expected = {name: torch.zeros(value.shape, dtype=torch.bool) for name, value in before.items()}
    for name in ("conv.weight", "conv.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"):
        expected[name][1] = True
    expected["hidden.weight"][:, 4:8] = True  # the columns of channel 1, which are four positions
    for name, value in model.state_dict().items():
        assert torch.equal(value != before[name], expected[name]), name
    assert (model.hidden.weight[:, 4:8] == 0).all() and model.conv.bias[1] == 0
    assert [getattr(model.norm, n)[1].item() for n in ("weight", "bias", "running_mean", "running_var")] == [1, 0, 0, 1]
    assert (model.conv.weight[1].abs() <= 1 / 27**0.5).all() and model.conv.weight[1].std() > 0.05
    for name, parameter in model.named_parameters():
        for key in ("exp_avg", "exp_avg_sq"):
            kept = moments[name][key].masked_fill(expected[name], 0)
            assert torch.equal(optimizer.state[parameter][key], kept), (name, key)
        assert optimizer.state[parameter]["step"] == 1
    assert (moments["hidden.weight"]["exp_avg"][:, 4:8] != 0).any(), "there was something to clear"


def test_a_weight_between_two_recycled_units_ends_at_zero():
    model = Network()
    first, second = find_units(model, pictures(2))
    recycle([(first, torch.tensor([0])), (second, torch.tensor([3]))], state_of(model), None, torch.Generator())
    assert (model.hidden.weight[:, :4] == 0).all() and (model.hidden.weight[3, 4:] != 0).all()
    assert (model.head.weight[:, 3] == 0).all()


@pytest.mark.parametrize("index, columns", [(0, slice(8, 12)), (1, slice(2, 3))])
def test_a_recycled_unit_takes_away_its_contribution_and_no_other(index, columns):
    model = Network().eval()
    pruned = copy.deepcopy(model)
    with torch.no_grad():
        (pruned.hidden if index == 0 else pruned.head).weight[:, columns] = 0
    images, whole = pictures(8), model(pictures(8))
    recycle([(find_units(model, pictures(2))[index], torch.tensor([2]))], state_of(model), None, torch.Generator())
    assert torch.allclose(model(images), pruned(images), atol=1e-6)
    assert not torch.allclose(model(images), whole, atol=1e-3)


def test_seeds_have_an_effect_and_the_global_stream_stays():
    results = []
    for seed in (1, 1, 2):
        model = Network()
        stream = torch.get_rng_state()
        recycle(
            [(find_units(model, pictures(2))[1], torch.tensor([0]))],
            state_of(model),
            None,
            torch.Generator().manual_seed(seed),
        )
        assert torch.equal(stream, torch.get_rng_state())
        results.append(model.hidden.weight[0].detach().clone())
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


# --- scores -----------------------------------------------------------------------------------------------------------
def test_mean_activations_are_those_of_all_images_and_positions_and_touch_nothing():
    model, images = Network(), pictures(70)  # a whole batch of 64 and a rest
    with torch.no_grad():
        model.norm.running_mean += 0.3
    before, stream = state_of(model), torch.get_rng_state()
    means = mean_activations(model, find_units(model, pictures(2)), images)
    assert equal(before, model) and model.training and torch.equal(stream, torch.get_rng_state())
    model.eval()
    first = model.norm(model.conv(images)).relu()
    second = model.hidden(first.flatten(1)).relu()
    assert torch.allclose(means[0], first.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(means[1], second.mean(0), atol=1e-6)
    assert not any(module._forward_hooks for module in model.modules())


def test_signed_activations_count_by_their_size_on_the_last_axis_of_tokens():
    layer = nn.Linear(4, 2, bias=False)
    units = Units(layer, None, nn.Tanh(), nn.Linear(2, 1))
    output = torch.tensor([[[-1.0, 2.0], [1.0, 0.0], [0.0, -2.0]]])
    assert torch.allclose(units.magnitude(output), output.tanh().abs().mean((0, 1)))


def test_outgoing_weights_are_summed_by_unit():
    units = find_units(model := Network(), pictures(2))[0]
    assert torch.allclose(units.outgoing()[1], model.hidden.weight[:, 4:8].abs().sum())
    chain = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 3))
    assert torch.allclose(find_units(chain, pictures(2))[0].outgoing()[1], chain[2].weight[:, 1].abs().sum())


# --- ReDo -------------------------------------------------------------------------------------------------------------
def hidden_layer(biases):
    """Three inputs (means of colour), hidden units that show exactly their biases, one output."""
    layers = [nn.Linear(3, len(biases)), nn.ReLU(), nn.Linear(len(biases), 1)]
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers)
    with torch.no_grad():
        model[2].weight.zero_()
        model[2].bias.copy_(torch.tensor(biases))
        model[4].weight.fill_(1.0)
    return model


def counted(model):
    """An initial state without zeros: 1, 2, 3, ..."""
    return {name: torch.arange(1.0, 1 + v.numel()).view_as(v) for name, v in model.state_dict().items()}


@pytest.mark.parametrize("threshold, dormant", [(0.0, [0]), (0.25, [0, 1]), (0.5, [0, 1, 2]), (0.2, [0])])
def test_dormant_is_a_share_of_the_layers_mean(threshold, dormant):
    model = hidden_layer([-1.0, 1.0, 2.0, 13.0])  # shown: 0, 1, 2, 13; mean 4
    method = ReDo(threshold, every=2)
    asked = []

    def images(count):
        asked.append(count)
        return pictures(min(count, 8))

    prepared(method, model, images=images, initial=counted(model)).after_epoch(1)
    assert (model[2].weight == 0).all() and asked == [2], "every second epoch"
    method.after_epoch(2)
    renewed = (model[2].weight != 0).all(1).nonzero().flatten().tolist()
    assert renewed == dormant == (model[4].weight[0] == 0).nonzero().flatten().tolist() and asked == [2, 512]
    assert [model[2].bias[i].item() for i in dormant] == [0] * len(dormant)


def test_a_layer_that_is_all_dead_is_recycled_whole_and_a_diverged_one_is_left():
    for bias, renewed in ((-1.0, True), (torch.nan, False)):
        model = hidden_layer([bias] * 3)
        prepared(ReDo(threshold=0.0, every=1), model, images=pictures, initial=counted(model)).after_epoch(1)
        assert (model[2].weight != 0).all().item() is renewed and (model[4].weight == 0).all().item() is renewed


def test_recycling_a_dead_unit_does_not_change_the_function():
    model = Network().eval()
    with torch.no_grad():
        model.norm.bias[1] = -100  # dead
    before = model(pictures(8))
    prepared(ReDo(threshold=0.0, every=1), model, images=pictures).after_epoch(1)
    assert (model.hidden.weight[:, 4:8] == 0).all() and model.norm.bias[1] == 0
    assert torch.allclose(model(pictures(8)), before, atol=1e-6)


@pytest.mark.parametrize("name", ["mini_resnet", "mini_vit_tiny"])
def test_both_methods_train_residual_networks_and_transformers(world, name):
    run = replace(PHASES, architecture=name, optimizer="adamw", lr=1e-3, momentum=0.0)
    base = fit(run, world)
    for method in (ReDo(threshold=0.7, every=1), ContinualBackprop(rate=0.1, maturity=2)):
        fitted = fit(run, world, intervention=method)
        assert not equal(base.model, fitted.model)
        assert all(value.isfinite().all() for value in fitted.model.state_dict().values())


# --- continual backpropagation ----------------------------------------------------------------------------------------
def backprop(biases, **fields):
    model = hidden_layer(biases)
    return model, prepared(ContinualBackprop(**fields), model, images=pictures, initial=counted(model))


def test_utility_is_a_running_mean_of_activation_times_outgoing_weight():
    model, method = backprop([1.0, 2.0, 3.0], rate=0.0, decay=0.75)
    with torch.no_grad():
        model[4].weight.copy_(torch.tensor([[1.0, -2.0, 0.5]]))
    model(pictures(5))
    method.after_step(1)
    assert method.utility[0].tolist() == [0.25, 1.0, 0.375] and method.age[0].tolist() == [1, 1, 1]
    model(pictures(5))
    method.after_step(2)
    assert method.utility[0].tolist() == [0.4375, 1.75, 0.65625]


def test_only_training_passes_are_seen():
    model, method = backprop([1.0, 2.0], rate=0.0)
    model(pictures(5))
    seen = method.seen[0].clone()
    with torch.no_grad():
        model[2].bias.fill_(7.0)
    model.eval()(pictures(5))
    assert seen.tolist() == [1, 2] and torch.equal(method.seen[0], seen)
    model.train()(pictures(5))
    assert method.seen[0].tolist() == [7, 7]


def test_the_least_useful_mature_unit_goes_when_a_whole_one_is_due():
    model, method = backprop([3.0, 1.0, 2.0, 4.0], rate=0.1, maturity=2)
    replaced = []
    for step in range(1, 11):
        model(pictures(5))
        before = model[2].weight.detach().clone()
        method.after_step(step)
        replaced.append((model[2].weight != before).any(1).nonzero().flatten().tolist())
    # All four are mature from step 3 on: .4, .8, 1.2 at step 5, so .2 remains. Then three: .5, .8; and four again: 1.2
    # at step 8, where unit 1 is mature and, without outgoing weights, the least useful once more.
    assert replaced == [[], [], [], [], [1], [], [], [1], [], []]
    assert model[4].weight.tolist() == [[1.0, 0.0, 1.0, 1.0]] and model[2].bias.tolist() == [3.0, 0.0, 2.0, 4.0]
    assert method.age[0].tolist() == [10, 2, 10, 10] and method.utility[0][1] == 0 and 0.2 < method.due[0] < 0.9


def test_a_young_unit_is_protected_however_useless():
    model, method = backprop([3.0, 1.0, 2.0], rate=0.5, maturity=2)
    method.load_state_dict(method.state_dict() | {"age": [torch.tensor([5, 0, 5])]})
    model(pictures(5))
    method.after_step(1)
    assert (model[4].weight == 0).tolist() == [[False, False, True]] and method.age[0].tolist() == [6, 1, 0]


def test_watching_an_in_place_activation_changes_nothing():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.SiLU(inplace=True), nn.Linear(4, 2))
    images, method = pictures(5), ContinualBackprop(rate=0.0)
    before = model(images)
    method.prepare(model, start_of(model, images=pictures))
    assert torch.equal(model(images), before)
    assert torch.allclose(method.seen[0], nn.functional.silu(model[1](model[0](images))).abs().mean(0))


def test_several_units_may_be_due_at_once_and_moments_go_with_them():
    model = hidden_layer([3.0, 1.0, 2.0, 4.0])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-9)
    method = ContinualBackprop(rate=0.5, maturity=0)
    method.prepare(model, start_of(model, images=pictures, optimizer=optimizer))
    model(pictures(5)).sum().backward()
    optimizer.step()
    method.after_step(1)
    assert (model[4].weight == 0).tolist() == [[False, True, True, False]] and method.due == [0.0]
    for parameter, gone in ((model[2].bias, [0, 1, 1, 0]), (model[4].weight, [[0, 1, 1, 0]])):
        assert ((optimizer.state[parameter]["exp_avg"] == 0) == torch.tensor(gone).bool()).all()


def test_ten_tenths_are_one():
    model, method = backprop([1.0] * 10, rate=0.01, maturity=0)
    for step in range(1, 11):
        model(pictures(2))
        method.after_step(step)
    assert (method.age[0] == 0).sum() == 1 and abs(method.due[0]) < 1e-9


def test_a_copy_of_the_network_is_not_watched():
    model, method = backprop([1.0, 2.0], rate=0.0)
    model(pictures(2))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin[2].bias.fill_(9.0)
    twin.train()(pictures(2))
    assert method.seen[0].tolist() == [1, 2] and twin[2]._forward_hooks
    copy.deepcopy(twin)(pictures(2))


def test_each_phase_has_one_watch_and_utilities_go_on():
    model, method = backprop([1.0, 2.0], rate=0.0, maturity=5)
    model(pictures(2))
    method.after_step(1)
    method.prepare(model, start_of(model, images=pictures, phase=2))
    assert len(model[2]._forward_hooks) == 1 and method.age[0].tolist() == [1, 1] and method.utility[0].sum() > 0
    method.prepare(model, start_of(model, images=pictures, phase=1))
    assert method.age[0].tolist() == [0, 0] and method.utility[0].sum() == 0, "another run begins anew"


def test_a_compiled_network_is_refused():
    with pytest.raises(ValueError, match="compiled=False"):
        ContinualBackprop().prepare(Network(), start_of(images=pictures, compiled=True))
