"""Layers that compute something else than their class says: what takes layers for plain ones refuses them by name."""

import pytest
import torch
from helpers import equal, pictures, prepared, state_of
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from plasticity.methods.registry import build
from plasticity.methods.units import find_units


class Standardised(nn.Conv2d):
    """Its weight's scale has no effect, as in timm's ScaledStdConv2d."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight / weight.std((1, 2, 3), keepdim=True), self.bias)


class Equalised(nn.Conv2d):
    """A learning rate equalised in the forward pass."""

    def forward(self, x):
        return F.conv2d(x, self.weight / 6, self.bias)


class Inside(nn.Conv2d):
    """The same in a method that the forward pass calls."""

    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight / 6, bias)


class Shown(nn.Conv2d):
    """A weight that is computed each time one asks for it."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.raw = nn.Parameter(self._parameters.pop("weight"))

    @property
    def weight(self):
        return self.raw.tanh()


class LowRank(nn.Conv2d):
    """An adapter beside the weight (LoRA), without effect at first."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.down, self.up = nn.Conv2d(4, 1, 3), nn.Conv2d(1, 6, 1)
        nn.init.zeros_(self.up.weight), nn.init.zeros_(self.up.bias)

    def forward(self, x):
        return super().forward(x) + self.up(self.down(x))


def plain():
    return nn.Conv2d(4, 6, 3)


def patched():
    layer = plain()
    original = layer.forward
    layer.forward = lambda x: original(x) / 6
    return layer


def hooked():
    layer = plain()
    layer.register_forward_hook(lambda module, inputs, output: output + 1)
    return layer


def hooked_before():
    layer = plain()
    layer.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
    return layer


def pruned():
    return prune.l1_unstructured(plain(), "weight", 0.5)


ODD = {  # a layer, why it is none of its class's, and whether its output grows as weight and bias do
    "standardised": (lambda: Standardised(4, 6, 3), "forward is not that of Conv2d", False),
    "equalised": (lambda: Equalised(4, 6, 3), "forward is not that of Conv2d", True),
    "equalised inside": (lambda: Inside(4, 6, 3), "_conv_forward is not that of Conv2d", True),
    "low rank": (lambda: LowRank(4, 6, 3), "forward is not that of Conv2d", False),
    "patched": (patched, "forward was replaced", False),
    "hook": (hooked, "a hook may change", True),
    "hook before": (hooked_before, "a hook may change", True),
    "property": (lambda: Shown(4, 6, 3), "weight is computed", False),
    "weight norm": (lambda: parametrizations.weight_norm(plain()), "weight is computed", False),
    "spectral norm": (lambda: parametrizations.spectral_norm(plain()), "weight is computed", False),
    "old spectral norm": (lambda: nn.utils.spectral_norm(plain()), "weight is computed", False),
    "pruned": (pruned, "weight is computed", False),
}
odd = pytest.mark.parametrize("kind", ODD)


def network(kind):
    torch.manual_seed(0)
    layer = ODD[kind][0]() if kind else plain()
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), layer, nn.ReLU(), nn.Conv2d(6, 2, 3), nn.ReLU(), nn.Flatten())


def images(count):
    return pictures(count, size=9)


def refuses(act, model, said):
    before, text = state_of(model), repr(model)
    with pytest.raises(ValueError, match=said):
        act()
    assert equal(before, model) and repr(model) == text


@odd
@pytest.mark.parametrize("case", ["redo", "continual_backprop"])
def test_its_units_are_none_and_recycling_is_refused_by_its_name_unless_it_is_frozen(kind, case):
    model = network(kind)
    assert len(find_units(network(None), images(2))) == 2 and find_units(model, images(2)) == []
    refuses(lambda: prepared(build(case), model, images=images), model, f"'2' .*{ODD[kind][1]}")
    model = nn.Sequential(*network(kind), nn.Linear(18, 4), nn.ReLU(), nn.Linear(4, 2))
    model[2].requires_grad_(False)
    assert len(prepared(build(case), model, images=images).units) == 2


@odd
@pytest.mark.parametrize("case", ["crelu(where=all)", "layer_norm"])
def test_surgery_beside_it_is_refused_by_its_name(kind, case):
    model = network(kind)
    refuses(lambda: build(case).reshape(model, ""), model, f"{case[:5]}.* '2' .*{ODD[kind][1]}")


@odd
@pytest.mark.parametrize("product", ["auto", "never"])
def test_soft_rescaling_refuses_it_where_its_weight_is_not_its_scale(kind, product):
    model, why = network(kind), ODD[kind][1].replace("forward is not that of Conv2d", "output does not grow as its")
    method = build(f"soft_rescaling(product={product})")
    if ODD[kind][2]:
        assert "2" in prepared(method, model, images=images).names
    else:
        refuses(lambda: prepared(method, model, images=images), model, f"'2' .*{why}")


class Centred(nn.LayerNorm):
    """A gain of 1 + w."""

    def forward(self, x):
        return F.layer_norm(x, self.normalized_shape, 1 + self.weight, self.bias)


def test_soft_rescaling_tries_norm_layers_without_the_activation_that_they_have():
    timm = pytest.importorskip("timm")
    model = nn.Sequential(nn.Conv2d(3, 4, 3), timm.layers.BatchNormAct2d(4, act_layer=nn.SiLU), nn.Flatten())
    assert prepared(build("soft_rescaling"), model, images=pictures).names == ["0", "1"]
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), Centred(4))
    refuses(lambda: prepared(build("soft_rescaling"), model, images=pictures), model, "layer '2' .Centred.: its output")


def test_the_old_weight_norm_and_a_lazy_layer_are_refused_by_name():
    with pytest.warns(FutureWarning):
        normed = nn.utils.weight_norm(plain())
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), normed, nn.ReLU(), nn.Conv2d(6, 2, 3))
    for case in ("redo", "soft_rescaling"):
        refuses(lambda case=case: prepared(build(case), model, images=images), model, "'2' .*weight is computed")
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
    with pytest.raises(ValueError, match="'1' .LazyLinear.: its weight has no shape"):
        prepared(build("soft_rescaling"), lazy, images=pictures, initial={})


def test_a_norm_layer_over_all_units_is_in_no_chain():
    def built(norm):
        return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.Conv2d(4, 2, 1))

    found = [len(find_units(built(norm), pictures(2))) for norm in (nn.BatchNorm2d(4), nn.GroupNorm(2, 4))]
    assert found == [1, 0], "renewing a unit would move what the others show"


def test_preparing_leaves_a_norm_layer_in_evaluation_there():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.Flatten()).train()
    model[1].eval()
    for case in ("redo", "soft_rescaling"):
        prepared(build(case), model, images=pictures)
    assert [module.training for module in model] == [True, False, True, True, True]
