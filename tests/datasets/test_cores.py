"""How many cores a process may use: the real affinity, and what schedulers put into the environment."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

from plasticity.datasets import cores, decode


@pytest.fixture(autouse=True)
def nothing_granted(monkeypatch):
    for name in cores.GRANTED:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", cores.GRANTED)
def test_a_scheduler_s_share_is_kept_to(monkeypatch, name):
    everything = cores.usable_cores()
    monkeypatch.setenv(name, "1")
    assert cores.usable_cores() == 1
    for value in ("4096", "0", "", "2(x3)", "-1"):
        monkeypatch.setenv(name, value)
        assert cores.usable_cores() == everything, value


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_a_process_that_is_pinned_to_one_core_uses_one():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from plasticity.datasets import cores"
    done = subprocess.run([sys.executable, "-c", f"{code}; print(cores.usable_cores())"], cwd=ROOT, capture_output=True)
    assert done.stdout == b"1\n", done.stderr


def test_images_are_decoded_by_as_many_threads_as_were_granted(tmp_path, monkeypatch):
    files, threads, read = [tmp_path / f"{i}.png" for i in range(8)], set(), decode.read
    for file in files:
        Image.new("RGB", (64, 64)).save(file)

    def noting(*arguments):
        threads.add(threading.get_ident())
        return read(*arguments)

    monkeypatch.setattr(decode, "read", noting)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    decode.decode(files, np.empty((8, 16, 16, 3), np.uint8))
    assert len(threads) == 1


def test_cores_are_counted_in_one_place():
    others = ("cpu_count()", "process_cpu_count", "sched_getaffinity", "ThreadPoolExecutor()")
    files = [path for folder in ("plasticity", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    assert [path.name for path in files if any(each in path.read_text("utf-8") for each in others)] == ["cores.py"]
