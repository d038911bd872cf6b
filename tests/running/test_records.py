"""Records: atomic, checked, never rewritten, never a number when failed."""

import errno
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import fill, where_the_system_refuses

from plasticity import train
from plasticity.analysis import frames
from plasticity.analysis.frames import histogram, histories
from plasticity.running import records


@pytest.fixture
def fitted(world, tiny_run):
    return train.fit(tiny_run(max_epochs=2), world, "cpu", weights=world / "mini_resnet.pt")


def test_round_trip(fitted, tmp_path):
    path = records.save(fitted.run, records.from_fitted(fitted), tmp_path)
    assert path == tmp_path / "mini_resnet" / f"photos-base-s0-{fitted.run.key}.json"
    record = records.load_run(fitted.run, tmp_path)
    assert record["metrics"] == fitted.metrics and record["history"] == fitted.history
    assert record["environment"]["torch"] and record["environment"]["machine"] and record["inputs"]["data"]
    table = frames.frame([record])
    assert list(table.columns[:3]) == ["architecture", "dataset", "case"], "the fields' order, not the file's"
    row = table.iloc[0]
    assert row["accuracy"] == fitted.metrics["accuracy"] and row["case"] == "base" and row["status"] == "done"
    assert len(histories([record])) == 2
    assert histogram([record], case="base").sum() == sum(fitted.histogram)


