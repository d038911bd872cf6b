"""Worker processes that may die: a dead one is replaced, and the job it had is reported lost, not failed.

A pool is anything with ``free``, ``running``, ``at_once`` (how many it does at a time), ``start(key, function,
*arguments)`` and ``next() -> (key, outcome)``: here local processes, or this process alone; in `dask` a Dask cluster.
An outcome is what the function returned, or `JobFailed`, or `Lost`.
"""

import contextlib
import errno
import math
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter, deque
from dataclasses import dataclass
from multiprocessing.connection import wait

import torch

from .checkpoints import Busy
from .device_errors import empty_cache, is_device_error, is_out_of_memory

GRACE = 3.0  # seconds that workers get to leave what they are doing when the grid is interrupted
LOSSES = 20  # workers that may die under one job, until their death is taken for the job's doing
STILLBORN = 10  # workers that die in a row before they are ready, until that is taken for a fault of the installation
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
READ_ONLY = os.strerror(errno.EROFS)


class Unready(RuntimeError):
    """This place lacks what the job needs, such as weights: no fault of the job."""


@dataclass(frozen=True)
class Lost:
    """The process that did the job died under it; ``why``: how."""

    why: str


@dataclass(frozen=True)
class JobFailed:
    """What a job raised. ``kind``: "busy" (another process does it), "disk" (full or read-only: nothing else can be
    recorded either), "memory" (it ran out, the GPU's or the machine's), "device" (the GPU failed, and its process can't
    use it any more), "place" (this machine lacks something else, such as files), or "job" (its own fault)."""

    kind: str
    message: str
    traceback: str = ""
    seconds: float = 0.0


def attempt(function, *arguments):
    """What ``function`` returns, or `JobFailed` for any error. The GPU's memory is free afterwards."""
    outcome = _outcome(function, *arguments)
    empty_cache()  # not before the error, which holds on to all that its frames do, is gone
    return outcome


def _outcome(function, *arguments):
    started = time.perf_counter()
    try:
        return function(*arguments)
    except Exception as error:
        words, seconds = f"{type(error).__name__}: {error}", time.perf_counter() - started
        return JobFailed(_kind(error), words, traceback.format_exc(), seconds)


def _kind(error: Exception) -> str:
    if isinstance(error, Busy):
        return "busy"
    if isinstance(error, OSError) and error.errno in DISK:
        return "disk"
    if is_out_of_memory(error):
        return "memory"
    if is_device_error(error):
        return "device"
    return "place" if isinstance(error, (Unready, OSError)) else "job"


def carry_out(function, jobs: dict, workers, retries: int = 0, say=print):
    """Yield (key, outcome) of ``function(*arguments)`` for jobs {key: arguments}, as they end: a value, or `JobFailed`.

    A job that raises by its own fault is tried again ``retries`` times. One whose worker died goes back to the front,
    and never at the expense of its retries; so does one that ran out of memory, and from then on there are fewer at
    once, until it had the machine for itself. One that another process is at goes to the end. Raises OSError as soon as
    the disk is full, RuntimeError when the GPU failed in this very process.
    """
    waiting, tries, losses, busy, said = deque(jobs), Counter(), Counter(), 0, ""
    most, alone = math.inf, {}
    while waiting or workers.running:
        while waiting and workers.free and workers.running < most:
            key = waiting.popleft()
            alone[key] = not workers.running and min(most, workers.at_once) <= 1
            workers.start(key, function, *jobs[key])
        key, outcome = workers.next()
        kind = outcome.kind if isinstance(outcome, JobFailed) else ""
        if isinstance(outcome, Lost) and losses[key] + 1 < LOSSES:
            losses[key] += 1
            if outcome.why != said:  # a scheduler takes all jobs with it
                say(f"{key}: {outcome.why}; it goes on from its last state")
            said = outcome.why
            waiting.appendleft(key)
        elif isinstance(outcome, Lost):
            why = f"{LOSSES} workers died under it; the last {outcome.why} (out of memory? fewer may do)"
            yield key, JobFailed("place", why)
        elif kind == "disk":
            todo = "Give a folder that can be written" if READ_ONLY in outcome.message else "Free some space"
            kept = "what is recorded is whole, and runs go on from their last state"
            raise OSError(f"{outcome.message}. {todo} and start again: {kept}")
        elif kind == "device":
            again = "start again in a new process (in a notebook: restart the kernel)"
            raise RuntimeError(f"{key}: the GPU failed ({first_line(outcome.message)}). Nothing is lost: {again}")
        elif kind == "memory" and not alone[key]:
            most = max(1, min(most, workers.at_once) - 1)
            say(f"{key}: {first_line(outcome.message)}; again, with at most {most} at once")
            waiting.appendleft(key)
        elif kind == "busy":
            waiting.append(key)
            busy += 1
            if busy > len(waiting):  # all that is left is in other hands
                time.sleep(1)
        elif kind == "job" and tries[key] < retries:
            tries[key] += 1
            say(f"{key} failed ({outcome.message}); try {tries[key] + 1} of {retries + 1}")
            waiting.append(key)
        else:
            busy = 0
            yield key, outcome


def first_line(message: str) -> str:
    """Of an error's message, which may be pages."""
    return next(iter(message.splitlines()), "")


