"""What competes in networks that are not the paper's: either right, or refused by name with nothing changed."""

import copy
import math

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrizations, prune

from plasticity import reinitialize
from plasticity.reinit import NothingToReset


def state(model):
    tensors = (*model.named_parameters(), *model.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in tensors if not is_lazy(tensor)}


def refusal(model, case="10M", **options) -> str:
    """The message of the ValueError that `reinitialize` raises, having changed nothing."""
    before = state(model)
    with pytest.raises(ValueError) as caught:
        reinitialize(model, case, **options)
    assert all(torch.equal(now, before[name]) for name, now in state(model).items())
    return str(caught.value)


def names(report, kind=None):
    return {change.name for change in report.tensors if kind in (None, change.kind)}


# --- frozen -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("reading", ["code", "text"])
@pytest.mark.parametrize("case", ["10N", "biases", "base"])
def test_frozen_parameters_stay_and_are_named(case, reading):
    model = nn.Sequential(nn.Linear(10, 10), nn.BatchNorm1d(10), nn.Linear(10, 10))
    model[0].requires_grad_(False)
    before = copy.deepcopy(model[0].state_dict())
    report = reinitialize(model, case, reading=reading)
    assert all(torch.equal(value, before[name]) for name, value in model[0].state_dict().items())
    assert report.frozen == ("0.weight", "0.bias") and not names(report) & set(report.frozen)
    assert "0.weight" in str(report) and "frozen" in str(report)


def test_where_all_is_frozen_nothing_can_be_reset():
    model = nn.Linear(10, 10).requires_grad_(False)
    with pytest.raises(NothingToReset, match="frozen .*: weight, bias"):
        reinitialize(model)


def test_a_weight_that_is_trained_under_another_name_is_not_frozen():
    tied = nn.ModuleDict({"a": nn.Linear(10, 10, bias=False), "b": nn.Linear(10, 10, bias=False)})
    tied["b"].weight = nn.Parameter(tied["a"].weight.detach())
    tied["a"].requires_grad_(False)
    report = reinitialize(tied)
    assert report.reset == 10 and not report.frozen


# --- a parameter that is not the weight -------------------------------------------------------------------------------
class Cosine(nn.Linear):
    def forward(self, inputs):
        return nn.functional.linear(nn.functional.normalize(inputs), nn.functional.normalize(self.weight))


class Masked(nn.Linear):
    def forward(self, inputs):
        return nn.functional.linear(inputs, self.weight * torch.ones_like(self.weight).tril(), self.bias)


class Scaled(nn.Linear):
    def forward(self, inputs):
        return 0.5 * super().forward(inputs)


def pruned(name):
    layer = nn.Linear(20, 10)
    prune.l1_unstructured(layer, name, 0.5)
    return layer


REPARAMETRISED = {
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(20, 10)),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(20, 10)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(20, 10)),
    "old weight_norm": lambda: nn.utils.weight_norm(nn.Linear(20, 10)),
    "old spectral_norm": lambda: nn.utils.spectral_norm(nn.Linear(20, 10)),
    "pruned": lambda: pruned("weight"),
    "pruned bias": lambda: pruned("bias"),
    "standardised": lambda: timm.layers.ScaledStdConv2d(4, 8, 3),
    "cosine": lambda: Cosine(20, 10),
    "masked": lambda: Masked(20, 10),
}


@pytest.mark.parametrize("kind", REPARAMETRISED)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_a_parameter_that_its_layer_makes_the_weight_from_is_refused_by_name(kind):
    model = nn.Sequential(nn.Linear(20, 20), REPARAMETRISED[kind]())
    assert "'1." in refusal(model) and "exclude=" in refusal(model, "10R")
    report = reinitialize(model, exclude="1")  # as the message says
    assert report.reset == 42 and names(report) == {"0.weight", "0.bias"}


