"""The notebooks keep their conventions, and really run: each through ``execute`` with profile quick."""

import ast
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import nbformat
import pandas as pd
import pytest
from helpers import ROOT, run_notebook

from plasticity.__main__ import build_parser, main
from plasticity.analysis import frames
from plasticity.analysis.verdict import UNTESTED, VERDICTS
from plasticity.book import execute
from plasticity.cli import reproduce
from plasticity.profiles import get_profile, grid
from plasticity.running import records
from plasticity.running.engine import Place, recorded
from plasticity.studies import all as every_study
from plasticity.studies.audit import contradictions
from plasticity.studies.companions import runs as studies
from plasticity.studies.main_paper import claims
from plasticity.studies.rl import runs as games
from plasticity.studies.sensitivity import runs as sensitivity

PATHS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
NETWORKS = ["10_simplenet", "11_resnet50", "12_vit_b16", "13_efficientnet_lite0"]
PAPERS = ["00_data_prep", "05_the_method", *NETWORKS[:3], "20_analysis", "30_figures"]
CHECKS = ["40_paper_audit", "41_claims", "42_sensitivity", "45_playground", "46_your_own_model"]
COMPANIONS = [
    "50_warm_start",
    "51_continual",
    "52_soft_rescaling",
    "53_plasticity_metrics",
    "54_all_methods_on_transfer",
]
LENGTHS, GAMES = "55_lengths", "56_reinforcement_learning"  # which `make companions` leaves out
ORDER = ["title", "parameters", "setup", "plan", "run", "summary"]
UNEXPLAINED = {*ORDER, "network"} - {"plan"}  # cells that need no prose of their own before them


def read(name):
    return nbformat.read(PATHS[name], as_version=4).cells


def code(name):
    return [cell for cell in read(name) if cell.cell_type == "code"]


def test_all_of_them_are_here():
    assert list(PATHS) == sorted([*PAPERS, *NETWORKS[3:], *CHECKS, *COMPANIONS, LENGTHS, GAMES])
    assert reproduce.COMPANIONS == COMPANIONS and reproduce.CHECKS == CHECKS


@pytest.mark.parametrize("name", PATHS)
def test_word_ids_in_order_prose_before_each_section_and_no_outputs(name):
    cells = read(name)
    ids = [cell.id for cell in cells]
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*", i) for i in ids) and [i for i in ids if i in ORDER] == ORDER
    assert all(not cell.outputs and cell.execution_count is None for cell in code(name)), "outputs are committed"
    pairs = zip(cells, cells[1:], strict=False)
    bare = {after.id for before, after in pairs if before.cell_type == after.cell_type == "code"}
    assert bare <= UNEXPLAINED
    assert all(f"**{word}**" in cells[0].source for word in ("Makes", "From", "Time"))
    assert "report.check(" in cells[-1].source


@pytest.mark.parametrize("name", PATHS)
def test_one_parameters_cell_the_same_everywhere(name):
    tagged, common = (
        [cell.source for cell in read(stem) if "parameters" in cell.metadata.get("tags", [])]
        for stem in (name, PAPERS[0])
    )
    assert len(tagged) == 1
    if name == "46_your_own_model":  # a reader's network and images, instead of a profile's
        mine, usual = (list(execute.parameters_of(PATHS[stem])) for stem in (name, PAPERS[0]))
        shared = [parameter for parameter in mine if parameter in usual]
        assert set(mine) - set(shared) == {"model", "images"}
        assert shared == [parameter for parameter in usual if parameter in mine] and len(shared) == 6
    else:
        assert tagged == common
    lines = tagged[0].splitlines()
    assert len(lines) <= 8 and all(re.fullmatch(r"""[a-z]+ = ("[^"]*"|\d+)  # .+""", line) for line in lines), lines


@pytest.mark.parametrize("name", PATHS)
def test_each_parameter_is_read_and_none_reassigned(name):
    names = execute.parameters_of(PATHS[name])
    trees = [ast.walk(ast.parse(cell.source)) for cell in code(name) if cell.id != "parameters"]
    used = [node for tree in trees for node in tree if isinstance(node, ast.Name) and node.id in names]
    assert {node.id for node in used if isinstance(node.ctx, ast.Load)} == set(names)
    assert not [node.id for node in used if isinstance(node.ctx, ast.Store)]


