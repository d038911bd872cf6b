"""Which way the rooms open: no circle, no arrow upwards; and what the house promises about its size."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "plasticity"
METHOD = {"files", "networks", "reinit", "training", "data"}  # the ground floor: these rooms import each other at most
CORE = METHOD | {"interventions", "methods", "run", "profiles", "weights", "train"}
STUDY = CORE | {"analysis", "running", "datasets"}
ALLOWED = {  # room: what it may import, besides itself
    "files": set(),
    "networks": {"files"},
    "reinit": {"networks", "training"},
    "training": set(),
    "data": {"files", "training"},
    "interventions": METHOD,
    "methods": METHOD | {"interventions"},
    "run": METHOD | {"interventions", "methods"},
    "profiles": METHOD | {"interventions", "methods", "run"},
    "weights": METHOD | {"interventions", "methods", "run", "profiles"},
    "train": CORE,
    "datasets": {"data", "files"},
    "rl": CORE,
    "running": CORE | {"datasets", "rl"},
    "analysis": CORE | {"running"},
    "studies/main_paper": STUDY,
    "studies/audit": STUDY | {"studies/main_paper"},
    "studies/sensitivity": STUDY | {"studies/main_paper"},
    "studies/companions": STUDY | {"studies/main_paper"},
    "studies/interactive": STUDY | {"studies/main_paper"},
    "studies/method": STUDY | {"studies/main_paper"},
    "studies/rl": STUDY | {"studies/main_paper"},
    "studies/all": STUDY | {"studies/main_paper", "studies/sensitivity", "studies/companions", "studies/rl"},
}
FREE = {"cli", "book", "__main__", "__init__"}  # these may import everything, and only they import each other


def modules():
    return {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in PACKAGE.rglob("*.py")}


def room(module):
    parts = module.split("/")
    return "/".join(parts[:2]) if parts[0] == "studies" and len(parts) > 1 else parts[0]


@cache
def arrows():
    """{(module, the module that it imports)} within the package; imports inside functions count, too."""
    known, found = modules(), set()
    for module, path in known.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = path.relative_to(PACKAGE).parts[: -node.level]
                target = "/".join([*base, *(node.module or "").split(".")]).strip("/")
                for name in node.names:
                    inner = f"{target}/{name.name}".strip("/")
                    found.add(
                        (module, inner if inner in known else target if target in known else f"{target}/__init__")
                    )
            assert not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("plasticity")), path
    return found


def test_imports_follow_the_rule():
    between = {(room(a), room(b)): (a, b) for a, b in arrows() if room(a) != room(b) and room(b) != "studies/__init__"}
    wrong = [example for (a, b), example in between.items() if a not in FREE and b not in ALLOWED.get(a, set())]
    assert not sorted(wrong)


def test_no_module_imports_itself_by_a_detour():
    after = {module: {b for a, b in arrows() if a == module} for module in modules()}
    while free := [module for module, targets in after.items() if not targets & after.keys()]:
        for module in free:
            del after[module]
    assert after.keys() <= {"__main__", "__init__"} | {module for module in after if room(module) in FREE}


def test_ten_files_and_1500_lines_at_the_top():
    sizes = {path.name: len(path.read_text().splitlines()) for path in PACKAGE.glob("*.py")}
    assert len(sizes) <= 10 and sum(sizes.values()) <= 1500, sizes


@pytest.mark.parametrize("folder", ["plasticity", "tests", "benchmarks", "examples"])
def test_functions_fit_a_screen_or_two_and_ruff_formats_every_line(folder):
    for path in (ROOT / folder).rglob("*.py"):
        text = path.read_text()
        assert "# fmt: " + "skip" not in text and "# fmt: " + "off" not in text, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and folder == "plasticity":
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"


def test_test_modules_do_not_import_each_other():
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.startswith("test_") or name == "conftest"], path