@pytest.mark.parametrize("layer", [Scaled(10, 10), timm.layers.Conv2dSame(4, 5, (5, 1), stride=2, groups=1)])
def test_a_forward_of_its_own_is_no_reason_to_refuse(layer):
    assert reinitialize(layer, biases="keep").reset == 10


def test_initialisers_that_do_not_reach_the_parameter():
    class Half(nn.Linear):
        def reset_parameters(self):
            nn.init.normal_(self.weight[:5])

    class Fails(nn.Linear):
        made = False

        def reset_parameters(self):
            assert not self.made, "once is enough"
            super().reset_parameters()

    class Composite(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.inner = nn.Parameter(torch.randn(10, 10)), nn.Linear(10, 10)

        def reset_parameters(self):
            self.inner.reset_parameters()

    half, fails, composite = (nn.Sequential(nn.Linear(10, 10), c) for c in (Half(10, 10), Fails(10, 10), Composite()))
    fails[1].made = True
    assert "'1.weight'" in refusal(half, "10R") and "does not set it" in refusal(half, "10RM")
    assert "'1.weight'" in refusal(fails, "10R") and "once is enough" in refusal(fails, "10R")
    assert "'1.scale'" in refusal(composite, "10R") and reinitialize(composite, "10R", exclude="1.scale").reset


# --- biases and gains -------------------------------------------------------------------------------------------------
def test_only_the_last_name_makes_a_bias():
    model = nn.ModuleDict({"unbiased_head": nn.Linear(10, 10), "debias": nn.Sequential(nn.LayerNorm(10))})
    model["attention"] = nn.MultiheadAttention(8, 2, add_bias_kv=True)
    model["rnn"] = nn.GRU(4, 4)
    model["table"] = nn.ParameterDict({"relative_position_bias_table": torch.randn(9, 3), "dt_bias": torch.randn(5)})
    model["table"]["logit_bias"] = nn.Parameter(torch.tensor(-10.0))
    report = reinitialize(model, reading="text")
    biases = {"unbiased_head.bias", "debias.0.bias", "rnn.bias_ih_l0", "rnn.bias_hh_l0"}
    assert names(report, "bias") == biases | {"attention.in_proj_bias", "attention.out_proj.bias"}
    weights = names(report, "weight")
    assert {"unbiased_head.weight", "attention.bias_k", "table.relative_position_bias_table"} <= weights
    assert not {"table.dt_bias", "table.logit_bias", "debias.0.weight"} & names(report)
    assert model["table"]["logit_bias"] == -10 and model["table"]["dt_bias"].all()


def test_position_tables_of_a_swin_survive_the_base_case_of_the_text():
    model = torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [2, 2], num_classes=3)
    table = model.features[1][0].attn.relative_position_bias_table
    before = table.detach().clone()
    reinitialize(model, "base", reading="text")
    assert torch.equal(table, before)
    reinitialize(model, "10Z")
    assert (table == 0).sum() == math.floor(0.1 * table.numel())


class RMSNorm2d(nn.Module):  # as libraries write their own
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(8, 1, 1)), nn.Parameter(torch.rand(8, 1, 1))


@pytest.mark.parametrize("norm", [nn.LayerNorm((8, 4, 4)), RMSNorm2d()])
def test_gains_of_norm_layers_stay_whatever_their_shape(norm):
    nn.init.uniform_(norm.weight, 0.5, 2)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), norm)
    gain = norm.weight.detach().clone()
    assert names(reinitialize(model, "10N", reading="text"), "bias") == {"0.bias", "1.bias"}
    assert torch.equal(norm.weight, gain) and not norm.bias.any()
    assert "1.weight" in names(reinitialize(model, "50N", include="1.weight"))
    assert not torch.equal(norm.weight, gain)


def test_gains_outside_norm_layers_compete_and_the_help_says_so():
    model = nn.Sequential(torchvision.models.convnext.CNBlock(8, 0.1, 0.0))
    assert "0.layer_scale" in names(reinitialize(model, "50M"))
    assert "layer_scale, logit_scale, temperature" in reinitialize.__doc__


