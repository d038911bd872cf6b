"""Which parameters of a network are embeddings or gains of norm layers, and which compete under a run's ``tensors``."""

from torch import nn

from .competitors import gains

TENSORS = ("weights", "no_head", "no_embeddings", "with_gains")
TORCHVISION, TIMM = ("class_token", "pos_embedding", "conv_proj"), ("cls_token", "pos_embed", "patch_embed")
EMBEDDINGS = {*TORCHVISION, *TIMM}  # of their vision transformers


def competing(model: nn.Module, tensors: str, head: str) -> dict[str, list[str]]:
    """What `reinitialize` must exclude or include for a run's ``tensors``; biases of what is excluded stay, too.

    "weights": nothing. "no_head": all but the fresh head. "no_embeddings": all but a vision transformer's class token,
    position embedding and patch projection. "with_gains": gains of norm layers, too. ValueError if the network has no
    such thing.
    """
    parts = {"weights": [], "no_head": [head], "no_embeddings": _embeddings(model), "with_gains": gains(model)}
    found = parts[tensors]
    if tensors != "weights" and not found:
        gain, embedding = "gain of a norm layer", "class token, position embedding or patch projection"
        lacks = f"{type(model).__name__} has no {gain if tensors == 'with_gains' else embedding}"
        raise ValueError(f"tensors={tensors!r}: {lacks}; use tensors='weights'")
    return {"include" if tensors == "with_gains" else "exclude": found}


def _embeddings(model):
    return [name for name, _ in model.named_parameters() if EMBEDDINGS & {*name.split(".")}]
