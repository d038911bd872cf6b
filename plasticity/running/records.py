"""One JSON file per run, written atomically, never rewritten: the only truth about what has been done.

A record is a JSON object with a line for each field. The first line holds the SHA-256 of all lines after it, the second
(the head) what `status` wants to know, so that ten thousand records can be checked and counted without parsing them.
"""

import contextlib
import gc
import hashlib
import json
import os
import platform
from dataclasses import MISSING, fields
from pathlib import Path

from ..run import Run
from ..train import Fitted
from .identity import source
from .provenance import environment
from .record_format import is_whole

SCHEMA = 2
NAMES = tuple(field.name for field in fields(Run))
DEFAULTS = {field.name: field.default for field in fields(Run) if field.default is not MISSING}
ASIDE = "set-aside"


class RecordError(ValueError):
    """Records that can't be used as they are: from a newer version, or begun from other inputs. Nothing was changed."""


class Damaged(RecordError):
    """A record file that is torn, foreign or of another configuration; it is named, and `quarantine` moves it away."""


def path_of(run: Run, folder: str | Path) -> Path:
    """``folder/<architecture>/<dataset>-<case>-s<seed>-<key>.json``"""
    return Path(folder) / f"{run}.json"


def from_fitted(fitted: Fitted) -> dict:
    """The record of a finished run."""
    names = ("metrics", "history", "resets", "histogram", "seconds", "inputs", "resumed")
    return {"status": "done"} | {name: getattr(fitted, name) for name in names}


def failure(message: str, seconds: float, traceback: str = "") -> dict:
    """The record of a run that failed by itself, such as by a diverging loss; nothing ever counts it as a number."""
    return {"status": "failed", "message": message, "traceback": traceback, "seconds": seconds}


def save(run: Run, body: dict, folder: str | Path) -> Path:
    """Write a record whole or not at all. An existing one stays as it is: FileExistsError. OSError if the disk is
    full."""
    head = {"schema": SCHEMA, "status": body["status"], "seconds": body["seconds"], "source": source()}
    record = {"head": head, "config": _config(run), **body, "environment": environment()}
    text = "\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in record.items()) + "\n}\n"
    return _write(path_of(run, folder), f'{{"sha256": "{hashlib.sha256(text.encode()).hexdigest()}",{text}')


def adopt(run: Run, text: str, folder: str | Path) -> Path:
    """Write a record that was made elsewhere, as it was made, unless there is one. Raises `Damaged` if it is not the
    run's."""
    path = path_of(run, folder)
    _of(run, parse(text.encode(), path), path)
    with contextlib.suppress(FileExistsError):
        _write(path, text)
    return path


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{platform.node()}-{os.getpid()}.partial")
    try:
        with open(partial, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _publish(partial, path)
        _sync(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        why = f"{error.strerror}, while writing a record; all earlier ones are whole"
        raise OSError(error.errno, why, str(path)) from None
    finally:
        partial.unlink(missing_ok=True)
    return path


def _publish(partial: Path, path: Path) -> None:
    """Give a whole record its name. Unlike a rename alone, this never replaces one that another process wrote
    meanwhile."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except (OSError, AttributeError):  # no hard links here: exFAT, BeeGFS, Android
        open(path, "xb").close()  # an empty file is no record: should this process die now, the next one sets it aside
        partial.replace(path)


def _sync(folder: Path) -> None:
    """Have the folder's entries on the disk, too, so that a power cut takes no record back."""
    with contextlib.suppress(OSError):  # where folders can't be opened or synced
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def parse(content: bytes, path: str | Path) -> dict:
    """The record that ``path`` holds as ``content``.

    Raises `Damaged` if it is torn or no record of this project, RecordError if it is from a newer version.
    """
    if not is_whole(content):
        raise Damaged(f"{path} is no whole record: torn, edited, or another file (its checksum does not match)")
    record = json.loads(content)
    if (schema := record["head"]["schema"]) != SCHEMA:
        todo = f"this version reads {SCHEMA}; use the version that wrote it"
        raise RecordError(f"{path} has record schema {schema}, {todo}")
    return record


def load_run(run: Run, folder: str | Path) -> dict | None:
    """The record of a run, or None. Raises as `parse` does, and `Damaged` for a record of another configuration."""
    path = path_of(run, folder)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return _of(run, parse(content, path), path)


def _of(run: Run, record: dict, path: Path) -> dict:
    """The record, if it is the run's."""
    config = record["config"] = DEFAULTS | record["config"]  # a field that came later had its default then
    wanted = _config(run)
    if config != wanted:
        differ = {k: (config.get(k), v) for k, v in wanted.items() if config.get(k) != v}
        raise Damaged(f"{path} is of another configuration; (recorded, wanted): {differ}")
    return record | {"config": wanted}  # in the fields' order, which tables keep


def load_whole(run: Run, folder: str | Path) -> dict | None:
    """The record of a run, or None; also None where something else stands in its place."""
    try:
        return load_run(run, folder)
    except Damaged:
        return None


def is_recorded(run: Run, folder: str | Path) -> bool:
    """Whether the run has a whole record."""
    return load_whole(run, folder) is not None


def missing(runs, folder: str | Path) -> list[Run]:
    """The runs that have no whole record yet, in order. A failed run has one; see `retry`."""
    return [run for run in runs if not is_recorded(run, folder)]


def quarantine(path: str | Path, folder: str | Path) -> Path:
    """Move a file of the records' ``folder`` to ``set-aside`` beside that folder; returns where it is now. Nothing is
    deleted."""
    path, folder = Path(path), Path(folder)
    target = folder.parent / ASIDE / path.relative_to(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    while target.exists():
        target = target.with_name(target.name + "~")
    path.rename(target)
    return target


def clear_the_way(runs, folder: str | Path, failed: bool = False) -> list[str]:
    """Set aside what stands in the place of the runs' records and is none; with ``failed``, failed runs' records, too.

    Returns a line for each file. Raises RecordError for records from a newer version of this project.
    """
    lines = []
    for run in runs:
        try:
            record = load_run(run, folder)
            why = "it failed, and is to be tried again" if failed and record and record["status"] == "failed" else None
        except Damaged as error:
            why = str(error)
        if why:
            lines.append(f"set aside as {quarantine(path_of(run, folder), folder)}: {why}")
    return lines


@contextlib.contextmanager
def _no_collection():
    """Without looking for garbage: among ten thousand growing records there is none, and looking takes half the
    time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def load_runs(runs, folder: str | Path) -> list[dict]:
    """The records there are of these runs. Raises RecordError if runs that belong together began from other data or
    weights."""
    with _no_collection():
        records = [record for run in runs if (record := load_run(run, folder)) is not None]
    seen: dict[tuple, str] = {}
    for record in records:
        config = record["config"]
        of_data = dict.fromkeys(("data", "game"), (config["dataset"],))
        where = of_data | {"weights": (config["architecture"], config["weights"])}
        for what, sha256 in record.get("inputs", {}).items():
            first = seen.setdefault((what, *where[what]), sha256) if sha256 else sha256
            if first != sha256:
                hashes = f"{where[what]} ({first[:8]}, {sha256[:8]})"
                raise RecordError(
                    f"records in {folder} began from different {what} for {hashes}: move the older ones away"
                )
    return records


def _config(run: Run) -> dict:
    return {name: getattr(run, name) for name in NAMES}  # asdict copies deeply, which takes ten times as long
