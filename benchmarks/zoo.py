"""One network of each module of timm, torchvision and transformers, as small as can be had, with random weights.

Each collection is ``{module: function}``; the function returns ``(label, make, inputs)``: ``make()`` builds the network
and ``inputs`` are the keyword or positional arguments of a forward pass. It raises `NotBuilt` where none can be made.
"""

import contextlib
import math
import re
from functools import partial

import torch
from torch.overrides import TorchFunctionMode

LIMIT = 150_000_000  # parameters
WIDTH = re.compile("hidden|embd|ffn|intermediate|mlp|proj|dim|channels|width|d_model|d_ff|d_kv|units|filters|rank|size")
OTHER_SIZES = re.compile(
    "^(num_|n_)|patch|image|window|kernel|vocab|batch|position|merge|stride|feature_|_scale|input_s"
)
LAYERS = re.compile("layers?$|depths?$|_blocks$|blocks_per_stage|num_res_blocks")
EXPERTS = re.compile("num.*experts|n_routed_experts|num_experts|codebook_size")


SHALLOW = (
    {},
    {"depth": 2},
    {"depths": (1, 1, 1, 1)},
    {"depths": (1, 1, 1)},
    {"layers": (1, 1, 1, 1)},
)  # where it can be


class NotBuilt(Exception):
    """No small network of this module could be made; the message says why."""


class WithoutValues(TorchFunctionMode):
    """Leave out what fills tensors, which takes most of the time on the meta device."""

    FILLS = {"uniform_", "normal_", "trunc_normal_", "erfinv_", "clamp_", "mul_", "add_", "fill_", "zero_", "copy_"}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in self.FILLS:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def parameters(build) -> float:
    """How many parameters ``build()`` has, without their memory; infinite where that cannot be told."""
    try:
        with torch.device("meta"), WithoutValues():
            return sum(p.numel() for p in build().parameters())
    except Exception:  # some read values while they are built, which a meta tensor lacks
        return math.inf


def smallest(builders: dict, limit=LIMIT) -> str:
    """Which of ``{label: function}`` has the fewest parameters."""
    sizes = {label: parameters(build) for label, build in builders.items()}
    label = min(sizes, key=sizes.get)
    if sizes[label] > limit:
        raise NotBuilt(f"{label}, the smallest, has {sizes[label]:,} parameters")
    return label


# --- timm and torchvision ---------------------------------------------------------------------------------------------
def timm_networks() -> dict:
    import timm

    return {module: lambda module=module: timm_network(module) for module in timm.list_modules()}


def timm_network(module):
    import timm

    name = smallest({name: partial(timm.create_model, name) for name in timm.list_models(module=module)}, math.inf)
    make = {f"{name} {options or ''}": partial(timm.create_model, name, **options) for options in SHALLOW}
    label = smallest(make)
    return label.strip(), make[label], (torch.rand(1, *timm.get_pretrained_cfg(name).input_size),)


def torchvision_networks() -> dict:
    from torchvision import models

    found = {}
    for name in models.list_models():
        module = models.get_model_builder(name).__module__.removeprefix("torchvision.models.")
        found.setdefault(module, []).append(name)
    networks = {module: lambda m=module, names=names: torchvision_network(m, names) for module, names in found.items()}
    quantised = [module for module in found if module.startswith("quantization")]
    return networks | {f"{m} (int8)": lambda m=m: torchvision_network(m, found[m], quantize=True) for m in quantised}


def torchvision_network(module, names, **options):
    from torchvision import models

    if module.startswith(("detection", "segmentation")):
        options["weights_backbone"] = None
    if module.endswith(("googlenet", "inception")):
        options["init_weights"] = False  # it takes a minute
    make = {name: partial(models.get_model, name, weights=None, **options) for name in names}
    label = names[0] if "quantize" in options else smallest(make)
    side = 299 if "inception" in module else 224
    shapes = {"video": [(1, 3, 16, 224, 224)], "optical_flow": [(1, 3, 128, 128)] * 2}
    images = shapes.get(module.split(".")[0], [(1, 3, side, side)])
    return label, make[label], tuple(torch.rand(shape) for shape in images)


# --- transformers -----------------------------------------------------------------------------------------------------
def transformers_networks() -> dict:
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    return {kind: lambda kind=kind: transformers_network(kind) for kind in MODEL_MAPPING_NAMES}


def transformers_network(kind):
    """A class of `AutoModel`, its configuration's widths divided by as much as it takes, its layers at most four."""
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    why = []
    for divisor in (32, 16, 8, 4, 2, 1):
        try:
            config = shrink(CONFIG_MAPPING[kind](), divisor)
            choices = MODEL_MAPPING[type(config)]
            make = partial(choices[0] if isinstance(choices, tuple) else choices, config)
            if LIMIT < parameters(make) < math.inf:
                raise NotBuilt(f"{parameters(make):,} parameters")
            model = make()
            return f"{type(model).__name__} / {divisor}", make, dict(getattr(model, "dummy_inputs", {})) or None
        except Exception as error:
            why.append(f"{divisor}: {type(error).__name__}: {error}")
    raise NotBuilt("; ".join(why))


def shrink(config, divisor):
    """Divide what sounds like a width of this configuration and those inside it, in place; fewer layers and tokens."""
    layers = getattr(config, "num_hidden_layers", None)
    for name, value in list(vars(config).items()):
        if hasattr(value, "to_dict"):
            shrink(value, divisor)
        elif isinstance(value, list | tuple) and layers and len(value) == layers > 4:
            setattr(config, name, value[:4])
        else:
            new = shrunk(name, value, divisor)
            if new != value:
                with contextlib.suppress(Exception):
                    setattr(config, name, new)
    return config


def shrunk(name, value, divisor):
    if isinstance(value, list | tuple):
        return type(value)(shrunk(name, v, divisor) for v in value)
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if re.search("token|_index$|_id$", name):
        return value % 509
    if re.search("vocab_size|max_position|max_source|max_target", name):
        return min(value, 512)
    if LAYERS.search(name):
        return min(value, 4)
    if EXPERTS.search(name):
        return min(value, 8)
    if WIDTH.search(name) and not OTHER_SIZES.search(name) and value % divisor == 0 and value // divisor >= 4:
        return value // divisor
    return value
