"""Each plasticity metric is its definition, worked out by hand on tiny networks, and measuring leaves no trace."""

import copy
import json
import math

import pytest
import torch
from torch import nn

from plasticity.networks import table as models
from plasticity.training.measures import measure

WEIGHTS = {"weight_magnitude", "weight_distance"}
FEATURES = {"zero_gradient", "zero_activation", "srank", "effective_rank", "stable_rank"}
DORMANT = {"dormant_normalised", "dormant_rarely", "dormant_never"}
MINIATURES = [name for name in models.ARCHITECTURES if name.startswith("mini_")]


class Net(nn.Module):
    """A body, then a head from its outputs [n, d] to logits."""

    def __init__(self, body, d, classes=2):
        super().__init__()
        self.body, self.head = body, nn.Linear(d, classes)

    def forward(self, images):
        return self.head(self.body(images).flatten(1))


class ConcatenatedReLU(nn.Module):
    """ReLU(x) and ReLU(-x) side by side, by way of a ReLU that must not be counted on top."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        return torch.cat([self.relu(x), self.relu(-x)], 1)


def pixels(rows):
    """Images [n, 3, 1, 1] of these three values each."""
    return torch.tensor(rows, dtype=torch.float32).view(-1, 3, 1, 1)


def photographs(name, n):
    """Noise [n, 3, h, w] of the size that an architecture takes."""
    size = models.architecture(name).image_size
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def measured(net, images, labels=None, initial=None):
    labels = torch.zeros(len(images), dtype=torch.long) if labels is None else labels
    return measure(net, images, labels, net.state_dict() if initial is None else initial, "head")


def plain(*body, d=3):
    return Net(nn.Sequential(nn.Flatten(), *body), d)


def test_weight_magnitude_and_distance_sum_the_layers_means_without_biases_and_gains():
    net = plain(nn.Linear(3, 2), nn.LayerNorm(2), d=2)
    initial = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        net.body[1].weight.copy_(torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 0.0]]))  # squares 1 + 4 + 1 over 6 entries
        net.head.weight.fill_(0.5)  # 1/4
        net.body[1].bias.fill_(100), net.body[2].weight.fill_(100)
        for name in ("body.1.weight", "head.weight"):
            initial[name].copy_(net.state_dict()[name])
        initial["head.weight"][0, 0] += 2  # 4 over 4 entries
        initial["body.1.bias"] += 7
    found = measured(net, torch.randn(4, 3, 1, 1), initial=initial)
    assert found["weight_magnitude"] == 1 + 0.25
    assert found["weight_distance"] == 1


def test_a_layer_that_is_a_view_of_another_counts_once():
    net = plain(nn.Linear(3, 2), nn.Linear(2, 3, bias=False))
    once = measured(net, torch.randn(4, 3, 1, 1))["weight_magnitude"]
    net.body[2].weight.requires_grad_(False).zero_()
    without = measured(net, torch.randn(4, 3, 1, 1))["weight_magnitude"]
    net.body[2].weight = nn.Parameter(net.body[1].weight.detach().T)
    assert measured(net, torch.randn(4, 3, 1, 1))["weight_magnitude"] == without < once


@pytest.mark.parametrize(
    "change", [lambda s: s.pop("head.weight"), lambda s: s.update({"head.weight": torch.zeros(5, 3)})]
)
def test_a_distance_from_another_network_is_left_out(change):
    net = plain()
    initial = dict(net.state_dict())
    change(initial)
    assert measured(net, torch.randn(4, 3, 1, 1), initial=initial).keys() == {"weight_magnitude"} | FEATURES


def test_the_ranks_of_features_with_known_singular_values():
    values = torch.tensor([6.0, 3.0, 1.0])
    found = measured(plain(), pixels(torch.diag(values).tolist() + [[0, 0, 0]]))
    p = [0.6, 0.3, 0.1]
    assert found["srank"] == 3
    assert found["effective_rank"] == pytest.approx(math.exp(-sum(x * math.log(x) for x in p)))
    assert found["stable_rank"] == pytest.approx((36 + 9 + 1) / 36)
    assert found["zero_activation"] == 9 / 12


@pytest.mark.parametrize(
    "values, srank", [((1, 0, 0), 1), ((99.5, 0.3, 0.2), 1), ((98.5, 1, 0.5), 2), ((97, 1.5, 1.5), 3)]
)
def test_srank_counts_up_to_99_percent_of_the_sum(values, srank):
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0)))[0]
    found = measured(plain(), pixels((torch.diag(torch.tensor(values, dtype=torch.double)) @ rotation).tolist()))
    assert found["srank"] == srank


def test_equal_singular_values_give_full_ranks_and_one_direction_gives_one():
    assert [
        measured(plain(), pixels(torch.eye(3).tolist()))[name] for name in ("srank", "effective_rank", "stable_rank")
    ] == [3, pytest.approx(3), pytest.approx(3)]
    assert [measured(plain(), torch.ones(5, 3, 1, 1))[name] for name in ("srank", "effective_rank", "stable_rank")] == [
        1,
        pytest.approx(1),
        pytest.approx(1),
    ]


def test_features_that_are_all_zero_have_no_rank():
    assert measured(plain(), torch.zeros(5, 3, 1, 1)).keys() == WEIGHTS | {"zero_gradient", "zero_activation"}


def test_zero_gradient_is_that_of_the_loss_with_respect_to_the_features():
    net = plain()
    with torch.no_grad():  # the gradient is (p - y) times the weights: zero where a feature has none
        net.head.weight.copy_(torch.tensor([[0.0, 2.0, 0.0], [0.0, 5.0, 0.0]]))
    assert measured(net, torch.randn(7, 3, 1, 1))["zero_gradient"] == pytest.approx(2 / 3)
    with torch.no_grad():  # so sure and so right on the second of two items that the rounded gradient is zero there
        net.head.weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
        net.head.bias.zero_()
    assert measured(net, pixels([[1, 1, 1], [100, 100, 100]]), torch.tensor([1, 1]))["zero_gradient"] == 1 / 2


def test_units_that_are_dead_weak_or_rare():
    net = plain(nn.ReLU())
    images = torch.zeros(200, 3, 1, 1)
    images[:, 0] = 1  # always active; -1 never; the third on 1 input of 200
    images[:, 1], images[0, 2] = -1, 100
    found = measured(net, images)
    assert [found[name] for name in sorted(DORMANT)] == [
        pytest.approx(x / 3) for x in (1, 1, 2)
    ]  # never, normalised, rarely
    images[0, 2] = 1  # mean 1/200 over the layer's (1 + 1/200)/3: 0.0149, below tau
    assert measured(net, images)["dormant_normalised"] == pytest.approx(2 / 3)
    images[0, 2] = 2  # 0.01 over 1.01/3: 0.0297, above it
    assert measured(net, images)["dormant_normalised"] == pytest.approx(1 / 3)
    images[:2, 2] = 1  # on 1% of the inputs: not under it
    assert measured(net, images)["dormant_rarely"] == pytest.approx(1 / 3)


def test_a_layer_of_zeros_is_dormant_throughout_and_layers_are_pooled_by_units():
    net = plain(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2), nn.Tanh(), d=2)
    with torch.no_grad():
        net.body[1].weight.zero_(), net.body[1].bias.fill_(-1)
        net.body[3].weight.zero_(), net.body[3].bias.fill_(-1)
    found = measured(net, torch.randn(300, 3, 1, 1))
    assert {name: found[name] for name in DORMANT} == dict.fromkeys(DORMANT, 5 / 7)


def test_a_unit_of_a_convolution_is_a_channel_over_its_positions():
    net = Net(nn.Sequential(nn.ReLU(), nn.Flatten()), 3 * 4 * 5)
    images = -torch.ones(10, 3, 4, 5)
    images[:, 0] = 1
    images[0, 1, 2, 3] = 1  # on 1 of 200: its score is 0.005 of the mean 1.005/3
    for form in (torch.contiguous_format, torch.channels_last):
        found = measured(net, images.contiguous(memory_format=form))
        assert [found[name] for name in sorted(DORMANT)] == [pytest.approx(x / 3) for x in (1, 2, 2)]


def test_a_unit_of_a_token_is_the_last_dimension():
    net = Net(nn.Sequential(nn.Flatten(2), nn.ReLU(), nn.Flatten()), 3 * 4)
    images = torch.ones(10, 3, 2, 2)  # three "tokens" of four features
    images[:, :, 1, 1] = -1
    found = measured(net, images)
    assert {name: found[name] for name in DORMANT} == dict.fromkeys(DORMANT, 1 / 4)


def test_an_activation_that_is_used_twice_in_place_counts_twice_before_it_is_overwritten():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            x = self.relu(x.flatten(1))  # units 1 of 3 active
            return self.relu(x.sub_(2).mul_(-1))  # in the same memory: 2, 2 and 1, all active

    found = measured(Net(Twice(), 3), pixels([[1, -1, -2]]).repeat(4, 1, 1, 1))
    assert found["dormant_never"] == 2 / 6


def test_a_concatenated_relu_counts_both_halves_once():
    found = measured(plain(ConcatenatedReLU(), d=6), pixels([[1, 1, -1]]).repeat(4, 1, 1, 1))
    assert found["dormant_never"] == 1 / 2
    assert found["zero_activation"] == 1 / 2
    other = measured(plain(ConcatenatedReLU(), nn.Sigmoid(), d=6), pixels([[1, 1, -1]]).repeat(4, 1, 1, 1))
    assert other["dormant_never"] == 3 / 12  # the ReLU within, counted on top, would make it 6 of 18


def test_a_head_that_works_in_place_sees_and_spoils_nothing():
    net = plain()
    net.head = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2))
    found = measured(net, pixels([[1, -1, 0], [2, -1, 0]]))
    assert found["zero_activation"] == 1 / 3  # of the head's input, before its own ReLU
    assert found["dormant_never"] == pytest.approx(2 / 3)


def test_networks_without_activation_modules_leave_the_dormant_keys_out():
    assert measured(plain(), torch.randn(4, 3, 1, 1)).keys() == WEIGHTS | FEATURES


def test_what_is_not_finite_is_left_out():
    net = plain(nn.ReLU())
    images = torch.randn(4, 3, 1, 1)
    images[0] = math.inf
    assert measured(net, images).keys() == WEIGHTS
    with torch.no_grad():
        net.head.weight[0, 0] = math.nan
    assert (
        measured(net, images.nan_to_num(posinf=1)).keys()
        == {"zero_activation", "srank", "effective_rank", "stable_rank"} | DORMANT
    )


@pytest.mark.parametrize("name", MINIATURES)
def test_the_miniatures_give_plain_floats_in_range_that_json_takes(name):
    net = models.build(name, 5, seed=0)
    images, labels = photographs(name, 24), torch.arange(24) % 5
    initial = {key: torch.zeros_like(value) for key, value in net.state_dict().items()}
    found = measure(net, images, labels, initial, models.architecture(name).head)
    assert found.keys() == WEIGHTS | FEATURES | DORMANT
    assert all(type(value) is float for value in found.values())
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["weight_magnitude"] == found["weight_distance"] > 0
    assert all(0 <= found[key] <= 1 for key in DORMANT | {"zero_gradient", "zero_activation"})
    assert found["dormant_never"] <= found["dormant_rarely"]
    assert all(1 <= found[key] <= 24 for key in ("srank", "effective_rank", "stable_rank"))


def test_the_features_of_a_residual_network_are_the_heads_input():
    net = models.build("mini_resnet", 5, seed=0).eval()
    images = photographs("mini_resnet", 16)
    with torch.no_grad():
        features = net.layers(net.maxpool(net.relu(net.bn1(net.conv1(images))))).mean((2, 3))
    found = measure(net, images, torch.zeros(16, dtype=torch.long), net.state_dict(), "fc")
    assert found["zero_activation"] == (features == 0).double().mean().item()
    assert found["stable_rank"] == pytest.approx(
        (features.norm() / torch.linalg.matrix_norm(features, 2)).item() ** 2, rel=1e-4
    )
    assert found["weight_distance"] == 0


@pytest.mark.parametrize("name", MINIATURES)
@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_no_trace(name, training):
    net = models.build(name, 5, seed=0).train(training)
    frozen = list(net.modules())[-1]
    frozen.train(not training)  # a module whose mode differs from the network's
    marked = next(net.parameters())
    marked.grad = torch.ones_like(marked)
    images, labels = photographs(name, 8), torch.arange(8) % 5
    before = copy.deepcopy(net.state_dict()), images.clone(), torch.get_rng_state(), [m.training for m in net.modules()]
    first = measure(net, images, labels, net.state_dict(), models.architecture(name).head)
    assert first == measure(net, images, labels, net.state_dict(), models.architecture(name).head)
    assert all(torch.equal(value, before[0][key]) for key, value in net.state_dict().items())
    assert torch.equal(images, before[1]) and torch.equal(torch.get_rng_state(), before[2])
    assert [m.training for m in net.modules()] == before[3]
    assert torch.equal(marked.grad, torch.ones_like(marked)) and all(p.grad is None for p in list(net.parameters())[1:])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_modes_and_hooks_come_back_after_a_failure():
    net = plain(nn.ReLU()).train()
    with pytest.raises(RuntimeError):
        measured(net, torch.randn(4, 3, 2, 2))
    assert all(m.training and not m._forward_hooks and not m._forward_pre_hooks for m in net.modules())


def test_it_measures_with_gradients_switched_off_too():
    with torch.no_grad():
        assert "zero_gradient" in measured(plain(), torch.randn(4, 3, 1, 1))
