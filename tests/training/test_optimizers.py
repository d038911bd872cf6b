"""What optimisers remember of single entries, and which of them can be made to forget."""

import pytest
import timm.optim
import torch
from torch import nn

from plasticity import reinitialize
from plasticity.training.optimizers import MOMENTS


def trained(make):
    """A layer and an optimiser that took three steps."""
    torch.manual_seed(0)
    model = nn.Linear(10, 10, bias=False)
    optimizer = make(model.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 10)).square().sum().backward()
        optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("name", MOMENTS)
def test_a_reset_entry_starts_without_memory(name):
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop", "Muon") else {}
    options |= {"centered": True} if name == "RMSprop" else {"amsgrad": True} if name in ("Adam", "AdamW") else {}
    model, optimizer = trained(lambda p: getattr(torch.optim, name)(p, lr=0.01, weight_decay=0.0, **options))
    kept = {key for key, value in optimizer.state[model.weight].items() if value.shape == model.weight.shape}
    assert kept == {moment for moment in MOMENTS[name] if moment in optimizer.state[model.weight]} and kept
    old = model.weight.detach().clone()
    report = reinitialize(model, "10N", optimizer=optimizer)
    gone = model.weight != old
    assert gone.sum() == report.reset == 10
    for moment in kept:
        value = optimizer.state[model.weight][moment]
        assert not value[gone].any() and value[~gone].all()
    new = model.weight.detach().clone()
    model.weight.grad = torch.zeros_like(model.weight)
    if name != "Muon":  # which mixes all entries of a matrix in each step
        optimizer.step()
        assert torch.equal(model.weight[gone], new[gone])


class Mine(torch.optim.SGD):
    """A subclass may keep more than its parent."""


OTHERS = {
    "Rprop": torch.optim.Rprop,
    "ASGD": torch.optim.ASGD,
    "Adafactor": torch.optim.Adafactor,
    "MADGRAD": lambda p: timm.optim.create_optimizer_v2([*p], "madgrad", lr=0.01, momentum=0.9),
    "Lookahead": lambda p: timm.optim.create_optimizer_v2([*p], "lookahead_sgd", lr=0.01, momentum=0.9),
    "Mine": lambda p: Mine(p, 0.1, momentum=0.9),
}


@pytest.mark.parametrize("name", OTHERS)
def test_an_optimizer_that_remembers_other_things_is_refused_by_name(name):
    model, optimizer = trained(OTHERS[name])
    before = model.weight.detach().clone()
    with pytest.raises(ValueError, match=f"optimizer={name}: .*allowed are torch.optim's SGD, Adam"):
        reinitialize(model, "10N", optimizer=optimizer)
    assert torch.equal(model.weight, before)


def test_what_is_no_optimizer_or_another_models_is_refused():
    model, optimizer = trained(torch.optim.Adam)
    before = model.weight.detach().clone()
    with pytest.raises(ValueError, match="optimizer=list"):
        reinitialize(model, "10N", optimizer=[optimizer])
    with pytest.raises(ValueError, match="optimizer=Adam trains no parameter"):
        reinitialize(model, "10N", optimizer=torch.optim.Adam(nn.Linear(10, 10).parameters()))
    assert torch.equal(model.weight, before)
