"""The networks of games: shapes, dueling heads, distributions, noise."""

import pytest
import torch

from plasticity.networks import table as networks
from plasticity.networks.impala import scaled
from plasticity.networks.rl import NoisyLinear, quiet

SHAPES = {"mini_dqn": (4, 10, 10), "nature_cnn": (4, 84, 84), "impala_x4": (4, 84, 84)}


NEEDS = {"values": {}, "distributions": {"atoms": 51, "v_max": 10.0}}
NEEDS["streams"] = NEEDS["distributions"] | {"streams": True}


def built(name, seed=0, actions=6, **needs):
    return networks.build_for_game(name, 4, actions, seed, **needs)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("needs", NEEDS.values(), ids=NEEDS)
def test_a_network_values_actions(name, needs):
    seen = torch.rand(2, *SHAPES[name])
    model, same, other = built(name, **needs), built(name, **needs), built(name, seed=1, **needs)
    assert model(seen).shape == (2, 6)
    assert torch.equal(model(seen), same(seen)) and not torch.equal(model(seen), other(seen))
    head = networks.architecture(name).head
    assert {n.split(".")[0] for n, _ in model.named_parameters()} == {"encoder", head}
    if needs:
        p = model.distribution(seen).exp()
        assert p.shape == (2, 6, 51) and torch.allclose(p.sum(2), torch.ones(2, 6), atol=1e-5)
        assert torch.allclose((p * torch.linspace(-10, 10, 51)).sum(2), model(seen), atol=1e-4)


def test_the_sizes_are_those_of_the_papers():
    convolutions = [m for m in built("impala_x4").modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 15 and {m.out_channels for m in convolutions} == {64, 128}
    count = sum(p.numel() for p in built("nature_cnn").encoder.parameters())
    assert count == (4 * 64 + 1) * 32 + (32 * 16 + 1) * 64 + (64 * 9 + 1) * 64
    assert built("nature_cnn").head[0].weight.shape == (512, 3136)
    assert built("impala_x4").head[0].weight.shape == (2048, 128 * 11 * 11)


def test_a_dueling_head_has_its_value_as_the_mean():
    model = built("mini_dqn", actions=3)
    seen = torch.rand(5, 4, 10, 10)
    said = model.head(model.encoder(seen))
    assert torch.allclose(model(seen).mean(1), said[:, 0], atol=1e-6)
    assert torch.allclose(model(seen)[:, 1] - model(seen)[:, 0], said[:, 2] - said[:, 1], atol=1e-6)


def test_streams_have_a_hidden_layer_each_and_pass_less_gradient_on():
    one, two = built("mini_dqn", actions=3), built("mini_dqn", actions=3, streams=True)
    assert [head[0].weight.shape for head in two.head] == [(64, 1024)] * 2
    with torch.no_grad():  # equal hidden layers, and each stream its part of the last one
        two.head[0][0].weight.copy_(one.head[0].weight)
        two.head[1][0].weight.copy_(one.head[0].weight)
        for head, (start, end) in zip(two.head, ((0, 1), (1, 4)), strict=True):
            head[0].bias.copy_(one.head[0].bias)
            head[2].weight.copy_(one.head[2].weight[start:end])
            head[2].bias.copy_(one.head[2].bias[start:end])
    features = [torch.rand(5, 1024, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in range(2)]
    said = [model.from_features(f) for model, f in zip((one, two), features, strict=True)]
    assert torch.allclose(*said, atol=1e-6)
    for values in said:
        values[:, 1].sum().backward()
    assert torch.allclose(features[1].grad, features[0].grad / 2**0.5, atol=1e-6)


def test_bbf_begins_as_over_there():
    model = built("impala_x4", ssl=True)
    drawn = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    for name, p in drawn.items():
        area = p[0, 0].numel()
        bound = (6 / (area * (p.shape[0] + p.shape[1]))) ** 0.5  # Glorot & Bengio 2010, equation 16
        assert 0.98 * bound < p.abs().max() <= bound, name
    assert all((p == 0).all() for p in model.parameters() if p.ndim == 1)


def test_parts_of_a_batch_are_encoded_alike():
    model, seen = built("impala_x4"), torch.rand(9, 4, 84, 84)
    with torch.no_grad():
        by_parts = model.encoder(seen)
    assert torch.allclose(by_parts, model.encoder(seen), atol=1e-5) and by_parts.shape == (9, 128 * 11 * 11)


def test_the_predictor_is_part_of_the_head_but_not_of_the_values():
    model, seen = built("impala_x4", ssl=True), torch.rand(1, 4, 84, 84)
    before = model(seen)
    with torch.no_grad():
        model.head.predictor.weight.zero_()
    assert torch.equal(model(seen), before) and "predictor.weight" in model.head.state_dict()


def test_noise_is_factorised_and_can_be_left_out():
    layer = NoisyLinear(3, 2, 0.5)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.zero_()
    assert (layer.weight_noise == 0.5 / 3**0.5).all() and (layer.bias_noise == 0.5 / 3**0.5).all()
    ones = torch.eye(3)
    torch.manual_seed(0)
    before, behind = torch.randn(3), torch.randn(2)
    torch.manual_seed(0)
    noisy = layer(ones)
    f = [x.sign() * x.abs().sqrt() for x in (before, behind)]
    by_hand = 1 + 0.5 / 3**0.5 * (f[0][:, None] * f[1] + f[1])
    assert torch.allclose(noisy, by_hand, atol=1e-6)
    with quiet(layer):
        assert (layer(ones) == 1).all()
    assert not torch.equal(layer(ones), layer(ones))


def test_scaled_is_from_0_to_1_for_each_item():
    values = torch.tensor([[[1.0, 3.0]], [[-2.0, 2.0]]])
    assert torch.allclose(scaled(values), torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]]), atol=1e-4)


def test_features_are_predicted_action_by_action():
    model = built("impala_x4", ssl=True)
    features = model.encoder(torch.rand(2, 4, 84, 84))
    with torch.no_grad():
        found = model.predicted(features, torch.tensor([[0, 1, 2], [3, 1, 2]]))
        first = model.predicted(features, torch.tensor([[0], [3]]))
        other = model.predicted(features, torch.tensor([[0], [4]]))
    assert found.shape == (2, 3, 2048) and torch.allclose(found[:, :1], first, atol=1e-5)
    assert torch.allclose(first[0], other[0], atol=1e-6) and not torch.allclose(first[1], other[1])