@pytest.mark.parametrize("name", PATHS)
def test_cells_hold_no_logic_and_lines_fit(name):
    """A page of the site shows 96 characters of code without a scroll bar, 1280 pixels wide."""
    for cell in code(name):
        assert max(len(line) for line in cell.source.splitlines()) <= 96, cell.id
        assert not re.search(r"^\s*[%!]", cell.source, re.M) and len(cell.source.splitlines()) <= 20, cell.id
        functions = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.FunctionDef)]
        assert all(node.end_lineno - node.lineno < 5 for node in functions), cell.id
    assert max(len(line) for cell in read(name) for line in cell.source.splitlines()) <= 120


def test_the_networks_notebooks_differ_in_prose_and_in_one_cell_alone():
    first, *others = ({cell.id: cell.source for cell in code(name) if cell.id != "network"} for name in NETWORKS)
    assert all(list(other.items()) == list(first.items()) for other in others)
    assert len({next(cell.source for cell in code(name) if cell.id == "network") for name in NETWORKS}) == 4


MADE = {"reproduce": PAPERS, "checks": [PAPERS[0], *NETWORKS[:3], *CHECKS], "companions": COMPANIONS, "rl": [GAMES]}


@pytest.mark.parametrize("target", MADE)
def test_make_and_the_command_line_name_the_same_notebooks(target):
    dry = ["make", "-n", target, "PROFILE=quick", "RESULTS=nowhere"]
    text = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # A dry run makes nothing, so the second make of `reproduce` names again what the first would have made.
    named = list(dict.fromkeys(re.findall(r"execute notebooks/(\w+)\.ipynb", text)))
    options = build_parser("reproduce").parse_args(["reproduce", "quick", f"--{target}"][: 2 + (target != "reproduce")])
    assert [name for stage in reproduce.stages(options, NETWORKS[:3]) for name in stage] == MADE[target]
    assert sorted(named) == sorted(MADE[target])
    # 05_the_method reads the data alone: make has it beside the notebooks that read the runs.
    orders = [[name for name in names if name != "05_the_method"] for names in (named, MADE[target])]
    assert target == "checks" or (named[0] == MADE[target][0] and orders[0] == orders[1])


