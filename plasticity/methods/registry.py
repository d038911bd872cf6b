"""Every method by name, and the one way to write a case or a combination: ``"10M + soft_rescaling(features=0.01)"``."""

import re

from ..interventions import Intervention, Reinitialize, Scratch, Settings
from ..reinit import CONTROLS, Case
from ..training import notation
from .averages import Ema, HareTortoise, SelfDistillation
from .combined import Combined
from .penalties import L2, L2SP, L2Init, SpectralDecoupling
from .rescaling import SoftRescaling
from .resets import Augmentation, Crop, FrozenHead, HeadOnly, HeadReset, OtherHead, ShrinkPerturb
from .selective import SelectiveReinit
from .surgery import CReLU, LayerNorm
from .units import ContinualBackprop, ReDo

NAMED: dict[str, type[Intervention]] = {  # the paper's cases need no entry
    "scratch": Scratch,
    "hare_tortoise": HareTortoise,
    "ema": Ema,
    "self_distillation": SelfDistillation,
    "soft_rescaling": SoftRescaling,
    "shrink_perturb": ShrinkPerturb,
    "head_reset": HeadReset,
    "head_only": HeadOnly,
    "frozen_head": FrozenHead,
    "other_head": OtherHead,
    "l2": L2,
    "l2_init": L2Init,
    "l2_sp": L2SP,
    "spectral_decoupling": SpectralDecoupling,
    "redo": ReDo,
    "continual_backprop": ContinualBackprop,
    "selective_reinit": SelectiveReinit,
    "crelu": CReLU,
    "layer_norm": LayerNorm,
    "augmentation": Augmentation,
    "crop": Crop,
}


def canonical(text: str) -> str:
    """The one way to write a case or combination: ``"10 M+ema"`` -> ``"10M + ema"``.

    Raises ValueError for an unknown name, a parameter outside its range, and methods that contradict each other.
    """
    parts = [_part(piece, text) for piece in _pieces(text)]
    _agree(parts, text)
    return " + ".join(_name(part) for part in parts)


def build(text: str, settings: Settings | None = None) -> Intervention:
    """The intervention that a case or combination of methods names, such as ``"25NS"`` or ``"10M + ema"``.

    ``settings``: how the paper's cases re-initialise, unless by default.
    """
    parts = [_part(piece, text, settings) for piece in _pieces(text)]
    _agree(parts, text)
    return parts[0] if len(parts) == 1 else Combined(parts)


def _pieces(text: str) -> list[str]:
    pieces = re.split(r"\+(?![^(]*\))", str(text))  # a plus inside parentheses separates nothing
    return [notation.unquoted(piece.strip()) for piece in pieces]


def _part(piece: str, text: str, settings: Settings | None = None) -> Intervention:
    name = piece.partition("(")[0].strip()
    if name in NAMED:
        return notation.parse(piece, NAMED, "method") if "(" in piece else NAMED[name]()
    try:
        case = Case.parse(piece)
    except ValueError as error:
        raise ValueError(f"case {text!r}: {error}; or a method by name: {', '.join(NAMED)}") from None
    if case.method not in CONTROLS and case.fraction is None:
        raise ValueError(f"case {text!r} lacks the percentage to reset, as in '10{case.method}'")
    return Reinitialize(case, settings or Settings())


def _name(part: Intervention) -> str:
    return str(part.case) if isinstance(part, Reinitialize) else notation.write(part, NAMED)


def _agree(parts: list[Intervention], text: str) -> None:
    names = [_name(part).partition("(")[0] for part in parts]
    for i, (name, part) in enumerate(zip(names, parts, strict=True)):
        if name in names[:i]:
            raise ValueError(f"case {text!r} names {name!r} twice")
        if against := [other for other in names if other in part.excludes]:
            raise ValueError(f"case {text!r}: {name!r} and {against[0]!r} contradict each other; take one of them")
    predicting = [repr(name) for name, part in zip(names, parts, strict=True) if part.predicts]
    if len(predicting) > 1:
        both = " and ".join(predicting)
        raise ValueError(f"case {text!r}: {both} each name the network that predicts; take one of them")
