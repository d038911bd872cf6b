"""Other people's networks: re-initialised rightly or refused by name, as a judge says that shares no code with us.

``python benchmarks/any_network.py`` does this for one network of every module of three libraries.
"""

import pytest
import timm
import torch
import torchvision
from judge import FAULT, REFUSED, RIGHT, groups, judge, refusable
from timm.models import mlp_mixer
from torch import nn

from plasticity import reinitialize

torch.set_num_threads(1)
CASES = (("10M", "code"), ("10R", "code"), ("10M", "text"))
PLAIN, NO_R, NONE = (RIGHT, RIGHT, RIGHT), (RIGHT, REFUSED, RIGHT), (REFUSED, REFUSED, REFUSED)


def small(name, **options):
    return lambda: timm.create_model(name, num_classes=10, **options)


def affine():
    """ResMLP, whose norm layers have no statistics and keep their gains in three dimensions."""
    parts = dict(block_layer=mlp_mixer.ResBlock, norm_layer=mlp_mixer.Affine)
    return mlp_mixer.MlpMixer(
        num_classes=10, img_size=32, patch_size=8, num_blocks=1, embed_dim=16, mlp_ratio=4, **parts
    )


def quantised():
    return torchvision.models.quantization.mobilenet_v2(weights=None, quantize=True)


NETWORKS = {
    "relative position tables": (
        small("swin_tiny_patch4_window7_224", embed_dim=24, depths=(1, 1), num_heads=(1, 2), img_size=56),
        PLAIN,
    ),
    "attention biases of two dimensions": (
        small("levit_128s", embed_dim=(16, 16, 16), num_heads=(2, 2, 2), depth=(1, 1, 1)),
        PLAIN,
    ),
    "class token": (small("test_vit"), NO_R),
    "query and value biases": (small("beit_base_patch16_224", embed_dim=24, depth=1, num_heads=2, img_size=32), NO_R),
    "temperatures": (small("xcit_nano_12_p16_224", embed_dim=32, depth=1, img_size=32), NO_R),
    "affine layers": (affine, NO_R),
    "weight standardisation": (small("test_nfnet"), NONE),
    "batch norm": (small("test_resnet"), PLAIN),
    "squeeze and excitation": (small("test_efficientnet"), PLAIN),
    "quantised": (quantised, NONE),
}
SMALL = dict(vocab_size=60, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
T5 = dict(vocab_size=60, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
BART = dict(vocab_size=60, d_model=16, max_position_embeddings=32) | {
    f"{part}_{what}": n
    for part in ("encoder", "decoder")
    for what, n in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 16))
}
WAV2VEC2 = (
    SMALL
    | dict(conv_dim=(16, 16), conv_stride=(5, 2), conv_kernel=(10, 3), num_conv_pos_embeddings=16)
    | dict(num_conv_pos_embedding_groups=2)
)
MAMBA2 = dict(vocab_size=60, hidden_size=16, num_heads=4, head_dim=8, state_size=8, n_groups=1, num_hidden_layers=1)
VIT = {k: v for k, v in SMALL.items() if k != "vocab_size"} | dict(image_size=16, patch_size=8)
MAE = VIT | dict(decoder_hidden_size=16, decoder_num_attention_heads=2, decoder_num_hidden_layers=1)
XLNET = dict(vocab_size=60, d_model=16, n_layer=1, n_head=2, d_inner=16)
TRANSFORMERS = {
    "T5": (T5, PLAIN),
    "Bart": (BART, PLAIN),
    "Bert": (SMALL, PLAIN),
    "Wav2Vec2": (WAV2VEC2, NONE),
    "Mamba2": (MAMBA2, PLAIN),
    "ViTMAE": (MAE, NO_R),
    "ConvNextV2": (dict(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2), NO_R),
    "XLNet": (XLNET, NO_R),
}


def transformer(name):
    """A base model of transformers, tiny and with random weights."""
    pytest.importorskip("transformers")
    import transformers

    return getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**TRANSFORMERS[name][0]))


