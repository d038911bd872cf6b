"""Worker processes: a death costs one job's attempt and nothing else; nobody outlives the parent; Ctrl-C is quick."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
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


def third_time(marks, error):
    """Raises the error the first two times."""
    marks.joinpath(str(len(list(marks.iterdir())))).touch()
    if len(list(marks.iterdir())) < 3:
        raise error("not yet")
    return "at last"


def where_am_i(_):
    time.sleep(0.3)
    return os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("SAID_LATER"), torch.get_num_threads()


@pytest.mark.parametrize("pool", [InProcess, lambda: Processes(2)])
def test_every_job_is_done_once(pool):
    assert done(double, {n: (n,) for n in range(20)}, pool()) == {n: 2 * n for n in range(20)}


def test_a_worker_that_dies_is_replaced_and_its_job_done(tmp_path, capsys):
    jobs = {n: (tmp_path / str(n), n) for n in range(6)}
    assert done(die_once, jobs, Processes(2)) == {n: n for n in range(6)}
    assert capsys.readouterr().out.count("was killed by SIGKILL; it goes on from its last state") == 6


def test_a_job_that_kills_every_worker_is_given_up_and_is_no_failure(monkeypatch):
    monkeypatch.setattr(workers, "LOSSES", 3)
    outcome = done(die, {0: (0,)}, Processes(2), retries=5)[0]
    assert outcome.kind == "place"
    assert "3 workers died under it; the last worker process ended with exit code 3" in outcome.message


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


def raising(error):
    raise error


CUDA = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace may be incorrect."
)
CUBLAS = "CUDA error: {} when calling `cublasCreate(handle)`"
ASSERT = "CUDA error: device-side assert triggered"
OUT_OF_MEMORY = [
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory" + CUDA),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError(CUBLAS.format("CUBLAS_STATUS_ALLOC_FAILED")),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
    RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    RuntimeError("NVML_SUCCESS == r INTERNAL ASSERT FAILED at CUDACachingAllocator.cpp:1131"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("HIP out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
]
DEVICE = [
    torch.AcceleratorError(ASSERT + CUDA),
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered" + CUDA),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("CUDA driver error: unknown error"),
    RuntimeError(CUBLAS.format("CUBLAS_STATUS_EXECUTION_FAILED")),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
    RuntimeError("HIP error: the operation cannot be performed in the present state"),
]
KINDS = [
    (Busy("another one is at it"), "busy"),
    (OSError(errno.ENOSPC, "full"), "disk"),
    (OSError(errno.EROFS, "read-only"), "disk"),
    (FileNotFoundError("x"), "place"),
    (Unready("no weights"), "place"),
    (ValueError("x"), "job"),
    (ValueError("case 'cudaError' is unknown"), "job"),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "job"),
    *((error, "memory") for error in OUT_OF_MEMORY),
    *((error, "device") for error in DEVICE),
]


@pytest.mark.parametrize("error, kind", KINDS, ids=repr)
def test_errors_say_whose_they_are(error, kind):
    assert attempt(double, 4) == 8
    outcome = attempt(raising, error)
    assert outcome.kind == kind and outcome.message == f"{type(error).__name__}: {error}"
    assert "in raising" in outcome.traceback


def test_memory_that_really_runs_out_and_errors_raised_from_others():
    assert attempt(torch.empty, 1 << 52).kind == attempt(np.empty, 1 << 58).kind == "memory"
    assert attempt(wrapping, MemoryError()).kind == "memory" and attempt(wrapping, DEVICE[0]).kind == "device"


def wrapping(error):
    try:
        raise error
    except type(error) as error:
        raise ValueError("no batch") from error


BROKEN = []  # what a CUDA error does to a process: every later call fails with it, too


def on_a_gpu_that_fails_once(mark, number):
    if number == 1 and not mark.exists():
        mark.touch()
        BROKEN.append(torch.AcceleratorError(ASSERT + CUDA))
    for error in BROKEN:
        raise error
    return number


def test_a_gpu_error_ends_its_process_and_costs_no_other_job(tmp_path, capsys):
    jobs = {number: (tmp_path / "mark", number) for number in range(12)}
    assert done(on_a_gpu_that_fails_once, jobs, Processes(2)) == {number: number for number in range(12)}
    said = (
        f"1: the GPU failed (AcceleratorError: {ASSERT}), and its worker process ended; it goes on from its last state"
    )
    assert capsys.readouterr().out == said + "\n"


def test_a_job_whose_gpu_fails_each_time_is_given_up_and_is_no_failure(monkeypatch):
    monkeypatch.setattr(workers, "LOSSES", 3)
    outcome = done(raising, {0: (DEVICE[0],), 1: (ValueError("x"),)}, Processes(1))
    assert (outcome[0].kind, outcome[1].kind) == ("place", "job")
    assert f"3 workers died under it; the last the GPU failed (AcceleratorError: {ASSERT})" in outcome[0].message


def test_a_gpu_error_in_this_process_stops_the_grid_and_fails_no_job():
    with pytest.raises(RuntimeError, match=f"^1: the GPU failed .*{ASSERT}.*Nothing is lost: .*restart the kernel"):
        done(raising, {1: (DEVICE[0],), 2: (ValueError("x"),)}, InProcess())


def in_a_room_for(room, folder, number):
    """Runs out of memory where more than ``room`` jobs are at it."""
    (mark := folder / str(number)).touch()
    try:
        for _ in range(20):
            if len(list(folder.iterdir())) > room:
                raise torch.OutOfMemoryError("CUDA out of memory.\nmore")
            time.sleep(0.005)
    finally:
        mark.unlink()
    return number


@pytest.mark.parametrize("room", [2, 1])
def test_out_of_memory_is_queued_again_with_fewer_at_once(tmp_path, capsys, room):
    jobs = {number: (room, tmp_path, number) for number in range(8)}
    assert done(in_a_room_for, jobs, Processes(3)) == {number: number for number in range(8)}
    said = capsys.readouterr().out
    assert f"OutOfMemoryError: CUDA out of memory.; again, with at most {room} at once\n" in said
    assert f"at most {room - 1} at once" not in said


@pytest.mark.parametrize("pool", [InProcess, lambda: Processes(2)])
def test_a_job_too_large_for_the_whole_machine_is_given_up_and_is_no_failure(tmp_path, pool):
    outcome = done(in_a_room_for, {number: (0, tmp_path, number) for number in range(3)}, pool())
    assert [outcome[number].kind for number in range(3)] == ["memory"] * 3


def test_retries_are_counted_per_job_and_the_last_error_is_kept(tmp_path, capsys):
    assert done(third_time, {0: (tmp_path, RuntimeError)}, InProcess(), retries=2) == {0: "at last"}
    assert "try 3 of 3" in capsys.readouterr().out
    outcome = done(raising, {key: (RuntimeError(key),) for key in "xy"}, InProcess(), retries=1)
    assert {key: outcome[key].message for key in "xy"} == {"x": "RuntimeError: x", "y": "RuntimeError: y"}
    assert capsys.readouterr().out.count("try 2 of 2") == 2


def test_a_busy_job_is_asked_again_until_it_is_free(tmp_path):
    assert done(third_time, {0: (tmp_path, Busy)}, InProcess()) == {0: "at last"}


def test_a_full_disk_stops_the_grid_at_once():
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space left on device.*Free some space and start again"):
        done(raising, {n: (full,) for n in range(100)}, InProcess())


def test_a_read_only_disk_is_not_told_to_be_full():
    with pytest.raises(OSError, match="Read-only file system. Give a folder that can be written and start again"):
        done(raising, {0: (OSError(errno.EROFS, os.strerror(errno.EROFS)),)}, InProcess())


LONG = """
import operator
from plasticity.running.workers import Processes, carry_out
if __name__ == "__main__":
    with Processes(1) as pool:
        print(dict(carry_out(operator.neg, {1: (1,)}, pool)))
