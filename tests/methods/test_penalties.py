"""The penalties against values and gradients worked out by hand."""

import pytest
import torch
from helpers import fit, start_of
from torch import nn

from plasticity import train
from plasticity.methods.penalties import L2, L2SP, L2Init, SpectralDecoupling

LOGITS = torch.tensor([[1.0, -2.0], [3.0, 0.0]])


class Tiny(nn.Module):
    """A backbone of weight and bias, and a head; ``fcs`` belongs to the backbone, though its name begins as the
    head's."""

    def __init__(self):
        super().__init__()
        self.body, self.fc, self.fcs = nn.Linear(2, 2), nn.Linear(2, 1, bias=False), nn.Linear(1, 1, bias=False)
        self.set([[1.0, 2.0], [3.0, 4.0]], [5.0, 6.0], [[7.0, 8.0]], [[9.0]])

    def set(self, *values):
        with torch.no_grad():
            for parameter, value in zip(self.parameters(), values, strict=True):
                parameter.copy_(torch.tensor(value))

    def fill(self, value):
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.fill_(value)


def start(model, **fields):
    """A start from an initial network whose entries are all 0.5."""
    initial = {name: torch.full_like(value, 0.5) for name, value in model.state_dict().items()}
    return start_of(model, initial=initial, head="fc", **fields)


def prepared(method, model, **fields):
    method.prepare(model, start(model, **fields))
    return method


def gradients(model, penalty):
    model.zero_grad()
    penalty.backward()
    return {name: p.grad for name, p in model.named_parameters()}


def distance(model, anchor, names=lambda name: True):
    return sum((p.detach() - anchor[n]).square().sum() for n, p in model.named_parameters() if names(n)).sqrt().item()


# --- values and gradients ---------------------------------------------------------------------------------------------
def test_l2_by_hand():
    model = Tiny()
    penalty = prepared(L2(0.1), model).penalty(model, LOGITS, None)
    assert penalty.item() == pytest.approx(0.1 * sum(k * k for k in range(1, 10)))
    for name, gradient in gradients(model, penalty).items():
        assert torch.equal(gradient, 2 * 0.1 * model.get_parameter(name).detach())


def test_l2_init_pulls_every_parameter_to_its_initialisation():
    model = Tiny()
    method = prepared(L2Init(0.25), model)
    penalty = method.penalty(model, LOGITS, None)
    assert penalty.item() == pytest.approx(0.25 * sum((k - 0.5) ** 2 for k in range(1, 10)))
    for name, gradient in gradients(model, penalty).items():
        assert torch.equal(gradient, 2 * 0.25 * (model.get_parameter(name).detach() - 0.5)), name
    model.fill(0.5)
    penalty = method.penalty(model, LOGITS, None)
    assert penalty.item() == 0 and not any(g.any() for g in gradients(model, penalty).values()), "no NaN at the anchor"


def test_l2_init_goes_back_to_the_initialisation_in_every_phase():
    model = Tiny()
    method = prepared(L2Init(1.0), model)
    model.fill(2.0)
    method.prepare(model, start(model, phase=2))
    assert method.penalty(model, LOGITS, None).item() == pytest.approx(9 * 1.5**2)


def test_l2_init_neither_writes_nor_keeps_the_initial_state():
    model = Tiny()
    begin = start(model)
    (method := L2Init()).prepare(model, begin)
    method.penalty(model, LOGITS, None).backward()
    assert all((value == 0.5).all() for value in begin.initial.values())
    begin.initial["body.weight"].zero_()
    assert (method.anchors[0] == 0.5).all()


def test_the_gradient_is_exact_for_numbers_that_are_not_round():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Conv2d(5, 2, 1))
    model = model.to(memory_format=torch.channels_last)
    anchor = {name: torch.randn(value.shape) for name, value in model.state_dict().items()}  # in another memory layout
    method = L2Init(0.3)
    method.prepare(model, start_of(initial=anchor))
    assert method.anchors[0].stride() == model[0].weight.stride() != anchor["0.weight"].stride()
    gradients(model, method.penalty(model, LOGITS, None))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.grad, 2 * 0.3 * (parameter.detach() - anchor[name]))
    term = sum((p.detach() - anchor[n]).double().square().sum() for n, p in model.named_parameters())
    assert method.penalty(model, LOGITS, None).item() == pytest.approx(0.3 * term.item(), rel=1e-5)


def test_the_gradient_is_added_to_that_of_the_loss_and_scaled_with_it():
    model = Tiny()
    method = prepared(L2(0.1), model)
    loss = 2 * (model.body.weight.sum() + method.penalty(model, LOGITS, None))
    assert torch.allclose(gradients(model, loss)["body.weight"], 2 + 4 * 0.1 * model.body.weight.detach())


def test_several_steps_by_hand():
    """Plain SGD on the pull alone: each step shrinks the gap by 1 - 2 x lr x strength."""
    model = Tiny()
    method, optimizer = prepared(L2Init(0.5), model), torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(5):
        optimizer.zero_grad()
        method.penalty(model, LOGITS, None).backward()
        optimizer.step()
    assert model.fc.weight.tolist()[0] == pytest.approx([0.5 + 6.5 * 0.9**5, 0.5 + 7.5 * 0.9**5])