def pictures(folder, names):
    return {name: (folder / "notebooks" / f"{name}.ipynb").read_text().count('"image/png"') for name in names}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Profile quick in a folder of its own; notebooks that do not need each other run side by side, as by make -j2."""
    folder = tmp_path_factory.mktemp("quick")
    with ThreadPoolExecutor(2) as pool:
        for names in (PAPERS[:2], PAPERS[2:5], PAPERS[5:]):
            list(pool.map(partial(run_notebook, folder=folder), names))
    return folder


def test_quick_makes_every_table_and_figure(executed):
    tables = {path.name for path in (executed / "tables").iterdir()}
    assert {f"table{n}.{ending}" for n in range(1, 7) for ending in ("csv", "md", "tex")} <= tables
    figures = {path.name for path in (executed / "figures").iterdir()}
    assert {"figure1_25M.pdf", "figure1_25N.pdf", "00_transfer.png", "30_convergence.png", "10_accuracy.pdf"} <= figures
    assert not list(executed.rglob("*.partial*"))
    runs = grid(get_profile("quick"))
    assert records.missing(runs, executed / "runs") == [] and len(runs) == 36


def test_executed_notebooks_show_their_figures_as_pictures(executed):
    assert list(pictures(executed, PAPERS).values()) == [5, 3, 1, 1, 1, 0, 7]


@pytest.mark.slow
def test_quick_again_trains_nothing_and_gives_equal_bytes(executed):
    files = [*(executed / "runs").rglob("*.json"), *(executed / "tables").iterdir()]
    before = {path: path.read_bytes() for path in files}
    run_notebook("20_analysis", executed, executed / "20-again.ipynb")
    assert {path for path in files if path.read_bytes() != before[path]} == set()


def test_nothing_is_executed_again(executed, capsys):
    assert main(["reproduce", "quick", "--results", str(executed), "--data", str(executed / "data")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{executed}/notebooks/{name}.ipynb is up to date" for name in PAPERS]


def test_tables_tell_what_the_records_say(executed):
    frame = frames.frame(records.load_runs(grid(get_profile("quick")), executed / "runs"))
    base = frame.query("architecture == 'mini_vit' and dataset == 'photos' and case == 'base'").accuracy.mean()
    tables = executed / "tables"
    assert f"{100 * base:.3f}" in (tables / "table5.md").read_text()
    assert len(contradictions.contradictions()) == len(pd.read_csv(tables / "20_contradictions.csv"))


@pytest.fixture(scope="module")
def companions(executed):
    """The companion studies of profile quick in the same folder, which has the data and the pretrained weights."""
    run_notebook(COMPANIONS[0], executed)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(partial(run_notebook, folder=executed), COMPANIONS[1:]))
    return executed


@pytest.mark.slow
def test_the_companions_make_every_table_and_figure(companions):
    runs = every_study.grid(studies.companion("quick"))
    done = records.load_runs(runs, companions / "runs")
    assert len(done) == len(runs) and {record["status"] for record in done} == {"done"}
    tables = {path.name for path in (companions / "tables").iterdir()}
    assert {f"{name}_claims.md" for name in ("50", "51", "52", "53")} <= tables and "54_ranking.csv" in tables
    assert list(pictures(companions, COMPANIONS).values()) == [8, 3, 6, 2, 2]
    base = [
        record["metrics"]["accuracy"]
        for run, record in zip(runs, done, strict=True)
        if (run.architecture, run.scenario, run.case) == ("mini_vgg", "single", "base")
    ]
    assert f"{100 * base[0]:.1f}" in (companions / "tables" / "50_methods_beside.md").read_text()


@pytest.fixture(scope="module")
def checks(executed):
    """The notebooks 40 to 46 of profile quick in the same folder."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(partial(run_notebook, folder=executed), CHECKS))
    return executed


@pytest.mark.slow
def test_the_checks_make_every_table_and_figure(checks):
    assert list(pictures(checks, CHECKS).values()) == [2, 4, 3, 4, 3]
    runs = pd.read_csv(checks / "runs_42.csv")
    assert len(runs) == len(sensitivity.grid(get_profile("sensitivity_quick")))
    watched = runs[runs.monitor == "test"]
    assert len(watched) == 2 and (watched.test_accuracy == watched.accuracy).all()
    judged = pd.read_csv(checks / "tables" / "41_claims.csv").dropna(subset="Verdict")  # a claim's first line has it
    assert len(judged) == len(claims.CLAIMS) and set(judged.Verdict) <= {*VERDICTS, UNTESTED}
    assert not list(checks.rglob("*.partial*"))


@pytest.mark.slow
def test_the_games_make_every_table_and_figure(tmp_path):
    run_notebook(GAMES, tmp_path)
    done = records.load_runs(games.grid(games.profile_of("quick")), tmp_path / "runs")
    assert len(done) == 12 and {record["status"] for record in done} == {"done"}
    assert list(pictures(tmp_path, [GAMES]).values()) == [6]
    judged = pd.read_csv(tmp_path / "tables" / "56_claims.csv").dropna(subset="Verdict")
    assert set(judged.Verdict) <= {*VERDICTS, UNTESTED}
    scores = pd.read_csv(tmp_path / "runs_56.csv")
    assert sorted(scores.score) == sorted(record["metrics"]["score"] for record in done)
    assert (tmp_path / "findings" / "56.md").read_text("utf-8").startswith("Hare & Tortoise ")


def test_claims_name_the_command_that_makes_what_is_missing(tmp_path):
    said = r"has none of 36 records; missing are 12 of mini_simplenet, .*make reproduce PROFILE=quick"
    with pytest.raises(FileNotFoundError, match=said):
        recorded(grid(get_profile("quick")), Place("data", tmp_path), "make reproduce PROFILE=quick")
