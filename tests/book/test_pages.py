"""README, docs/ and reference/ as they lie in the repository: links, commands and the files that README names."""

import re
from pathlib import Path

import pytest

import plasticity
from plasticity import train
from plasticity.__main__ import COMMANDS
from plasticity.methods import registry

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
TEXTS = [path.relative_to(ROOT).as_posix() for folder in ("docs", "reference") for path in (ROOT / folder).glob("*.md")]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(TEXTS)]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_and_included_table_is_there(page):
    text = (ROOT / page).read_text("utf-8")
    named = re.findall(r"\]\((?![a-z]+:|#)([^)#]+)|^```\{include\} (\S+)$", text, flags=re.M)
    assert [name for link, table in named if not (ROOT / page).parent.joinpath(name := link or table).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_an_included_table_is_linked_too(page):
    """GitHub includes nothing."""
    text = (ROOT / page).read_text("utf-8")
    assert all(f"]({table})" in text for table in re.findall(r"^```\{include\} (\S+)$", text, flags=re.M))


def test_all_public_names_have_their_place():
    text = (ROOT / "docs/names.md").read_text("utf-8")
    assert sorted(re.findall(r"^\.\. auto\w+:: plasticity\.(\w+)$", text, flags=re.M)) == plasticity.__all__


def test_readme_is_short():
    assert len(README.encode()) <= 10_000


def test_readme_names_files_that_are_there():
    tree = README.partition("## Where things are")[2].partition("\n## ")[0]
    files = re.findall(r"^      (\S+\.py|\S+/)  ", tree, flags=re.M)
    rooms = {f"{path.parent.name}/" for path in (ROOT / "plasticity").glob("*/__init__.py")}
    assert rooms - {"book/"} <= set(files) and all((ROOT / "plasticity" / name).exists() for name in files)
    assert all((ROOT / name).is_dir() for name in re.findall(r"^    (\w+/)", tree, flags=re.M))
    notebooks = {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert set(re.findall(r"\(notebooks/([^)]*)\)", README)) == notebooks


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_there(page):
    text = (ROOT / page).read_text("utf-8")
    code = "\n".join(re.findall(r"^    .*|`[^`\n]+`", text, flags=re.M))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    assert set(re.findall(r"\bmake ([a-z][a-z-]+)", code)) <= targets
    assert set(re.findall(r"(?:^|[`;] *| {4})plasticity ([a-z]+)", code)) <= set(COMMANDS)


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), flags=re.S | re.M)


def test_the_method_that_the_page_adds_works(monkeypatch, world, tiny_run):
    names = {}
    exec(blocks("docs/add-a-method.md")[0], names)
    monkeypatch.setitem(registry.NAMED, "bias_decay", names["BiasDecay"])
    assert registry.canonical("10M+bias_decay(rate=0.01)") == "10M + bias_decay"
    with pytest.raises(ValueError, match="rate=2.0 is outside its range"):
        registry.canonical("bias_decay(rate=2)")
    first, neutral, strong = (
        train.fit(tiny_run(case=case, max_epochs=1), world, "cpu", weights=world / "mini_resnet.pt").history[0]
        for case in ("base", "bias_decay(rate=0)", "bias_decay(rate=0.5)")
    )
    assert first == neutral != strong


@pytest.mark.slow
def test_the_page_compares_it_with_base(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(registry, "NAMED", dict(registry.NAMED))
    monkeypatch.chdir(tmp_path)  # outside of a checkout folders are the working folder's
    names = {}
    for block in blocks("docs/add-a-method.md"):
        exec(block, names)
    said = re.findall(r"^(.*bias_decay\(rate=0.05\)) [-+].* \(n = 9\) points$", capsys.readouterr().out, flags=re.M)
    assert said == ["bias_decay(rate=0.05)", "10M + bias_decay(rate=0.05)"]
    assert len(list(tmp_path.glob("results/bias_decay/runs/*/*.json"))) == 27