def test_l2_is_weight_decay_of_twice_its_strength_under_sgd():
    pulled, decayed = Tiny(), Tiny()
    method = prepared(L2(0.1), pulled)
    decays = {pulled: 0.0, decayed: 0.2}
    optimizers = [torch.optim.SGD(m.parameters(), 0.1, 0.9, weight_decay=decay) for m, decay in decays.items()]
    for _ in range(4):
        for model, optimizer in zip((pulled, decayed), optimizers, strict=True):
            optimizer.zero_grad()
            loss = sum(p.sum() for p in model.parameters())
            (loss + method.penalty(model, LOGITS, None) if model is pulled else loss).backward()
            optimizer.step()
    assert all(torch.allclose(p, q, rtol=1e-6) for p, q in zip(pulled.parameters(), decayed.parameters(), strict=True))
    assert not torch.allclose(pulled.body.weight, Tiny().body.weight, rtol=0.1)


@pytest.mark.parametrize("kind", [L2, L2Init, L2SP])
def test_what_is_not_trained_is_left_out(kind):
    model = Tiny()
    method = prepared(kind(), model)
    model.fill(3.0)
    whole = method.penalty(model, LOGITS, None).item()
    model.body.requires_grad_(False)  # after prepare, as by a later method of a combination
    part = method.penalty(model, LOGITS, None)
    found = gradients(model, part)
    assert part.item() < whole and found["body.weight"] is found["body.bias"] is None and found["fc.weight"].any()
    model.requires_grad_(False)
    assert method.penalty(model, LOGITS, None) is None


# --- L2-SP ------------------------------------------------------------------------------------------------------------
def test_l2_sp_pulls_the_backbone_back_and_the_head_to_zero():
    model = Tiny()
    method = prepared(L2SP(0.25, head_strength=0.5), model)
    assert method.penalty(model, LOGITS, None).item() == pytest.approx(0.5 * (49 + 64)), "the backbone has not moved"
    model.set([[2.0, 2.0], [3.0, 4.0]], [5.0, 4.0], [[1.0, 2.0]], [[12.0]])
    penalty = method.penalty(model, LOGITS, None)
    assert penalty.item() == pytest.approx(0.25 * (1 + 4 + 9) + 0.5 * (1 + 4))
    found = gradients(model, penalty)
    assert found["body.weight"].tolist() == [[0.5, 0.0], [0.0, 0.0]] and found["body.bias"].tolist() == [0.0, -1.0]
    assert found["fc.weight"].tolist() == [[1.0, 2.0]] and found["fcs.weight"].tolist() == [[1.5]]


def test_each_strength_of_l2_sp_alone():
    model = Tiny()
    head, backbone = prepared(L2SP(0.0, 1.0), model), prepared(L2SP(1.0, 0.0), model)
    model.set([[2.0, 2.0], [3.0, 4.0]], [5.0, 6.0], [[1.0, 2.0]], [[9.0]])
    assert head.penalty(model, LOGITS, None).item() == pytest.approx(5)
    assert backbone.penalty(model, LOGITS, None).item() == 1


def test_l2_sp_anchors_where_each_phase_begins_and_not_at_initialisation():
    model = Tiny()
    method = prepared(L2SP(1.0, 0.0), model, learned=False)
    assert method.penalty(model, LOGITS, None) is None and method.state_dict() == {"anchors": []}
    model.set([[2.0, 2.0], [3.0, 4.0]], [5.0, 6.0], [[7.0, 8.0]], [[9.0]])
    method.prepare(model, start(model, phase=2))
    assert method.penalty(model, LOGITS, None).item() == 0
    model.set([[2.0, 2.0], [3.0, 4.0]], [5.0, 9.0], [[7.0, 8.0]], [[9.0]])
    assert method.penalty(model, LOGITS, None).item() == 9


def test_l2_sp_takes_up_its_anchor():
    one, two = Tiny(), Tiny()
    two.fill(0.0)
    method, other = prepared(L2SP(1.0, 0.0), one), prepared(L2SP(1.0, 0.0), two)
    other.load_state_dict(method.state_dict())
    assert other.penalty(two, LOGITS, None).item() == pytest.approx(sum(k * k for k in (1, 2, 3, 4, 5, 6, 9)))
    one.fill(0.0)
    assert method.anchors[0].tolist() == [[1.0, 2.0], [3.0, 4.0]], "a copy"


# --- the logits -------------------------------------------------------------------------------------------------------
def test_spectral_decoupling_by_hand():
    logits = LOGITS.clone().requires_grad_()
    penalty = SpectralDecoupling(0.5).penalty(None, logits, None)
    assert penalty.item() == 0.25 * ((1 + 4) + 9) / 2
    penalty.backward()
    assert torch.equal(logits.grad, 0.5 * LOGITS / 2)


# --- through fit ------------------------------------------------------------------------------------------------------


def test_a_strong_pull_keeps_the_network_near_its_anchor(world, tiny_run):
    run = tiny_run()  # pretrained
    path = world / "mini_resnet.pt"
    _, initial, _ = train.build(run, world, weights=path)
    pretrained = torch.load(path)

    def backbone(name):
        return not name.startswith("fc.")

    plain, anchored, renewed, small = (
        fit(run, world, intervention=method).model for method in (None, L2SP(2.0, 2.0), L2Init(2.0), L2(2.0))
    )
    assert distance(anchored, pretrained, backbone) < 0.5 * distance(plain, pretrained, backbone)
    assert anchored.fc.weight.norm() < 0.5 * plain.fc.weight.norm(), "the head is pulled to zero"
    assert distance(renewed, initial) < 0.5 * distance(plain, initial), "to initialisation, not the pretrained weights"
    assert distance(small, initial, backbone) > distance(renewed, initial, backbone)
    zero = {name: torch.zeros_like(value) for name, value in initial.items()}
    assert distance(small, zero) < 0.5 * distance(plain, zero)
