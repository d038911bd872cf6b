"""What makes a run stale: code that can change a number, and nothing else."""

import shutil

import pytest

from plasticity.running import identity

CODE = '''"""What this module does."""

RATE = 0.1  # a comment


def step(weight, rate=RATE):
    """One step."""
    return weight - rate * weight
'''
REWORDED = '''"""Something else."""
RATE = 0.1
# another comment
def step(
    weight,
    rate=RATE,
):
    """Another
    docstring."""
    return (weight - rate * weight)
'''


def test_prose_and_formatting_leave_the_syntax_alone():
    assert identity.syntax(CODE) == identity.syntax(REWORDED)


@pytest.mark.parametrize(
    "old, new",
    [
        ("0.1", "0.2"),
        ("weight - rate", "weight + rate"),
        ("rate=RATE", "rate=0.1"),
        ("def step", "def stride"),
        ('    """One step."""\n', '    "a", "pair"\n'),
    ],
)
def test_any_other_change_shows(old, new):
    assert identity.syntax(CODE) != identity.syntax(CODE.replace(old, new))


def append(file, line):
    with open(file, "a") as text:
        text.write(f"\n{line}\n")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package, and a function that gives its digest anew."""
    folder = tmp_path / "plasticity"
    shutil.copytree(identity.PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(identity, "PACKAGE", folder)
    return folder, identity.source.__wrapped__


@pytest.mark.parametrize(
    "file", ["train.py", "reinit.py", "training/augment.py", "methods/new.py", "datasets/world.py"]
)
def test_code_that_trains_counts_wherever_it_lies(package, file):
    folder, source = package
    before = source()
    append(folder / file, "# only a comment")
    assert file == "methods/new.py" or source() == before
    append(folder / file, "NEW = 1")
    assert source() != before


@pytest.mark.parametrize(
    "file", ["profiles.py", "__main__.py", "analysis/tables.py", "studies/new.py", "running/engine.py"]
)
def test_code_that_plans_or_reads_does_not_count(package, file):
    folder, source = package
    before = source()
    append(folder / file, "NEW = 1")
    assert source() == before
