"""What made a record is found out or null: no machine without git, or with an odd one, loses or falsifies a record."""

import os
import shutil
import subprocess

import pytest

from plasticity.running import engine, provenance, records

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="needs git")
WHO = ["-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false"]


def git(folder, *arguments):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", "-C", folder, *WHO, *arguments], env=clean, capture_output=True, check=True)
    return done.stdout.decode().strip()


def program(folder, text):
    folder.mkdir()
    (folder / "git").write_text(text)
    (folder / "git").chmod(0o755)
    return str(folder)


@pytest.fixture
def module(tmp_path):
    """A committed file in a folder of a repository."""
    file = tmp_path / "repository" / "package" / "module.py"
    file.parent.mkdir(parents=True)
    file.write_text("x = 1\n")
    git(file.parent.parent, "init", "-q")
    git(file.parent.parent, "add", ".")
    git(file.parent.parent, "commit", "-qm", "x")
    return file


@pytest.fixture
def commit(module):
    return git(module.parent, "rev-parse", "HEAD")


def test_the_commit_that_holds_the_file_and_whether_it_has_changed(module, commit):
    assert provenance.checkout(module) == (commit, False)
    module.with_name("new.py").touch()
    assert provenance.checkout(module) == (commit, False), "files that git does not track change nothing"
    module.write_text("x = 2\n")
    assert provenance.checkout(module) == (commit, True)


def no_repository(folder, file):
    shutil.rmtree(file.parents[1] / ".git")


def nothing_committed(folder, file):
    no_repository(folder, file)
    git(file.parent, "init", "-q", file.parents[1])
    git(file.parent, "add", ".")


def in_somebody_elses(folder, file):
    git(file.parent, "rm", "-q", "--cached", file.name)
    (file.parents[1] / "theirs").touch()
    git(file.parents[1], "add", "theirs")
    git(file.parents[1], "commit", "-qm", "theirs")


def only_staged(folder, file):
    in_somebody_elses(folder, file)
    git(file.parent, "add", file.name)


def somebody_elses(folder, file):
    if os.geteuid():
        pytest.skip("needs root, to give a folder away")
    for path in (file.parents[1], file.parents[1] / ".git"):
        os.chown(path, 12345, 12345)
    return {"HOME": str(folder)}  # where git's settings may trust everybody


def torn(folder, file):
    (file.parents[1] / ".git" / "HEAD").write_bytes(b"\xff")


ODD = {
    "no repository": no_repository,
    "nothing committed": nothing_committed,
    "another's repository": in_somebody_elses,
    "only staged": only_staged,
    "dubious ownership": somebody_elses,
    "a torn repository": torn,
    "no git": lambda folder, file: {"PATH": str(folder)},
    "no PATH": lambda folder, file: {"PATH": ""},
    "a git that hangs": lambda folder, file: {"PATH": program(folder / "bin", "#!/bin/sh\nexec /bin/sleep 60\n")},
    "a git that can't start": lambda folder, file: {"PATH": program(folder / "bin", "#!/nowhere/sh\n")},
    "a git that says other things": lambda folder, file: {
        "PATH": program(folder / "bin", "#!/bin/sh\necho hello git\n")
    },
    "a git that says no text": lambda folder, file: {
        "PATH": program(folder / "bin", "#!/bin/sh\nprintf '\\377 \\377'\n")
    },
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_what_is_not_known_is_null(module, tmp_path, monkeypatch, odd):
    monkeypatch.setattr(provenance, "SECONDS", 0.5)
    for name, value in (odd(tmp_path, module) or {}).items():
        monkeypatch.setenv(name, value)
    assert provenance.checkout(module) == (None, None)


def test_variables_of_a_git_hook_do_not_lead_elsewhere(module, commit, tmp_path, monkeypatch):
    other = tmp_path / "other"
    git(tmp_path, "init", "-q", other)
    git(other, "commit", "-q", "--allow-empty", "-m", "other")
    for name, value in {"GIT_DIR": other / ".git", "GIT_WORK_TREE": other, "GIT_INDEX_FILE": other / "index"}.items():
        monkeypatch.setenv(name, str(value))
    assert provenance.checkout(module) == (commit, False)


@pytest.mark.slow
def test_a_status_that_takes_too_long_is_not_taken_for_clean(module, commit, tmp_path, monkeypatch):
    real = shutil.which("git")
    script = f'#!/bin/sh\ncase "$*" in *--porcelain*) exec /bin/sleep 60;; esac\nexec {real} "$@"\n'
    monkeypatch.setenv("PATH", program(tmp_path / "bin", script))
    monkeypatch.setattr(provenance, "SECONDS", 5)
    assert provenance.checkout(module) == (commit, None)


@pytest.fixture
def asked_anew():
    records.environment.cache_clear()
    yield
    records.environment.cache_clear()


def test_without_git_runs_are_recorded(place, tiny_run, tmp_path, monkeypatch, asked_anew):
    monkeypatch.setenv("PATH", str(tmp_path))
    (record,) = engine.run_all([tiny_run()], place)
    about = record["environment"]
    assert record["status"] == "done" and about["commit"] is about["dirty"] is None and about["source"]