# --- entries that stay, entries that are shared -----------------------------------------------------------------------
@pytest.mark.parametrize("case", ["25M", "25MN", "25NS", "25N", "25Z", "25R", "25RM", "100N"])
@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_padding_rows_stay_and_do_not_compete(case, scope):
    model = nn.Sequential(nn.Embedding(5, 8, padding_idx=-1), nn.Embedding(5, 8))
    nn.init.constant_(model[0].weight[4].data, 0.0)
    with torch.no_grad():
        model[0].weight[:4] += 5
    before = model[0].weight.detach().clone()
    report = reinitialize(model, case, scope=scope)
    assert not model[0].weight[4].any() and [change.size for change in report.tensors] == [32, 40]
    if scope == "tensor" and case == "25M":  # the mean is that of the rows in use
        gone = before != model[0].weight
        assert gone.sum() == 8 and torch.allclose(model[0].weight[gone], before[:4].mean())


def test_the_padding_row_of_an_embedding_that_is_not_derived_from_pytorchs():
    class QuantisedEmbedding(nn.Module):
        def __init__(self):
            super().__init__()
            self.padding_idx, self.weight = 1, nn.Parameter(torch.randn(5, 8))
            self.weight.data[1] = 0

    model = QuantisedEmbedding()
    report = reinitialize(model, "50N")
    assert report.reset == 16 and not model.weight[1].any()


def test_fresh_draws_never_come_from_the_padding_row():
    model = nn.Embedding(2, 50, padding_idx=0)
    reinitialize(model, "100R")
    assert model.weight[1].all()


