"""One way to write a thing and its numbers: ``hare_tortoise(momentum=0.9, steps=99)``, for methods and scenarios alike.

A dataclass gives the name's parameters: their order, types and defaults. What equals its default is not written.
"""

import re
from dataclasses import fields, is_dataclass


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
            takes = f"{match[1]} takes {', '.join(f'{n}={_write(f.default)}' for n, f in allowed.items()) or 'nothing'}"
            raise ValueError(f"{what} {text!r}: {part!r} is not one of its parameters, once each; {takes}")
        given[name] = _read(value, allowed[name], text)
    return kind(**given)


def write(instance, known: dict[str, type]) -> str:
    """The one way to write an instance: ``parse(write(x), ...) == x``."""
    name = next(name for name, kind in known.items() if kind is type(instance))
    values = [(field, getattr(instance, field.name)) for field in _fields(instance)]
    changed = ", ".join(f"{field.name}={_write(value)}" for field, value in values if value != field.default)
    return f"{name}({changed})" if changed else name


def within(instance, **ranges: str | tuple[str, ...]) -> None:
    """Check a dataclass: numbers against their range, "[0, inf)" unless given, words against what is allowed.

    ``within(self, momentum="[0, 1)", access=("full", "limited"))``. ValueError that names field, value and range.
    """
    for field in _fields(instance):
        value, allowed = getattr(instance, field.name), ranges.get(field.name, "[0, inf)")
        if isinstance(allowed, tuple):
            known, said = value in allowed, f"unknown; allowed: {', '.join(map(repr, allowed))}"
        else:
            known, said = isinstance(value, bool) or _inside(value, allowed), f"outside its range {allowed}"
        if not known:
            raise ValueError(f"{type(instance).__name__}: {field.name}={value!r} is {said}")


def _inside(value: float, interval: str) -> bool:
    low, high = map(float, interval[1:-1].split(","))
    above = value > low if interval[0] == "(" else value >= low
    return above and (value < high if interval[-1] == ")" else value <= high)


def _fields(kind) -> tuple:
    return fields(kind) if is_dataclass(kind) else ()  # a class that is none has no parameters


def _read(value: str, field, text: str):
    default, value = field.default, unquoted(value)
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[value.lower()]
        return type(default)(value)  # an integer parameter takes "5", not "5.0"
    except (ValueError, KeyError):
        raise ValueError(f"{text!r}: {field.name}={value!r} is not a value like {_write(default)}") from None


def unquoted(text: str) -> str:
    """The text without a pair of quotation marks around it, as messages show words."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text


def _write(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}".replace("e+", "e") if isinstance(value, float) else str(value)
