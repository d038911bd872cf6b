"""CReLU and layer norms put into plain chains: shapes that fit, values by hand, networks refused with a reason."""

from functools import partial

import pytest
import torch
from helpers import PHASES, equal, fit, state_of
from torch import nn

from plasticity import train
from plasticity.methods.combined import Combined
from plasticity.methods.surgery import ConcatenatedReLU, CReLU, LayerNorm
from plasticity.networks import table as models


def mlp():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


def conv(norm=True):
    norms = [nn.BatchNorm2d(4)] if norm else []
    return nn.Sequential(nn.Conv2d(3, 4, 3), *norms, nn.ReLU(True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 2))


def test_concatenated_relu_of_some_numbers():
    x = torch.tensor([[1.0, -2.0, 0.0]])
    assert ConcatenatedReLU(-1)(x).tolist() == [[1.0, 0.0, 0.0, 0.0, 2.0, 0.0]]
    y = ConcatenatedReLU(1)(x.view(1, 3, 1, 1))
    assert y.shape == (1, 6, 1, 1) and y.flatten().tolist() == [1.0, 0.0, 0.0, 0.0, 2.0, 0.0]


def test_crelu_halves_each_hidden_layer_and_keeps_its_first_rows():
    model = mlp()
    before = state_of(model)
    CReLU("all").reshape(model, "")
    assert [tuple(p.shape) for p in model.parameters()] == [(2, 3), (2,), (3, 4), (3,), (2, 6), (2,)]
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name][: len(value)]), name
    x = torch.randn(5, 3)
    h = x @ before["0.weight"][:2].T + before["0.bias"][:2]
    h = torch.cat([h.relu(), (-h).relu()], 1) @ before["2.weight"][:3].T + before["2.bias"][:3]
    h = torch.cat([h.relu(), (-h).relu()], 1) @ before["4.weight"].T + before["4.bias"]
    assert torch.allclose(model(x), h, atol=1e-6)
    assert (model[0].out_features, model[2].out_features, model[4].out_features) == (2, 3, 2)


def test_crelu_halves_the_batch_norm_between_and_fits_a_flattened_consumer():
    model = conv()
    with torch.no_grad():
        model[1].running_mean.copy_(torch.arange(4.0))
    CReLU("all").reshape(model, "")
    assert model[0].weight.shape == (2, 3, 3, 3) and model[0].out_channels == 2 and model[1].num_features == 2
    assert model[1].running_mean.tolist() == [0, 1] and model[1].weight.shape == model[1].running_var.shape == (2,)
    x = torch.randn(2, 3, 6, 6)
    features = model[1].eval()(model[0](x))
    pooled = nn.functional.max_pool2d(torch.cat([features.relu(), (-features).relu()], 1), 2)
    assert torch.allclose(model.eval()(x), model[5](pooled.flatten(1)))


def test_crelu_halves_layer_and_group_norms():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 2))
    CReLU("all").reshape(model, "")
    assert model[1].normalized_shape == (2,) and model(torch.randn(5, 3)).shape == (5, 2)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 2, 1))
    CReLU("all").reshape(model, "")
    assert model[1].num_channels == 4 and model(torch.randn(5, 3, 4, 4)).shape == (5, 2, 2, 2)


def shared():
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(4, 2))


def tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model


def tied_by_a_view():
    model = mlp()
    model[4].weight = nn.Parameter(model[2].weight.detach().view(4, 6)[:2])
    return model


REFUSED = {
    "no ReLU": (lambda: nn.Sequential(nn.Linear(2, 2), nn.GELU(), nn.Linear(2, 2)), "Sequential has none"),
    "odd": (
        lambda: nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)),
        "even.*'2' has 5",
    ),
    "groups": (lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.ReLU()), "groups: layer '0' has 2"),
    "norm groups": (lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.GroupNorm(4, 4), nn.ReLU()), "norm layer after '0'"),
    "shared layer": (shared, "shared"),
    "tied weights": (tied, "shared"),
    "tied by a view": (tied_by_a_view, "shared"),
    "residual": (lambda: models.build("mini_resnet", 3, 0), "MiniResNet has none"),
    "transformer": (lambda: models.build("mini_vit", 3, 0), "VisionTransformer has none"),
}


