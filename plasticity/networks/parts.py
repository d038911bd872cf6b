"""Which parameters of a network are embeddings or gains of norm layers, and so which compete under a run's
``tensors``."""

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

TENSORS = ("weights", "no_head", "no_embeddings", "with_gains")
EMBEDDINGS = (
    "class_token",
    "pos_embedding",
    "conv_proj",
    "cls_token",
    "pos_embed",
    "patch_embed",
)  # in torchvision's ViT, timm's
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def competing(model: nn.Module, tensors: str, head: str) -> dict[str, list[str]]:
    """What `reinitialize` must exclude or include for a run's ``tensors``; biases of what is excluded stay, too.

    "weights": nothing. "no_head": all but the fresh head. "no_embeddings": all but a vision transformer's class token,
    position embedding and patch projection. "with_gains": gains of norm layers, too. ValueError if the network has no
    such thing.
    """
    chosen = {"weights": [], "no_head": [head], "no_embeddings": _embeddings(model), "with_gains": _gains(model)}[
        tensors
    ]
    if tensors != "weights" and not chosen:
        lacks = (
            "gain of a norm layer" if tensors == "with_gains" else "class token, position embedding or patch projection"
        )
        raise ValueError(f"tensors={tensors!r}: {type(model).__name__} has no {lacks}; use tensors='weights'")
    return {"include" if tensors == "with_gains" else "exclude": chosen}


def _embeddings(model):
    return [name for name, _ in model.named_parameters() if {*EMBEDDINGS} & {*name.split(".")}]


def _gains(model):
    gains = {f"{name}.weight".lstrip(".") for name, module in model.named_modules() if isinstance(module, NORMS)}
    return [name for name, p in model.named_parameters() if name in gains and p.ndim == 1]
