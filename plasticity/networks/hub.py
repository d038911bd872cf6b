"""timm's pretrained weights, from the hub's cache or downloaded."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from ..files import atomic, offline


def fetch(name: str, path: Path) -> None:
    """Write timm's pretrained weights of a network to ``path`` (.safetensors), cached or downloaded.

    Raises FileNotFoundError, saying what is wanted and where it may be put.
    """
    import timm
    from huggingface_hub import try_to_load_from_cache

    settings = timm.get_pretrained_cfg(name)
    repository, file = settings.hf_hub_id, settings.hf_hub_filename or "model.safetensors"
    cached = repository and try_to_load_from_cache(repository, file)
    try:
        if not isinstance(cached, str) and offline():
            raise ConnectionError("PLASTICITY_OFFLINE is set")
        overlay = {"file": cached, "custom_load": False} if isinstance(cached, str) else None
        model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    except Exception as error:  # whatever the hub, urllib or timm's conversion raise
        wanted = f"{file} of https://huggingface.co/{repository}" if repository else settings.url
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise FileNotFoundError(
            f"pretrained weights of timm's {name!r} are missing: put {wanted} at {path} (or, as .pth, at "
            f"{path.with_suffix('.pth')}). They were not downloaded from here: {reason}. Without a network, "
            f"'tf_efficientnet_lite0' has its weights in a pip package"
        ) from None
    state = {name: value.clone(memory_format=torch.contiguous_format) for name, value in model.state_dict().items()}
    with atomic(path) as partial:
        save_file(state, partial)