def test_never_rewritten(fitted, tmp_path):
    path = records.save(fitted.run, records.from_fitted(fitted), tmp_path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        records.save(fitted.run, records.failure("later", 1.0), tmp_path)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


DAMAGES = {
    "torn": lambda text: text[: len(text) // 2],
    "a number edited": lambda text: text.replace('"epochs": 2', '"epochs": 3'),
    "a name edited": lambda text: text.replace('"metrics"', '"metrlcs"'),
    "of the first schema": lambda text: json.dumps({"schema": 1, "config": {}, "sha256": "0" * 64}),
    "a list": lambda text: "[1, 2]",
    "empty": lambda text: "",
    "zeros": lambda text: "\0" * len(text),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_torn_or_foreign_files_are_named_quarantined_and_kept(fitted, tmp_path, damage):
    runs = tmp_path / "runs"
    path = records.save(fitted.run, records.from_fitted(fitted), runs)
    path.write_text(damage(path.read_text()))
    damaged = path.read_bytes()
    with pytest.raises(records.Damaged, match="no whole record: torn, edited") as error:
        records.load_run(fitted.run, runs)
    assert str(path) in str(error.value) and path.read_bytes() == damaged
    assert records.missing([fitted.run], runs) == [fitted.run], "never read as numbers"
    (line,) = records.clear_the_way([fitted.run], runs)
    aside = tmp_path / records.ASIDE / path.relative_to(runs)
    assert f"set aside as {aside}: {path}" in line and aside.read_bytes() == damaged and not path.exists()
    path.write_text("again")
    records.clear_the_way([fitted.run], runs)
    assert aside.read_bytes() == damaged and aside.with_name(aside.name + "~").read_text() == "again"


def test_a_record_of_another_configuration_is_set_aside(fitted, tiny_run, tmp_path):
    other = tiny_run(max_epochs=2, lr=0.5)
    path = records.save(fitted.run, records.from_fitted(fitted), tmp_path / "runs")
    os.rename(path, records.path_of(other, tmp_path / "runs"))
    with pytest.raises(records.Damaged, match=r"another configuration.*'lr': \(0.01, 0.5\)"):
        records.load_run(other, tmp_path / "runs")
    assert len(records.clear_the_way([other], tmp_path / "runs")) == 1 and records.missing(
        [other], tmp_path / "runs"
    ) == [other]


def test_failed_records_are_tried_again_on_demand_and_kept(fitted, tmp_path):
    runs = tmp_path / "runs"
    path = records.save(fitted.run, records.failure("nan", 1.0, "Traceback: ..."), runs)
    assert records.clear_the_way([fitted.run], runs) == [] and path.exists()
    (line,) = records.clear_the_way([fitted.run], runs, failed=True)
    assert "it failed" in line and not path.exists()
    kept = tmp_path / records.ASIDE / path.relative_to(runs)
    assert records.parse(kept.read_bytes(), kept)["traceback"] == "Traceback: ..."


def test_a_record_made_elsewhere_is_adopted_as_it_is(fitted, tiny_run, tmp_path):
    text = records.save(fitted.run, records.from_fitted(fitted), tmp_path / "there").read_text()
    path = records.adopt(fitted.run, text, tmp_path / "here")
    assert path.read_text() == text and records.adopt(fitted.run, text, tmp_path / "here") == path
    with pytest.raises(records.Damaged, match="checksum"):
        records.adopt(fitted.run, text.replace('"done"', '"dono"'), tmp_path / "other")
    with pytest.raises(records.Damaged, match="another configuration"):
        records.adopt(tiny_run(lr=0.5), text, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_full_disk_leaves_no_half_record(fitted, small_disk):
    kept = records.save(fitted.run, records.from_fitted(fitted), small_disk / "runs")
    filler = fill(small_disk)
    with pytest.raises(OSError, match="No space left on device, while writing a record; all earlier ones are whole"):
        records.save(replace(fitted.run, seed=1), records.from_fitted(fitted), small_disk / "runs")
    assert list(kept.parent.iterdir()) == [kept] and records.parse(kept.read_bytes(), kept)
    filler.unlink()
    records.save(replace(fitted.run, seed=1), records.from_fitted(fitted), small_disk / "runs")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES])
def test_where_there_are_no_hard_links_records_are_whole_and_never_rewritten(tiny_run, tmp_path, number):
    run = tiny_run()

    def save_twice():
        with pytest.raises(OSError, match=os.strerror(number)):
            os.link(__file__, tmp_path / "link")
        path = records.save(run, records.failure("first", 1.0), tmp_path)
        with pytest.raises(FileExistsError):
            records.save(run, records.failure("second", 1.0), tmp_path)
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]

    where_the_system_refuses(["link", "linkat"], number, save_twice)
    assert records.load_run(run, tmp_path)["message"] == "first"


def test_a_process_killed_as_it_names_a_record_leaves_what_the_next_one_sets_aside(tiny_run, tmp_path, monkeypatch):
    run, runs = tiny_run(), tmp_path / "runs"

    def save_and_die():
        monkeypatch.setattr(Path, "replace", lambda *_: os._exit(9))
        records.save(run, records.failure("first", 1.0), runs)

    with pytest.raises(EOFError):
        where_the_system_refuses(["link", "linkat"], errno.EPERM, save_and_die)
    assert records.missing([run], runs) == [run] and len(records.clear_the_way([run], runs)) == 1
    records.save(run, records.failure("second", 1.0), runs)


def rewrite(path, old, new):
    """Edit a record and give it the checksum of what it says now."""
    rest = "\n" + path.read_text().partition("\n")[2].replace(old, new)
    path.write_text(f'{{"sha256": "{hashlib.sha256(rest.encode()).hexdigest()}",{rest}')


def test_a_future_schema_is_refused(fitted, tmp_path):
    path = records.save(fitted.run, records.from_fitted(fitted), tmp_path)
    rewrite(path, '"schema": 2', '"schema": 99')
    before = path.read_bytes()
    for ask in (records.load_runs, records.clear_the_way, records.missing):
        with pytest.raises(records.RecordError, match="schema 99, this version reads 2") as error:
            ask([fitted.run], tmp_path)
        assert not isinstance(error.value, records.Damaged) and path.read_bytes() == before, (
            "a newer record is no rubbish"
        )


def test_a_record_from_before_a_field_existed_still_counts(fitted, tmp_path):
    path = records.save(fitted.run, records.from_fitted(fitted), tmp_path)
    rewrite(path, '"precision": "fp32", ', "")
    assert '"precision"' not in path.read_text() and records.missing([fitted.run], tmp_path) == []
    assert frames.frame(records.load_runs([fitted.run], tmp_path)).iloc[0]["precision"] == "fp32"


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
    frame = frames.frame(records.load_runs([failed, fitted.run], tmp_path)).set_index("case")
    assert frame.loc["25N", "status"] == "failed" and np.isnan(frame.loc["25N", "accuracy"])
    assert frame["accuracy"].mean() == fitted.metrics["accuracy"]


def test_only_what_is_missing(fitted, tiny_run, tmp_path):
    records.save(fitted.run, records.from_fitted(fitted), tmp_path)
    others = [tiny_run(seed=s) for s in (1, 2)]
    assert records.missing([fitted.run, *others], tmp_path) == others