class InProcess:
    """The pool of this process alone, with one torch thread as the workers have, so that its records are the same."""

    def __init__(self):
        self.job = None

    def __enter__(self):
        self.threads = torch.get_num_threads()
        torch.set_num_threads(1)
        return self

    def __exit__(self, *_):
        torch.set_num_threads(self.threads)

    at_once = 1

    @property
    def running(self) -> int:
        """Jobs in progress."""
        return int(self.job is not None)

    @property
    def free(self) -> bool:
        """Whether another job may be started."""
        return self.job is None

    def start(self, key, function, *arguments):
        """Note a job; ``next`` does it."""
        self.job = key, function, arguments

    def next(self):
        """(key, outcome) of the job."""
        (key, function, arguments), self.job = self.job, None
        return key, attempt(function, *arguments)


def _start_method() -> str:
    """A fork of a server that has imported everything is ready in milliseconds: replacing a worker costs nothing. But
    the server listens in the temporary folder, at a path that may have about a hundred bytes."""
    try:
        room = len(os.fsencode(tempfile.gettempdir())) <= 70
    except FileNotFoundError:  # no temporary folder can be written
        room = False
    return "forkserver" if room and "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class Processes:
    """Local processes with one torch thread each; where ``device`` names no GPU, they take the visible ones in turn.

    Use as a context: leaving it by an exception, such as a Ctrl-C, ends the workers within ``GRACE`` seconds, a second
    Ctrl-C at once. Workers end by themselves when this process dies. One that dies is replaced when it is next needed.
    """

    def __init__(self, workers: int, device: str = "cpu"):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's threads, which torch.set_num_threads leaves alone
        method = _start_method()
        self.context = multiprocessing.get_context(method)
        if method == "forkserver":
            self.context.set_forkserver_preload(["plasticity.running.engine"])
        gpus = visible_gpus() if device in ("auto", "cuda") else []
        self.gpus = [gpus[slot % len(gpus)] if gpus else None for slot in range(workers)]
        self.workers: list[_Worker | None] = [None] * workers
        self.at_once = workers
        self.stillborn = 0

    def __enter__(self):
        return self

    @property
    def running(self) -> int:
        """Jobs in progress."""
        return sum(worker is not None and worker.job is not None for worker in self.workers)

    @property
    def free(self) -> bool:
        """Whether another job may be started."""
        return self.running < len(self.workers)

    def start(self, key, function, *arguments):
        """Give a job to an idle worker, or to a new one. Functions and arguments must pickle."""
        slot = next(i for i, worker in enumerate(self.workers) if worker is None or worker.job is None)
        if self.workers[slot] is None:
            self.workers[slot] = _Worker(self.context, self.gpus[slot])
        self.workers[slot].give(key, function, arguments)

    def next(self):
        """(key, outcome) of the next job that ends; waits for it."""
        while True:
            at_work = [worker for worker in self.workers if worker and worker.job is not None]
            ready = wait([worker.pipe for worker in at_work])
            worker = next(worker for worker in at_work if worker.pipe in ready)
            key = worker.job
            try:
                outcome = worker.pipe.recv()
            except (EOFError, OSError):
                return key, self._bury(worker)
            if outcome == READY:
                worker.ready, self.stillborn = True, 0
            elif isinstance(outcome, Lost):
                self._bury(worker)
                return key, outcome
            else:
                worker.job = None
                return key, outcome

    def _bury(self, worker: "_Worker") -> Lost:
        self.workers[self.workers.index(worker)] = None
        worker.process.join(GRACE)
        worker.process.kill()  # what a failed GPU keeps from ending
        worker.process.join()
        code = worker.process.exitcode
        why = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        self.stillborn += not worker.ready
        if self.stillborn >= STILLBORN:
            died = f"{STILLBORN} worker processes in a row died as they started (the last one {why})"
            raise RuntimeError(f"{died}: plasticity doctor may say what is wrong")
        return Lost(f"worker process {worker.process.pid} was {why}" if code < 0 else f"worker process {why}")

    def __exit__(self, kind, *_):
        workers = [worker for worker in self.workers if worker]
        for worker in workers:
            worker.pipe.close()  # an idle worker ends at that
            if kind:
                worker.process.terminate()
        try:
            end = time.monotonic() + GRACE
            for worker in workers:
                worker.process.join(max(0.0, end - time.monotonic()))
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.join()


READY = "ready"


class _Worker:
    """One process, the parent's end of its pipe, and the key of the job it has."""

    def __init__(self, context, gpu: str | None):
        self.pipe, theirs = context.Pipe()
        environment = dict(os.environ) | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})
        self.process = context.Process(target=_work, args=(theirs, environment), daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe ends when the worker does
        self.job, self.ready = None, False

    def give(self, key, function, arguments):
        """Begin a job."""
        self.job = key
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died in between, as next() will find out
            self.pipe.send((function, arguments))


def _work(pipe, environment: dict[str, str]):
    """A worker's life."""
    os.environ.clear()
    os.environ.update(environment)  # the server it was forked from may have an older one
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to everyone; only the parent decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(1)  # two processes with a thread each beat one with two for small networks
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a line that its encoding lacks signs for fails no run
    pipe.send(READY)
    while True:
        try:
            function, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        outcome = attempt(function, *arguments)
        if isinstance(outcome, JobFailed) and outcome.kind == "device":
            pipe.send(Lost(f"the GPU failed ({first_line(outcome.message)}), and its worker process ended"))
            os._exit(1)  # an orderly end would call the GPU once more
        pipe.send(outcome)


def _die_with_parent():
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def visible_gpus() -> list[str]:
    """The CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]