"""


@pytest.mark.slow
def test_a_temporary_folder_of_a_long_name(tmp_path):
    (tmp_path / "script.py").write_text(LONG)
    (folder := tmp_path / ("long" * 30)).mkdir()
    line, environment = [sys.executable, tmp_path / "script.py"], os.environ | {"TMPDIR": str(folder)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "{1: -1}\n", done.stderr


def test_workers_take_the_gpus_in_turn_one_thread_each_and_todays_environment(monkeypatch):
    monkeypatch.setattr(workers, "visible_gpus", lambda: ["3", "GPU-7"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("SAID_LATER", "yes")
    found = done(where_am_i, {n: (n,) for n in range(6)}, Processes(3, "auto")).values()
    assert {gpu for gpu, *_ in found} == {"3", "GPU-7"} and {tuple(rest) for _, *rest in found} == {("yes", 1)}
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
import time
from plasticity.running.workers import Processes
if __name__ == "__main__":
    with Processes(2) as pool:
        pool.start(0, time.sleep, 60)
        pool.start(1, time.sleep, 60)
        print(pool.free, flush=True)
        pool.next()
"""


@pytest.fixture
def napping(tmp_path):
    """A process with two workers that sleep, in a process group of its own, and the workers."""
    (tmp_path / "script.py").write_text(SCRIPT)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, tmp_path / "script.py"], start_new_session=True, **pipes)
    assert process.stdout.readline() == "False\n"
    while len(family := psutil.Process(process.pid).children(recursive=True)) < 4:  # two trackers and two workers
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
    assert ended(family, 15)


@pytest.mark.slow
def test_ctrl_c_ends_all_within_a_few_seconds(napping):
    process, family = napping
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(15) != 0 and ended(family, 15)  # mostly the end of Python itself, on a busy machine
    assert process.stderr.read().strip().endswith("KeyboardInterrupt")


@pytest.mark.slow
def test_outcomes_of_a_pool_are_values_raised_or_lost(tmp_path):
    with Processes(1) as pool:
        for function, kind in [(double, int), (raising, JobFailed), (die, Lost), (double, int)]:
            assert pool.free and not pool.running
            pool.start("key", function, ValueError("x") if function is raising else 1)
            assert pool.running and not pool.free
            key, outcome = pool.next()
            assert key == "key" and isinstance(outcome, kind)