def check(model, verdicts):
    """The verdicts, one a case, on the network as it is and, where it is refused, without what is refused."""
    for (case, reading), right in zip(CASES, verdicts, strict=True):
        verdict, why = judge(model, case, reading)
        assert verdict == right, f"{case} {reading}: {why}"
        rest = refusable(model, case)
        if right == REFUSED and any(group.competes and group.names[0] not in rest for group in groups(model)):
            assert judge(model, case, reading, exclude=rest) == (RIGHT, "")
    for at, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(at % 4 > 1)
    verdict, why = judge(model, "10M", "text")
    assert verdict in (RIGHT, verdicts[2]), why


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torchvision.*")
@pytest.mark.filterwarnings("ignore::UserWarning:torch.ao.*")
@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_of_timm_or_torchvision(network):
    make, verdicts = NETWORKS[network]
    check(make(), verdicts)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_network_of_transformers(name):
    check(transformer(name), TRANSFORMERS[name][1])


# --- the judge finds what is wrong ------------------------------------------------------------------------------------
def net():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Embedding(20, 8, padding_idx=1), nn.Linear(8, 40), nn.LayerNorm(40), nn.Linear(40, 30))
    return made.append(nn.BatchNorm1d(30)).append(nn.Linear(30, 30).requires_grad_(False))


def one_too_many(model):
    model[1].weight.view(-1)[model[1].weight.abs().argmax()] += 1


def padding(model):
    model[0].weight[1] += 1


def gain(model):
    model[2].weight[0] += 1


def buffer(model):
    model[4].running_mean[0] += 1


def frozen(model):
    model[5].weight[0, 0] += 1


def sign_of_zero(model):
    model[2].bias[-1] = -0.0


def untied(model):
    model[1].weight = nn.Parameter(model[1].weight.clone())


def thawed(model):
    model[5].weight.requires_grad_(True)


def stream(model):
    torch.rand(1)


@torch.no_grad()
def near(model):
    model[3].weight[(model[3].weight == model[3].weight.flatten().mode().values)] *= 1.01


SPOILED = (one_too_many, padding, gain, buffer, frozen, sign_of_zero, untied, thawed, stream, near)


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_the_judge_finds_what_else_was_changed(spoil):
    def act(model, *args, **options):
        report = reinitialize(model, *args, **options)
        with torch.no_grad():
            spoil(model)
        return report

    assert judge(net())[0] == RIGHT
    assert judge(net(), act=act)[0] == FAULT


def test_the_judge_tells_an_initialiser_from_another_and_from_old_values():
    def permuted(model, *args, **options):
        weight = model[3].weight
        report = reinitialize(model, "10M", **options)  # of which only the report is used
        with torch.no_grad():
            changed = weight == weight.flatten().mode().values
            weight[changed] = weight[~changed][: int(changed.sum())]
        return report

    def normal(model, case, **options):
        return reinitialize(model, "10N", **options)

    assert judge(net(), "10R")[0] == RIGHT
    assert "old ones in another order" in judge(net(), "10R", act=permuted)[1]
    assert "not drawn from its initialiser" in judge(net(), "10R", act=normal)[1]


def refuses(message, error=ValueError, spoil=False):
    def act(model, *args, **options):
        if spoil:
            one_too_many(model)
        raise error(message)

    return torch.no_grad()(act)


@pytest.mark.parametrize(
    "act, why",
    [
        (refuses("'1.weight' is not to my taste"), "no reason to refuse"),
        (refuses("something is wrong"), "names no parameter"),
        (refuses("'1.weight' is spoiled", spoil=True), "left half done"),
        (refuses("'1.weight'", RuntimeError), "RuntimeError"),
    ],
)
def test_the_judge_wants_a_refusal_with_a_reason_that_changes_nothing(act, why):
    verdict, what = judge(net(), act=act)
    assert verdict == FAULT and why in what
