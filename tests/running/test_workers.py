"""Worker processes: a death costs one job's attempt and nothing else; nobody outlives the parent; Ctrl-C is quick."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch

from plasticity.running import workers
from plasticity.running.workers import Busy, InProcess, JobFailed, Lost, Processes, Unready, attempt


def done(function, jobs, pool, **more):
    with pool:
        return dict(workers.carry_out(function, jobs, pool, **more))


def double(number):
    return 2 * number


def die_once(mark, number):
    """Kills its own process the first time, as the system does when memory runs out."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(_):
    os._exit(3)


def fail(kind):
    raise {"job": RuntimeError, "place": FileNotFoundError, "busy": Busy}[kind](f"this is {kind}")


def fail_twice(marks):
    marks.joinpath(str(len(list(marks.iterdir())))).touch()
    if len(list(marks.iterdir())) < 3:
        raise RuntimeError("not yet")
    return "at last"


def count_busy(marks):
    marks.joinpath(str(len(list(marks.iterdir())))).touch()
    if len(list(marks.iterdir())) < 3:
        raise Busy("another one is at it")
    return "mine"


def where_am_i(_):
    time.sleep(0.3)
    return os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("SAID_LATER"), torch.get_num_threads(), os.getpid()


def nap(seconds):
    time.sleep(seconds)


@pytest.mark.parametrize("pool", [InProcess, lambda: Processes(2)])
def test_every_job_is_done_once(pool):
    assert done(double, {n: (n,) for n in range(20)}, pool()) == {n: 2 * n for n in range(20)}


def test_a_worker_that_dies_is_replaced_and_its_job_done(tmp_path, capsys):
    jobs = {n: (tmp_path / str(n), n) for n in range(6)}
    assert done(die_once, jobs, Processes(2)) == {n: n for n in range(6)}
    assert capsys.readouterr().out.count("was killed by SIGKILL; it goes on from its last epoch") == 6


def test_a_job_that_kills_every_worker_is_given_up_and_is_no_failure(monkeypatch):
    monkeypatch.setattr(workers, "LOSSES", 3)
    outcome = done(die, {0: (0,)}, Processes(2), retries=5)[0]
    assert (
        outcome.kind == "place"
        and "3 workers died under it; the last worker process ended with exit code 3" in outcome.message
    )


def test_workers_that_never_start_are_a_clear_error(monkeypatch):
    pool = Processes(1)
    monkeypatch.setattr(workers, "_Worker", lambda context, gpu: _Stillborn(context))
    with pytest.raises(RuntimeError, match="10 worker processes in a row died as they started .*exit code 5.*doctor"):
        done(double, {0: (0,)}, pool)


class _Stillborn(workers._Worker):
    def __init__(self, context):
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=os._exit, args=(5,))
        self.process.start()
        theirs.close()
        self.job, self.ready = None, False


def test_errors_say_whose_they_are():
    assert attempt(double, 4) == 8
    outcome = attempt(fail, "job")
    assert (outcome.kind, outcome.message) == ("job", "RuntimeError: this is job") and "in fail" in outcome.traceback
    assert attempt(fail, "place").kind == "place" and attempt(fail, "busy").kind == "busy"

    def raising(error):
        raise error

    for error, kind in [
        (OSError(errno.ENOSPC, "full"), "disk"),
        (OSError(errno.EROFS, "read-only"), "disk"),
        (MemoryError(), "place"),
        (torch.OutOfMemoryError("GPU"), "place"),
        (Unready("no weights"), "place"),
        (ValueError("x"), "job"),
    ]:
        assert attempt(raising, error).kind == kind, error


def test_retries_are_counted_per_job_and_the_last_error_is_kept(tmp_path, capsys):
    assert done(fail_twice, {0: (tmp_path,)}, InProcess(), retries=2) == {0: "at last"}
    assert "try 3 of 3" in capsys.readouterr().out
    outcome = done(fail, {"x": ("job",), "y": ("job",)}, InProcess(), retries=1)
    assert [outcome[key].message for key in "xy"] == ["RuntimeError: this is job"] * 2
    assert capsys.readouterr().out.count("try 2 of 2") == 2


def test_a_busy_job_is_asked_again_until_it_is_free(tmp_path):
    assert done(count_busy, {0: (tmp_path,)}, InProcess()) == {0: "mine"}


def full(_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_stops_the_grid_at_once():
    with pytest.raises(OSError, match="No space left on device.*Free some space and start again"):
        done(full, {n: (n,) for n in range(100)}, InProcess())


def test_workers_take_the_gpus_in_turn_one_thread_each_and_todays_environment(monkeypatch):
    monkeypatch.setattr(workers, "visible_gpus", lambda: ["3", "GPU-7"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("SAID_LATER", "yes")
    found = done(where_am_i, {n: (n,) for n in range(6)}, Processes(3, "auto")).values()
    assert {gpu for gpu, *_ in found} == {"3", "GPU-7"} and {(said, threads) for _, said, threads, _ in found} == {
        ("yes", 1)
    }
    found = done(where_am_i, {n: (n,) for n in range(2)}, Processes(2, "cuda:1")).values()
    assert {gpu for gpu, *_ in found} == {None}


def test_this_process_computes_with_one_thread_and_has_its_own_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    assert done(where_am_i, {0: (0,)}, InProcess())[0][2] == 1 and torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_without_cuda_there_are_no_gpus():
    assert torch.cuda.is_available() or workers.visible_gpus() == []


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import test_workers
from plasticity import workers
if __name__ == "__main__":
    pool = workers.Processes(2)
    with pool:
        pool.start(0, test_workers.nap, 60)
        pool.start(1, test_workers.nap, 60)
        pool.start if pool.free else print("started", flush=True)
        pool.next()
"""


@pytest.fixture
def napping(tmp_path):
    """A process with two workers that sleep, in a process group of its own, and the workers."""
    (tmp_path / "script.py").write_text(SCRIPT.format(tests=os.path.dirname(__file__)))
    process = subprocess.Popen(
        [sys.executable, tmp_path / "script.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "started\n"
    while (
        len(family := psutil.Process(process.pid).children(recursive=True)) < 4
    ):  # resource tracker, fork server, two workers
        time.sleep(0.1)
    yield process, family
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.kill()


def ended(family, seconds):
    """Whether all of them end in time; an orphan may stay a zombie where nobody reaps it."""
    end = time.monotonic() + seconds
    while alive := [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]:
        if time.monotonic() > end:
            return False
        psutil.wait_procs(alive, timeout=0.1)
    return True


@pytest.mark.slow
def test_workers_end_when_the_parent_is_killed(napping):
    process, family = napping
    process.kill()
    assert ended(family, 6)


@pytest.mark.slow
def test_ctrl_c_ends_all_within_a_few_seconds(napping):
    process, family = napping
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(5) != 0 and ended(family, 6)
    assert process.stderr.read().strip().endswith("KeyboardInterrupt")


@pytest.mark.slow
def test_outcomes_of_a_pool_are_values_raised_or_lost(tmp_path):
    with Processes(1) as pool:
        for function, kind in [(double, int), (fail, JobFailed), (die, Lost), (double, int)]:
            assert pool.free and not pool.running
            pool.start("key", function, "job" if function is fail else 1)
            assert pool.running and not pool.free
            key, outcome = pool.next()
            assert key == "key" and isinstance(outcome, kind)
