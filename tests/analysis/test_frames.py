"""What holds the project together: one list of dependencies, exact versions for all of them, a Makefile that explains itself."""

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return {re.match(r"[\w-]+", line)[0].lower(): line for group in groups for line in group}


def test_constraints_pin_every_dependency_within_its_range():
    pins = dict(line.lower().split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    for name, line in requirements().items():
        assert name in pins, f"{name} has no exact version in constraints.txt"
        lowest = [int(part) for part in re.search(r">=([\d.]+)", line)[1].split(".")]
        assert [int(part) for part in re.findall(r"\d+", pins[name])] >= lowest, name


def test_environment_yml_holds_no_list_of_its_own():
    text = (ROOT / "environment.yml").read_text()
    assert "-c constraints.txt -e .[notebooks,cluster,site,examples,test]" in text
    assert not [name for name in requirements() if re.search(rf"^\s*- {name}\b", text, re.M)]


def test_make_help_lists_the_two_commands():
    text = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "make reproduce" in text and "make test" in text
