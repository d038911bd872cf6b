"""The benchmark against Lightning and timm: its arithmetic, and that every contender does the same job."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def pipelines():
    spec = importlib.util.spec_from_file_location("pipelines", Path(__file__).parents[1] / "benchmarks/pipelines.py")
    module = sys.modules["pipelines"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["pipelines"]


def test_clock_leaves_out_the_first_epoch_and_the_test(pipelines, monkeypatch):
    times = iter([0, 50, 90, 95, 100, 101, 103, 104, 107, 108, 110, 200, 300])
    monkeypatch.setattr(pipelines.time, "perf_counter", lambda: next(times))
    clock = pipelines.Clock("cpu")
    for kinds in (
        ("begin", "step", "trained", "validated"),
        ("begin", "step", "begin", "step", "trained", "validated"),
    ):
        for kind in kinds:
            clock.note(kind, 32 if kind == "begin" else 0)
    clock.note("trained")
    clock.note("validated")
    summary = clock.summary(2)
    assert (summary["start"], summary["epoch"], summary["training"], summary["steps"]) == (100, 10, 8, 6)
    assert summary["beyond"] == 1 / 4 and summary["images"] == 48


def test_table_compares_with_the_first_contender(pipelines):
    row = {
        "training": 10.0,
        "steps": 12.0,
        "epoch": 4.0,
        "start": 9.0,
        "beyond": 0.01,
        "memory": 2**30,
        "device_memory": 0,
        "losses": [2.0, 1.0],
    }
    job = replace(pipelines.JOBS["resnet50"], contenders=("ours", "timm"))
    rounds = [{"ours": row, "timm": row | {"training": theirs}} for theirs in (5.0, 4.0, 2.0)]
    lines = pipelines.table(job, rounds).splitlines()
    assert lines[3] == "| timm | 4.0 | x 2.50 (2.00 to 5.00) | 12.0 | 4.00 | 9.0 | 1.0% | 1.00 | 2.000 to 1.000 |"
    assert [line.count("|") for line in lines] == [10] * 4


@pytest.mark.slow
def test_every_contender_does_the_same_job(pipelines, tmp_path):
    pytest.importorskip("lightning")
    job = replace(pipelines.JOBS["mini_resnet"], train=64, validation=16, epochs=2)
    pipelines.launch("prepare", job, tmp_path, "cpu")
    for contender in ("ours", "lightning", "timm+cached"):
        measured = pipelines.launch(contender, job, tmp_path, "cpu")
        assert measured["images"] == 64 and len(measured["losses"]) == 2, contender
        assert measured["memory"] > 2**27 and measured["training"] > 0, contender
