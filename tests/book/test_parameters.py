"""What a caller or a command line gives as a parameter arrives as it is, or is refused by name before anything runs."""

import enum
import json
import math
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook

from plasticity.book.execute import execute
from plasticity.book.parameters import parameters_of, parse

DEFAULTS = {"profile": "mini", "repeats": 0, "lr": 0.1, "flag": True, "sizes": [1], "more": {}, "any": None}
Device = enum.Enum("Device", {"CPU": "cpu"})
Seeds = enum.IntEnum("Seeds", {"FEW": 3})
QUOTED = "a 'b' \"c\" \\ {x} $HOME\n\t\x00\u2028 é 中 🙂 '''"


def notebook(path, *sources, parameters="profile = 'mini'\nrepeats = 0"):
    cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]}), *map(new_code_cell, sources)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


# --- the tagged cell --------------------------------------------------------------------------------------------------
def test_parameters_are_read_from_the_tagged_cell(tmp_path):
    assert parameters_of(notebook(tmp_path / "a.ipynb")) == {"profile": "mini", "repeats": 0}
    typed = notebook(
        tmp_path / "a.ipynb", parameters="import os\nlr: float = -0.1  # rate\nnot_yet: int\nsizes = [1, 2]"
    )
    assert parameters_of(typed) == {"lr": -0.1, "sizes": [1, 2]}
    nbformat.write(new_notebook(), tmp_path / "b.ipynb")
    with pytest.raises(ValueError, match="0 cells tagged 'parameters'"):
        parameters_of(tmp_path / "b.ipynb")


@pytest.mark.parametrize(
    "source, said",
    [
        ("%matplotlib inline\na = 1", "line 1: '%matplotlib inline' is not Python"),
        ("a = 1\nb = 'x", 'line 2: "b = \'x" is not Python'),
        ("a = 1\nb = a + 1", "'b = a \\+ 1'; expected a name and a literal, such as repeats = 5"),
        ("a, b = 1, 2", "'a, b = .*'; expected a name and a literal"),
        ("a = b = 1", "'a = b = 1'; expected a name and a literal"),
    ],
)
def test_a_cell_of_anything_else_is_refused(tmp_path, source, said):
    with pytest.raises(ValueError, match=f"cell tagged 'parameters'.*{said}"):
        parameters_of(notebook(tmp_path / "a.ipynb", parameters=source))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"cells": 3}', "# no notebook", "\ufffe\x00", '{"nbformat": 9}']
)
def test_what_is_no_notebook_is_refused(tmp_path, text):
    (tmp_path / "a.ipynb").write_bytes(text.encode("utf-16"))
    with pytest.raises(ValueError, match="a.ipynb is no notebook"):
        parameters_of(tmp_path / "a.ipynb")
    (tmp_path / "a.ipynb").write_text(text, "utf-8")
    with pytest.raises(ValueError, match="a.ipynb is no notebook"):
        parameters_of(tmp_path / "a.ipynb")


# --- texts of the command line, and values of a caller ----------------------------------------------------------------
VALUES = [
    ("profile", "quick", "quick"),
    ("profile", "5", "5"),
    ("repeats", "5", 5),
    ("lr", "3e-4", 3e-4),
    ("lr", "1", 1.0),
    ("flag", "false", False),
    ("flag", "True", True),
    ("sizes", "[1, 'a']", [1, "a"]),
    ("any", "none of these", "none of these"),
    ("any", "None", None),
    ("any", "2.5", 2.5),
    ("profile", QUOTED, QUOTED),
    ("profile", Path("a b/é"), "a b/é"),
    ("profile", Device.CPU, "cpu"),
    ("profile", np.str_("mini"), "mini"),
    ("repeats", Seeds.FEW, 3),
    ("repeats", np.int64(5), 5),
    ("repeats", np.uint8(5), 5),
    ("repeats", np.array(5), 5),
    ("repeats", torch.tensor(5), 5),
    ("repeats", 10**30, 10**30),
    ("lr", np.float32(0.5), 0.5),
    ("lr", np.longdouble(0.5), 0.5),
    ("lr", np.int32(2), 2.0),
    ("lr", 5, 5.0),
    ("flag", np.bool_(False), False),
    ("sizes", (1, 2), [1, 2]),
    ("sizes", np.arange(3), [0, 1, 2]),
    ("sizes", pd.Series([1.5]), [1.5]),
    ("sizes", [(np.int8(1), Path("x")), {"a": (None, Device.CPU)}], [[1, "x"], {"a": [None, "cpu"]}]),
    ("more", OrderedDict(a=np.float64(1)), {"a": 1.0}),
    ("any", None, None),
    ("any", Path("x"), "x"),
]


