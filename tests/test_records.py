"""Records: atomic, checked, never rewritten, never a number when failed."""

import json
import os

import numpy as np
import pytest

from plasticity import records, train


@pytest.fixture
def fitted(world, tiny_run):
    return train.fit(tiny_run(max_epochs=2), world, "cpu", weights=world / "mini_resnet.pt")


def test_round_trip(fitted, tmp_path):
    path = records.save(fitted.run, records.from_fitted(fitted), tmp_path)
    assert path == tmp_path / "mini_resnet" / f"photos-base-s0-{fitted.run.key}.json"
    record = records.load_run(fitted.run, tmp_path)
    assert record["metrics"] == fitted.metrics and record["history"] == fitted.history
    assert record["environment"]["torch"] and record["environment"]["machine"] and record["inputs"]["data"]
    row = records.frame([record]).iloc[0]
    assert row["accuracy"] == fitted.metrics["accuracy"] and row["case"] == "base" and row["status"] == "done"
    assert len(records.histories([record])) == 2
    assert records.histogram([record], case="base").sum() == sum(fitted.histogram)


def test_never_rewritten(fitted, tmp_path):
    path = records.save(fitted.run, records.from_fitted(fitted), tmp_path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        records.save(fitted.run, records.failure("later", 1.0), tmp_path)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda text: text[: len(text) // 2], "no whole record.*move it away"),
        (lambda text: text.replace('"epochs": 2', '"epochs": 3'), "does not match its own checksum"),
        (lambda text: "[1, 2]", "no whole record"),
        (lambda text: "", "no whole record"),
        (lambda text: json.dumps({"hello": "world"}), "no whole record"),
    ],
)
def test_torn_or_foreign_files_are_named_and_kept(fitted, tmp_path, damage, message):
    path = records.save(fitted.run, records.from_fitted(fitted), tmp_path)
    path.write_text(damage(path.read_text()))
    damaged = path.read_bytes()
    with pytest.raises(records.RecordError, match=message) as error:
        records.missing([fitted.run], tmp_path)
    assert str(path) in str(error.value) and path.read_bytes() == damaged


def test_a_record_of_another_configuration_is_refused(fitted, tiny_run, tmp_path):
    other = tiny_run(max_epochs=2, lr=0.5)
    path = records.save(fitted.run, records.from_fitted(fitted), tmp_path)
    os.rename(path, records.path_of(other, tmp_path))
    with pytest.raises(records.RecordError, match=r"another configuration.*'lr': \(0.01, 0.5\)"):
        records.load_run(other, tmp_path)


def test_a_future_schema_is_refused(fitted, tmp_path):
    path = records.save(fitted.run, records.from_fitted(fitted), tmp_path)
    record = json.loads(path.read_text()) | {"schema": 99}
    record["sha256"] = records._checksum({k: v for k, v in record.items() if k != "sha256"})
    path.write_text(json.dumps(record))
    with pytest.raises(records.RecordError, match="schema 99, this version reads 1"):
        records.load(path)


def test_mixed_inputs_are_refused(fitted, tiny_run, tmp_path):
    records.save(fitted.run, records.from_fitted(fitted), tmp_path)
    other = tiny_run(max_epochs=2, case="10M")
    body = records.from_fitted(fitted) | {"inputs": {"data": "0" * 64, "weights": None}}
    records.save(other, body, tmp_path)
    with pytest.raises(records.RecordError, match="different data"):
        records.load_runs([fitted.run, other], tmp_path)


def test_a_failed_run_is_recorded_and_no_number(fitted, tiny_run, tmp_path):
    failed = tiny_run(case="25N")
    records.save(failed, records.failure("training loss is nan", 0.5), tmp_path)
    records.save(fitted.run, records.from_fitted(fitted), tmp_path)
    assert records.missing([failed, fitted.run], tmp_path) == []
    frame = records.frame(records.load_runs([failed, fitted.run], tmp_path)).set_index("case")
    assert frame.loc["25N", "status"] == "failed" and np.isnan(frame.loc["25N", "accuracy"])
    assert frame["accuracy"].mean() == fitted.metrics["accuracy"]


def test_only_what_is_missing(fitted, tiny_run, tmp_path):
    records.save(fitted.run, records.from_fitted(fitted), tmp_path)
    others = [tiny_run(seed=s) for s in (1, 2)]
    assert records.missing([fitted.run, *others], tmp_path) == others
