"""Strict papermill: unknown or mistyped parameters are refused; a target exists only if every cell ran."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from plasticity import execute

DEFAULTS = {"profile": "mini", "repeats": 0, "lr": 0.1, "flag": True}


def notebook(path, *sources):
    cells = [new_code_cell('profile = "mini"  # which\nrepeats = 0  # how many', metadata={"tags": ["parameters"]})]
    book = new_notebook(cells=[*cells, *map(new_code_cell, sources)])
    book.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(book, path)
    return path


def test_parameters_are_read_from_the_tagged_cell(tmp_path):
    assert execute.parameters_of(notebook(tmp_path / "a.ipynb")) == {"profile": "mini", "repeats": 0}
    nbformat.write(new_notebook(), tmp_path / "b.ipynb")
    with pytest.raises(ValueError, match="0 cells tagged 'parameters'"):
        execute.parameters_of(tmp_path / "b.ipynb")


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("profile", "quick", "quick"),
        ("profile", "5", "5"),
        ("repeats", "5", 5),
        ("lr", "3e-4", 3e-4),
        ("lr", "1", 1.0),
        ("flag", "false", False),
        ("flag", "True", True),
    ],
)
def test_values_become_the_defaults_type(name, text, value):
    parsed = execute.parse({name: text}, DEFAULTS)[name]
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize("name, text", [("repeats", "five"), ("repeats", "2.5"), ("flag", "0"), ("lr", "fast"), ("repeats", "True")])
def test_other_types_are_refused(name, text):
    with pytest.raises(ValueError, match=f"parameter {name}={text!r} must be"):
        execute.parse({name: text}, DEFAULTS)


def test_unknown_parameter_exits_2_before_anything_runs(tmp_path, capsys):
    source = notebook(tmp_path / "a.ipynb")
    assert execute.main([str(source), str(tmp_path / "out.ipynb"), "-p", "profil", "mini"]) == 2
    assert "unknown parameter 'profil'; this notebook has: profile, repeats" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["a.ipynb"]


def test_missing_notebook_exits_2(tmp_path, capsys):
    assert execute.main([str(tmp_path / "no.ipynb"), str(tmp_path / "out.ipynb")]) == 2
    assert "no.ipynb" in capsys.readouterr().err


@pytest.mark.slow
def test_whole_or_not_at_all(tmp_path, capsys):
    good = notebook(tmp_path / "good.ipynb", "print(profile, repeats + 1)")
    assert execute.main([str(good), str(tmp_path / "out.ipynb"), "-p", "repeats", "4"]) == 0
    assert "mini 5" in (tmp_path / "out.ipynb").read_text()
    before = (tmp_path / "out.ipynb").read_bytes()
    bad = notebook(tmp_path / "bad.ipynb", "raise KeyError('lost')")
    assert execute.main([str(bad), str(tmp_path / "out.ipynb")]) == 1
    assert "KeyError" in capsys.readouterr().err
    assert (tmp_path / "out.ipynb").read_bytes() == before, "a failing notebook must not replace a good copy"
    assert "lost" in (tmp_path / "out.partial.ipynb").read_text()