@pytest.mark.parametrize("name, given, value", VALUES, ids=repr)
def test_values_become_the_defaults_type(name, given, value):
    parsed = parse({name: given}, DEFAULTS)[name]
    assert repr(parsed) == repr(value) and type(parsed) is type(value)


WRONG = [
    *[("repeats", value) for value in ("five", "2.5", "True", 2.5, True, np.float64(2), Fraction(2))],
    *[("flag", value) for value in ("0", 0, 1.0, np.int64(1))],
    *[("lr", value) for value in ("fast", "nan", "inf", True, "1e400", math.nan, np.float32("inf"), 10**400)],
    *[("profile", value) for value in (None, 5, True, b"mini", ["mini"], "caf\udce9", Path("caf\udce9"))],
    *[("sizes", value) for value in ({1, 2}, "(1", 3, [math.nan], [{1: 2}], [b"x"], ["\udce9"], [pd.NaT])],
    *[("more", value) for value in ({1: 2}, {"a": {1}}, [1])],
    *[("any", value) for value in (..., 1j, {1}, pd.NA, math.inf)],
]


@pytest.mark.parametrize("name, value", WRONG, ids=repr)
def test_other_types_and_what_a_notebook_can_t_hold_are_refused(name, value):
    with pytest.raises(ValueError) as error:
        parse({name: value}, DEFAULTS)
    said = str(error.value)
    assert said.startswith(f"parameter {name}={value!r} ") and ("must be a" in said or "allowed are text" in said)


@pytest.mark.parametrize("default", [(1, 2), {1}, b"x", 1j, ...], ids=repr)
def test_a_default_that_can_t_be_replaced_is_named(default):
    with pytest.raises(ValueError, match="can't be passed in place of its default .*; allowed are text"):
        parse({"a": default}, {"a": default})


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="unknown parameter 'profil'; this notebook has: profile, repeats, lr"):
        parse({"profil": "mini"}, DEFAULTS)


def test_paths_that_are_no_unicode_are_refused_before_anything_runs(tmp_path):
    source = notebook(tmp_path / "a.ipynb")
    with pytest.raises(ValueError, match="caf.udce9.ipynb' is no Unicode"):
        execute(source, tmp_path / "caf\udce9.ipynb")
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.slow
def test_they_arrive_in_the_kernel_as_they_are(tmp_path):
    defaults = "\n".join(f"{name} = {value!r}" for name, value in DEFAULTS.items())
    given = {"profile": QUOTED, "repeats": np.int64(5), "lr": np.float32(0.5), "flag": np.bool_(False)}
    given |= {"sizes": ((1, None), {"a'": [True, Path('x"y')]}), "more": {"é\n": Seeds.FEW}, "any": Path("中")}
    shows = (
        f"import json, pathlib; pathlib.Path({str(tmp_path / 'seen')!r}).write_text(json.dumps([{', '.join(given)}]))"
    )
    execute(notebook(tmp_path / "a.ipynb", shows, parameters=defaults), tmp_path / "b.ipynb", given, log=False)
    wanted = [QUOTED, 5, 0.5, False, [[1, None], {"a'": [True, 'x"y']}], {"é\n": 3}, "中"]
    assert json.loads((tmp_path / "seen").read_text()) == wanted