def test_a_padding_row_stays_under_its_tied_name_with_its_moments():
    model = nn.ModuleDict({"head": nn.Linear(8, 5, bias=False), "embedding": nn.Embedding(5, 8, padding_idx=2)})
    model["embedding"].weight = model["head"].weight
    with torch.no_grad():
        model["embedding"].weight[2] = 0
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model["head"](torch.ones(1, 8)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        model["embedding"].weight[2] = 0
    reinitialize(model, "100N", optimizer=optimizer)
    moments = optimizer.state[model["head"].weight]["momentum_buffer"]
    assert not model["head"].weight[2].any() and moments[2].all() and not moments[[0, 1, 3, 4]].any()


def test_a_transposed_tie_counts_once():
    encoder, decoder = nn.Linear(4, 10, bias=False), nn.Linear(10, 4, bias=False)
    decoder.weight = nn.Parameter(encoder.weight.t())
    model, before = nn.Sequential(encoder, decoder), encoder.weight.detach().clone()
    report = reinitialize(model, "25N")
    assert names(report) == {"0.weight"} and (encoder.weight != before).sum() == 10
    assert torch.equal(decoder.weight, encoder.weight.t())
    assert "resets nothing" in refusal(model, exclude="1")


def test_weights_that_share_some_of_their_entries_are_refused():
    first, second = nn.Linear(10, 10, bias=False), nn.Linear(10, 6, bias=False)
    second.weight = nn.Parameter(first.weight.detach()[4:])
    assert "'0.weight' and '1.weight'" in refusal(nn.Sequential(first, second))
    buffer = torch.randn(20, 10)  # and those that only lie side by side are not
    first.weight, second.weight = nn.Parameter(buffer[:10]), nn.Parameter(buffer[10:])
    assert reinitialize(nn.Sequential(first, second)).reset == 20


# --- what can't be judged or written ----------------------------------------------------------------------------------
class Wrapped(torch.Tensor):
    """A tensor that is not what it seems, as distributed and quantised tensors are."""


def odd(make):
    """A model whose second layer has the odd weight."""
    layer = nn.Linear(10, 10, bias=False)
    layer.weight = make(layer.weight.detach())
    return nn.Sequential(nn.Linear(10, 10), layer)


def frozen(values):
    return nn.Parameter(values, requires_grad=False)


@torch.inference_mode()
def inference():
    return nn.Parameter(torch.randn(10, 10))


UNUSUAL = {
    "meta": lambda w: nn.Parameter(w.to("meta")),
    "float8": lambda w: frozen(w.to(torch.float8_e4m3fn)),
    "int8": lambda w: frozen((100 * w).to(torch.int8)),
    "complex": lambda w: nn.Parameter(w.to(torch.complex64)),
    "sparse": lambda w: nn.Parameter(w.to_sparse()),
    "compressed": lambda w: nn.Parameter(w.to_sparse_csr()),
    "subclass": lambda w: nn.Parameter(w.as_subclass(Wrapped)),
    "expanded": lambda w: nn.Parameter(w[:1].expand(10, 10)),
    "inference": lambda w: inference(),
}


@pytest.mark.parametrize("kind", UNUSUAL)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_unusual_tensors_are_refused_by_name(kind):
    model = odd(UNUSUAL[kind])
    before = model[0].weight.detach().clone()
    with pytest.raises(ValueError, match=r"'1.weight'.*exclude='1.weight'"):
        reinitialize(model, "10N")
    assert torch.equal(model[0].weight, before)
    assert reinitialize(model, "10N", exclude="1.weight").reset == 11


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_usual_dtypes_are_reset(dtype):
    assert reinitialize(nn.Linear(10, 10).to(dtype), "10N").reset == 11


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated")
def test_layers_without_weights_to_see_are_refused():
    assert "'1.weight' has no shape yet" in refusal(nn.Sequential(nn.Linear(10, 10), nn.LazyLinear(4)))
    assert "model=dict must be" in refusal_of_no_model({"weight": torch.ones(10, 10)})
    assert "TorchScript" in refusal(torch.jit.trace(nn.Linear(10, 10), torch.ones(1, 10)))
    packed = nn.Linear(10, 10)
    packed.register_buffer("qweight", torch.ones(10, 2, dtype=torch.int32))  # as GPTQ and AWQ have it
    assert "'1' (Linear) is quantised" in refusal(nn.Sequential(nn.Linear(10, 10), packed))


@pytest.mark.slow  # some four seconds of imports
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch was built without torch.distributed")
def test_a_tensor_that_is_spread_over_machines_is_refused_and_a_copy_on_each_is_not():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import distribute_module

    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=torch.distributed.HashStore())
    try:
        model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10))
        distribute_module(model[1], init_device_mesh("cpu", (1,)))
        with pytest.raises(ValueError, match="'1.weight' is a DTensor"):
            reinitialize(model)
        assert reinitialize(nn.parallel.DistributedDataParallel(nn.Linear(10, 10))).reset == 11
    finally:
        torch.distributed.destroy_process_group()


def refusal_of_no_model(thing):
    with pytest.raises(ValueError) as caught:
        reinitialize(thing)
    return str(caught.value)


def test_another_default_device_changes_nothing():
    models = [nn.Linear(20, 10), nn.Linear(20, 10)]
    models[1].load_state_dict(models[0].state_dict())
    for case in ("10M", "10MN", "10N", "10R", "10RM", "10Z"):
        reinitialize(models[0], case, reading="text", generator=torch.Generator().manual_seed(1))
        with torch.device("meta"):
            reinitialize(models[1], case, reading="text", generator=torch.Generator().manual_seed(1))
        assert torch.equal(models[0].weight, models[1].weight)


def test_gradients_that_are_missing_are_named_and_sparse_ones_are_used():
    model = nn.Sequential(nn.Embedding(20, 8, sparse=True), nn.Flatten(), nn.Linear(16, 2), nn.Linear(2, 2))
    model[:3](torch.tensor([[1, 2], [3, 4]])).sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    options = {"utility": "gradient", "gradients": gradients}
    assert "'3.weight'" in refusal(model, **options)
    before = model[0].weight.detach().clone()
    reinitialize(model, "50N", exclude="3", **options)
    assert torch.equal(before[1:5], model[0].weight[1:5]), "the rows that had a gradient are the last to go"
