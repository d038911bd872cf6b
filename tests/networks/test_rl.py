"""The networks of games: shapes, dueling heads, distributions, noise."""

import pytest
import torch

from plasticity.networks import table as networks
from plasticity.networks.impala import scaled
from plasticity.networks.rl import NoisyLinear, quiet

SHAPES = {"mini_dqn": (4, 10, 10), "nature_cnn": (4, 84, 84), "impala_x4": (4, 84, 84)}


def built(name, seed=0, actions=6, **needs):
    return networks.build_for_game(name, 4, actions, seed, **needs)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("needs", [{}, {"atoms": 51, "v_max": 10.0}], ids=["values", "distributions"])
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
