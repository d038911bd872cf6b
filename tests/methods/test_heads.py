"""The head of VGG is the whole classifier after the encoder (H&T 3.4), for everything that takes a head."""

from dataclasses import replace

import pytest
import torch
from helpers import PHASES, equal, fit, start_of, state_of
from torch import nn

from plasticity import train
from plasticity.methods.registry import build
from plasticity.networks import table as networks
from plasticity.networks.initialisers import redraw
from plasticity.training.measures import measure

VGG = replace(PHASES, architecture="mini_vgg", lr=0.01)
LINEAR = {f"classifier.{i}.{kind}" for i in (0, 2, 4) for kind in ("weight", "bias")}


@pytest.fixture(scope="module")
def weights(world, tmp_path_factory):
    """Weights of mini_vgg in which no tensor is as any new network has it."""
    state = {name: value + 3 for name, value in networks.build("mini_vgg", 9, seed=99).state_dict().items()}
    torch.save(state, path := tmp_path_factory.mktemp("weights") / "mini_vgg.pt")
    return path


@pytest.mark.parametrize(
    "name, classes, head, total",
    [  # by hand: 2048 x 1024 + 1024 + 1024 x 1024 + 1024 + 1024 x 200 + 200, and the same with 192, 64, 64, 40
        ("vgg16", 200, 3_352_776, 18_075_912),  # 18.5%: "18%", H&T 3.4
        ("mini_vgg", 40, 19_112, 58_784),  # 32.5%
        ("mlp", 10, 1_010, 89_610),
        ("resnet18", 10, 5_130, 11_173_962),
    ],
)
def test_the_heads_share_of_the_parameters(name, classes, head, total):
    arch = networks.architecture(name)
    with torch.device("meta"):
        model = arch.build(classes)
    counts = [sum(p.numel() for p in part.parameters()) for part in (model.get_submodule(arch.head), model)]
    assert counts == [head, total]
    if arch.family == "vgg":
        assert list(model.children()) == [model.features, model.get_submodule(arch.head)]


def test_build_draws_each_layer_of_the_head_anew_and_nothing_else():
    torch.manual_seed(4)
    plain = state_of(networks.architecture("mini_vgg").build(5))
    built = networks.build("mini_vgg", 5, seed=4).state_dict()
    assert {name for name, value in built.items() if not torch.equal(value, plain[name])} == LINEAR
    for i, fan_in in ((0, 192), (2, 64), (4, 64)):
        assert 0.9 < built[f"classifier.{i}.weight"].abs().max() * fan_in**0.5 <= 1


def test_a_head_may_be_one_layer_many_or_norms():
    head = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU(), nn.Sequential(nn.Linear(2, 2)))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.fill_(7)
    redraw(head)
    assert not any((parameter == 7).any() for parameter in head.parameters())


@pytest.mark.parametrize("case, moved", [("base", set()), ("other_head", LINEAR), ("10M + other_head", LINEAR)])
def test_pretrained_weights_replace_all_but_the_classifier(world, weights, case, moved):
    run = replace(VGG, weights="source", scenario="transfer", validation=0.2)
    model, initial, _ = train.build(run, world, build(case), weights)
    fresh, state = train.build(run, world, build("base"), weights)[1], torch.load(weights)
    assert {name for name, value in initial.items() if not torch.equal(value, fresh[name])} == moved
    for name, value in model.state_dict().items():
        assert torch.equal(value, (initial if name in LINEAR else state)[name]), name


def trained(case, **fields):
    """A miniature VGG of which each tensor has moved by 1, and the same after the method's preparation."""
    model = networks.build("mini_vgg", 3, seed=0)
    initial = state_of(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    before, method = state_of(model), build(case)
    method.prepare(model, start_of(model, initial=initial, head="classifier", **fields))
    return model, method, initial, before


@pytest.mark.parametrize("case", ["head_reset", "frozen_head"])
def test_the_whole_classifier_goes_back_and_nothing_else(case):
    model, _, initial, before = trained(case)
    for name, value in model.state_dict().items():
        assert torch.equal(value, (initial if name in LINEAR else before)[name]), name
    assert all(p.requires_grad == (case == "head_reset" or name not in LINEAR) for name, p in model.named_parameters())


def test_probing_trains_the_classifier_alone():
    model, _, _, before = trained("head_only")
    assert {name for name, p in model.named_parameters() if p.requires_grad} == LINEAR and equal(before, model)
    assert not any(m.training for m in model.train().modules() if isinstance(m, nn.BatchNorm2d))


def test_l2_sp_pulls_the_classifier_to_zero_and_the_rest_to_its_beginning():
    model, method, *_ = trained("l2_sp(strength=1, head_strength=1)")
    squares = sum(p.detach().double().square().sum() for p in model.classifier.parameters())
    assert method.penalty(model, None, None).item() == pytest.approx(squares.item(), rel=1e-5)


def test_a_reset_without_the_head_leaves_the_classifier(world):
    method = replace(VGG, case="10M", tensors="no_head").intervention()
    model = networks.build("mini_vgg", 3, seed=0)
    names = {row["name"] for row in method.prepare(model, start_of(model, head="classifier"))}
    assert names and not names & LINEAR


def test_features_are_what_the_classifier_takes():
    model = networks.build("mini_vgg", 3, seed=0)
    images = torch.rand(32, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = measure(model, images, torch.arange(32) % 3, model.state_dict(), networks.architecture("mini_vgg").head)
    with torch.no_grad():
        features = model.eval().features(images)
    assert features.shape == (32, 192) and 0 < found["zero_activation"] == (features == 0).double().mean().item()


# --- crelu ------------------------------------------------------------------------------------------------------------
def test_crelu_takes_the_relus_of_the_head_alone(world):
    fitted = fit(VGG, world, intervention=build("crelu")).model
    fresh = networks.build("mini_vgg", 3, train.generator(0, "model").initial_seed())
    assert repr(fitted.features) == repr(fresh.features)
    shapes = [tuple(fitted.classifier[i].weight.shape) for i in (0, 2, 4)]
    assert shapes == [(32, 192), (32, 64), (3, 64)]
    assert [type(module).__name__ for module in fitted.classifier][1::2] == ["ConcatenatedReLU"] * 2


@pytest.mark.parametrize("name, halved", [("mini_vgg", 7), ("mini_mlp", 2), ("mini_mlp_bn", 2)])
def test_crelu_takes_all_relus_if_asked(name, halved):
    model = networks.build(name, 3, seed=0)
    build("crelu(where=all)").reshape(model, networks.architecture(name).head)
    assert repr(model).count("ConcatenatedReLU") == halved and " ReLU(" not in repr(model)


@pytest.mark.parametrize("name", ["mini_mlp", "mini_resnet18", "mini_vit_tiny", "mini_simplenet"])
def test_crelu_refuses_a_head_without_relus_and_says_what_to_do(name):
    model, head = networks.build(name, 3, seed=0), networks.architecture(name).head
    before, text = state_of(model), repr(model)
    with pytest.raises(ValueError, match=rf"the head '{head}' of {type(model).__name__} has none; crelu\(where=all\)"):
        build("crelu").reshape(model, head)
    assert repr(model) == text and equal(before, model)
