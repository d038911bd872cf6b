"""Standard streams that are closed, full, of a poor encoding or read no more, of real processes."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
from helpers import ROOT
from nbformat.v4 import new_code_cell, new_notebook

from plasticity.__main__ import COMMANDS
from plasticity.running.identity import source

POOR = [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}]
POOR += [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
TABLE = "group,name,accuracy,accuracy_std\n±中,base,57.926,1.463\n"
PLAN = {"source": source(), "profile": "quick", "repeats": 1, "reading": "code", "runs": ["resnet/dada中-base-s0-0"]}
BUFFERS = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


def shell(line, folder, **environment):
    """(exit code, stdout, stderr) of a line for bash, in which $P is the command."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    known |= {"PYTHONPATH": str(ROOT), "P": f"{sys.executable} -m plasticity"} | environment
    done = subprocess.run(["bash", "-c", line], cwd=folder, env=known, capture_output=True, check=False)
    return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


@pytest.fixture
def folder(tmp_path):
    """One where `status` answers at once, as it knows the plan."""
    (tmp_path / "results/quick").mkdir(parents=True)
    (tmp_path / "results/quick/grid.json").write_text(json.dumps(PLAN), "utf-8")
    return tmp_path


@BUFFERS
@pytest.mark.parametrize("line", ["status quick", pytest.param("status quick --watch 0.2", marks=pytest.mark.slow)])
def test_a_reader_that_has_gone_is_sigpipe_to_the_shell(line, unbuffered, folder):
    gone = f"(sleep 0.3; $P {line}; echo $? > code) | true; while [ ! -s code ]; do sleep 0.05; done; cat code"
    assert shell(gone, folder, PYTHONUNBUFFERED=unbuffered) == (0, "141\n", "")


@BUFFERS
def test_a_full_disk_behind_stdout_is_one_line(unbuffered, folder):
    code, _, err = shell("$P status quick > /dev/full", folder, PYTHONUNBUFFERED=unbuffered)
    assert (code, err) == (1, "error: [Errno 28] No space left on device\n")


@pytest.mark.slow
@pytest.mark.parametrize("line, code", [("$P status quick", 0), ("$P status --nonsense", 2)])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_exit_code(line, code, closed, folder):
    assert shell(f"{line} {closed}", folder)[0] == code


@pytest.mark.parametrize("locale", POOR, ids=["ascii", "latin-1", "C"])
def test_what_an_encoding_lacks_is_escaped(locale, folder):
    code, out, err = shell("$P status quick", folder, **locale)
    assert code == 0 and "dada\\u4e2d" in out and err == ""


@pytest.mark.slow
@pytest.mark.parametrize("locale", POOR, ids=["ascii", "latin-1", "C"])
def test_an_audit_in_any_encoding(locale, tmp_path):
    (tmp_path / "t.csv").write_text(TABLE, "utf-8")
    code, out, err = shell("$P audit t.csv --sizes 1120 1130", tmp_path, **locale)
    assert code == 0 and "\\u4e2d: test items that fit all 1 rows: 1124" in out and err == ""


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_well_without_a_reader(command, tmp_path):
    gone = (
        f"(sleep 0.3; $P {command} --help; echo $? > code) | true; while [ ! -s code ]; do sleep 0.05; done; cat code"
    )
    assert shell(gone, tmp_path) == (0, "0\n", "")


@pytest.fixture
def notebook(folder):
    prints = "import time\nfor i in range(100):\n    print(i, '±中', flush=True)\n    time.sleep(0.01)"
    cells = [new_code_cell("n = 1", metadata={"tags": ["parameters"]}), new_code_cell(prints)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "a.ipynb")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("locale", POOR, ids=["ascii", "latin-1", "C"])
def test_a_notebook_that_ran_is_there_in_any_encoding(notebook, locale):
    code, out, _ = shell("$P execute a.ipynb b.ipynb", notebook, **locale)
    assert code == 0 and "\\u4e2d" in out and out.endswith("wrote b.ipynb\n") and (notebook / "b.ipynb").exists()


@pytest.mark.slow
def test_a_notebook_stops_when_nobody_reads_on(notebook):
    line = "$P execute a.ipynb b.ipynb 2>err | head -1; echo ${PIPESTATUS[0]}; grep -c error err"
    assert shell(line, notebook)[1].splitlines()[1:] == ["141", "0"]
    assert sorted(path.name for path in notebook.iterdir()) == ["a.ipynb", "err", "results"]
