"""The benchmark of a GPU, as far as a machine without one can tell: every part of it runs, and finds what is there."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def measure(*options):
    return subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_smoke(tmp_path):
    parts = ("right", "kernels", "poison", "speed", "loader", "share")
    told = measure("--smoke", "--only", *parts, "--markdown", tmp_path / "gpu.md")
    assert told.returncode == 0, told.stderr
    rows = [line for line in (tmp_path / "gpu.md").read_text().splitlines() if line.startswith("| ")]
    right = [row for row in rows if "as the CPU's" in row]
    assert len(right) == 10 and all("0.0e+00" in row for row in right), "the CPU beside itself"
    assert "losses 0.0e+00 and 0.0e+00 apart; resumed after epoch [1]" in "\n".join(rows)
    assert sum("images/s" in row for row in rows) == 5 and not any("FAILED" in row for row in rows)
    assert sum(row.startswith("| job") and row.endswith("| done |") for row in rows) == 3, (
        "after a poisoned process, too"
    )


def test_says_what_to_do_without_a_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    told = measure()
    assert told.returncode == 1 and "error: torch sees no CUDA device here: --smoke" in told.stderr
