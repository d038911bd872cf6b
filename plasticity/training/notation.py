"""One way to write a thing and its numbers: ``hare_tortoise(momentum=0.99, every=5)``, for methods and scenarios alike.

A dataclass gives the name's parameters: their order, types and defaults. What equals its default is not written.
"""

import math
import re
from dataclasses import MISSING, fields, is_dataclass


def parse(text: str, known: dict[str, type], what: str):
    """An instance of the dataclass that ``text`` names in ``known``. Raises ValueError that says what is allowed."""
    match = re.fullmatch(r"\s*([a-z]\w*)\s*(?:\((.*)\))?\s*", str(text))
    if not match or match[1] not in known:
        raise ValueError(f"unknown {what} {text!r}; known: {', '.join(known)}")
    kind, given = known[match[1]], {}
    allowed = {field.name: field for field in _fields(kind)}
    for part in filter(None, (part.strip() for part in (match[2] or "").split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name not in allowed or name in given:
            takes = ", ".join(f"{n}={_write(f.default)}" for n, f in allowed.items()) or "nothing"
            raise ValueError(
                f"{what} {text!r}: {part!r} is not one of its parameters, once each; {match[1]} takes {takes}"
            )
        given[name] = _read(value, allowed[name], text)
    return kind(**given)


def write(instance, known: dict[str, type]) -> str:
    """The one way to write an instance: ``parse(write(x), ...) == x``."""
    name = next(name for name, kind in known.items() if kind is type(instance))
    changed = [(f.name, getattr(instance, f.name)) for f in _fields(instance) if getattr(instance, f.name) != f.default]
    return name + (f"({', '.join(f'{n}={_write(v)}' for n, v in changed)})" if changed else "")


def within(instance, low=0.0, high=math.inf, **open_at) -> None:
    """Check that every number field of a dataclass is in [low, high]; ``above=0`` or ``below=1`` exclude a bound. ValueError if not."""
    for field in _fields(instance):
        value = getattr(instance, field.name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        inside = (
            low <= value <= high and value > open_at.get("above", -math.inf) and value < open_at.get("below", math.inf)
        )
        if not inside or math.isinf(value):
            bounds = f"from {low:g}" + (f" to {high:g}" if high < math.inf else " up")
            bounds += "".join(f", {word} {bound:g}" for word, bound in open_at.items())
            raise ValueError(f"{type(instance).__name__}: {field.name}={value!r} is outside its range ({bounds})")


def _fields(kind) -> tuple:
    return fields(kind) if is_dataclass(kind) else ()  # a class that is none has no parameters


def _read(value: str, field, text: str):
    default = field.default
    assert default is not MISSING, f"parameter {field.name} needs a default"
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[value.lower()]
        return type(default)(value)  # an integer parameter takes "5", not "5.0"
    except (ValueError, KeyError):
        raise ValueError(f"{text!r}: {field.name}={value!r} is not a value like {_write(default)}") from None


def _write(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}".replace("e+", "e") if isinstance(value, float) else str(value)