@pytest.mark.parametrize("build, reason", REFUSED.values(), ids=REFUSED)
def test_crelu_refuses_with_a_reason_and_changes_nothing(build, reason):
    model = build()
    before, text = state_of(model), repr(model)
    with pytest.raises(ValueError, match=reason):
        CReLU("all").reshape(model, "")
    assert repr(model) == text and equal(before, model)


def test_layer_norm_goes_before_each_activation_and_no_layer_changes_its_name():
    model = mlp()
    before, names = (
        state_of(model),
        {n for n, _ in model.named_modules()},
    )
    LayerNorm().reshape(model, "")
    assert [type(m).__name__ for m in model] == ["Linear", "LayerNorm", "ReLU", "Linear", "LayerNorm", "ReLU", "Linear"]
    assert names <= {n for n, _ in model.named_modules()}
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    x = torch.randn(5, 3)
    hidden = x @ before["0.weight"].T + before["0.bias"]
    hidden = (hidden - hidden.mean(1, keepdim=True)) / (hidden.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(model[:3](x), hidden.relu(), atol=1e-5)


@pytest.mark.parametrize("norm", [True, False])
def test_layer_norm_after_a_convolution_is_over_channels_and_positions_and_replaces_a_batch_norm(norm):
    model = conv(norm)
    LayerNorm().reshape(model, "")
    assert [type(m).__name__ for m in model][:3] == ["Conv2d", "GroupNorm", "ReLU"]
    assert not any("running" in name for name in model.state_dict())
    x = torch.randn(2, 3, 6, 6)
    out = model[:2](x).flatten(1)
    assert torch.allclose(out.mean(1), torch.zeros(2), atol=1e-5)
    assert torch.allclose(out.std(1, unbiased=False), torch.ones(2), atol=1e-3)
    assert model(x).shape == (2, 2)


def test_a_relu_that_is_used_twice_gets_a_norm_at_each_place():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(3, 4), relu, nn.Linear(4, 6), relu, nn.Linear(6, 2))
    LayerNorm().reshape(model, "")
    assert [type(m).__name__ for m in model._modules.values()] == ["Linear", "LayerNorm", "ReLU"] * 2 + ["Linear"]
    assert model[4].normalized_shape == (6,) and model(torch.randn(5, 3)).shape == (5, 2)


@pytest.mark.parametrize("order", [(partial(CReLU, "all"), LayerNorm), (LayerNorm, partial(CReLU, "all"))])
def test_both_together_in_either_order(order):
    for build, x in ((mlp, torch.randn(5, 3)), (conv, torch.randn(5, 3, 6, 6))):
        model = build()
        method = Combined([kind() for kind in order])
        assert method.reshapes
        method.reshape(model, "")
        kinds = [type(m).__name__ for m in model]
        assert kinds[1] in ("LayerNorm", "GroupNorm") and kinds[2] == "ConcatenatedReLU" and model(x).shape == (5, 2)


def test_layer_norm_refuses_what_has_no_place_for_it():
    for name in ("mini_resnet", "mini_vit"):
        model = models.build(name, 3, 0)
        with pytest.raises(ValueError, match=f"layer_norm needs.*{type(model).__name__} has none"):
            LayerNorm().reshape(model, "")
    with pytest.raises(ValueError, match="layer norm yet"):
        LayerNorm().reshape(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.GELU()), "")


@pytest.mark.parametrize("method", [CReLU("all"), LayerNorm()])
def test_a_reshaped_network_trains_and_its_head_is_where_it_was(world, method):
    fitted = fit(PHASES, world, intervention=method).model
    fresh = models.build("mini_simplenet", 3, train.generator(0, "model").initial_seed())
    first, before = fitted.features[0].weight, fresh.features[0].weight
    assert fitted.classifier.weight.shape == fresh.classifier.weight.shape
    assert not torch.equal(first, before[: len(first)])
    smaller = sum(p.numel() for p in fitted.parameters()) < sum(p.numel() for p in fresh.parameters())
    assert smaller == isinstance(method, CReLU)
