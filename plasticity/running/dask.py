"""A pool of workers on other machines, which may come and go: a Dask cluster, used like the pools of `workers`.

``pip install '.[cluster]'``, then ``dask scheduler`` once and ``dask worker ADDRESS --nthreads 1`` for each
worker, all of them where this package can be imported. Nothing that matters is kept by the scheduler or in a worker:
the records on disk are the only truth, so a run that is done twice, or whose worker dies, does no harm.
"""

import contextlib
import json
import logging
import os
import socket
import sys
import time
import traceback
import uuid
from collections import deque
from concurrent.futures import CancelledError
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import torch

from .workers import JobFailed, Lost, attempt

try:
    from distributed import Client, KilledWorker, as_completed, get_worker
    from distributed.comm import CommClosedError
except ImportError as error:
    raise ImportError(f"a cluster needs dask.distributed ({error}): pip install '.[cluster]' in the checkout") from None

PAUSE = 0.5  # seconds between two looks for a scheduler or for workers
AGAIN = object()
SLOW = 10  # seconds for a result to come; it may have died with its worker and be computed again, while others wait


class WrongWorker(ValueError):
    """A worker differs from here in what must be equal: code, data, versions, one thread."""


class Cluster:
    """A pool on the Dask scheduler at ``address``: "tcp://HOST:PORT", "tls://HOST:PORT" or its file, "FILE.json".

    ask: a module's function that gives {what: value} for ``arguments`` (hashable), to be the same on every worker as
    here; timeout: seconds for the scheduler to answer at first; patience: seconds to wait for it when it goes away.

    Use as a context. Leaving it gives up what is pending and leaves scheduler and workers alone; jobs in progress go on
    to their end on the workers. Entering raises ConnectionError where no scheduler answers and `WrongWorker` where a
    worker differs, and waits for a first worker. One that joins later and differs does no job and is sent away.
    """

    free = True  # the scheduler keeps the queue

    def __init__(self, address, ask=None, arguments=(), timeout=10.0, patience=600.0):
        self.address, self.timeout, self.patience = str(address), timeout, patience
        self.file = Path(self.address) if self.address.endswith(".json") else None
        if not self.file and not self.address.startswith(("tcp://", "tls://")):
            allowed = "tcp://HOST:PORT, tls://HOST:PORT or the scheduler's file, *.json"
            raise ValueError(f"cluster={self.address!r} must be {allowed}")
        self.command = f"dask worker {'--scheduler-file ' if self.file else ''}{self.address} --nthreads 1"
        self.question = tuple(_facts(ask, arguments, threads=1).items()), ask, arguments
        self.jobs, self.gone, self.told, self.excused = {}, deque(), set(), set()

    def __enter__(self):
        for name in ("distributed.client", "distributed.batched"):  # the pool says in a line what they say in pages
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._connect(self.timeout)
        try:
            if not self.at_once:
                _say(f"waiting for workers at {self.address}: {self.command}")
            while not (self.at_once and self._alike()):
                time.sleep(PAUSE)
                if self.client.status != "running":
                    self._reconnect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.jobs.clear()
        with contextlib.suppress(Exception):  # whatever a connection that broke has left it in
            self.client.close()

    @property
    def running(self) -> int:
        """Jobs started and not yet given back."""
        return len(self.jobs) + len(self.gone)

    @property
    def at_once(self) -> int:
        """Workers at the moment; 0 while there is no connection."""
        return self.client.scheduler_info(n_workers=0).get("n_workers", 0) if self.client.status == "running" else 0

    def start(self, key, function, *arguments):
        """Queue a job. The function and its arguments must pickle."""
        if self.client.status != "running":
            self._reconnect()
        # Names that begin alike are one group to the scheduler. It keeps a large group in its own queue and gives a
        # worker one job at a time, so that a dying worker takes only that one down.
        name = "plasticity", str(key), uuid.uuid4().hex
        future = self.client.submit(_work, self.question, function, *arguments, key=name, pure=False)
        self.jobs[future] = key, function, *arguments
        self.done.add(future)

    def next(self):
        """(key, outcome) of the next job that ends; waits for it.

        After the scheduler went away and came back, all jobs are `Lost`. Raises ConnectionError if it stays away.
        """
        while not self.gone:
            future = next(self.done)
            if future.cancelled():  # as all are when the connection breaks
                self._reconnect()
                continue
            try:
                outcome = self._failure(future) if future.status == "error" else future.result(timeout=SLOW)
            except (OSError, CancelledError):  # a slow result (TimeoutError), or the connection broke just now
                self.done.add(future)
                continue
            job = self.jobs.pop(future)
            if outcome is not AGAIN:
                return job[0], outcome
            self.start(*job)
        return self.gone.popleft(), Lost("the scheduler went away")

    def _failure(self, future):
        """The outcome of a job that did not end by itself; AGAIN if a wrong worker had it, since another will do it."""
        error = future.exception()
        if isinstance(error, KilledWorker):
            last = f"the last one {error.last_worker.address} (its log may say why)"
            return Lost(f"{error.allowed_failures + 1} workers died under it, {last}")
        why, wrong = _words(error), self._wrong()
        if wrong:
            self.client.retire_workers(list(wrong))
            self.excused.add(why)  # the other jobs that this worker had
        for worker, differs in wrong.items():
            once = worker.rpartition(":")[0], differs  # whatever started it may do so again and again
            if once not in self.told:
                self.told.add(once)
                _say(f"worker {worker} sent away: {differs}; update and restart it ({self.command})")
        return AGAIN if why in self.excused or isinstance(error, WrongWorker) else JobFailed("place", why)

    def _wrong(self) -> dict[str, str]:
        """{worker: how it differs} of the workers that can't be used. Raises OSError if the connection broke."""
        answers = self.client.run(_check, self.question, on_error="return")
        died = CommClosedError, TimeoutError
        return {worker: _words(error) for worker, error in answers.items() if error and not isinstance(error, died)}

    def _alike(self) -> bool:
        """Whether all workers are as they should be. False if the connection broke; raises WrongWorker."""
        try:
            wrong = self._wrong()
        except OSError:
            return False
        for worker, differs in wrong.items():
            raise WrongWorker(f"worker {worker} can't be used: {differs}; update and restart it ({self.command})")
        return True

    def _reconnect(self):
        """Connect anew. The jobs are gone."""
        self.gone.extend(key for key, *_ in self.jobs.values())
        _say(f"lost the scheduler at {self.address}; waiting for it, at most {self.patience:.0f} s")
        self.__exit__()
        self._connect(self.patience)
        _say(f"the scheduler at {self.address} is back")

    def _connect(self, seconds: float):
        end = time.monotonic() + seconds
        while True:
            try:
                address = json.loads(self.file.read_text("utf-8"))["address"] if self.file else self.address
                _knock(address)
                self.client = Client(address, timeout=self.timeout, set_as_default=False)
                self.done = as_completed(loop=self.client.loop)
                return
            except (OSError, KeyError, json.JSONDecodeError) as error:  # a file may be half written
                if time.monotonic() > end:
                    start = f"start one with `dask scheduler`, then workers with `{self.command}`"
                    raise ConnectionError(f"no scheduler answers at {self.address} ({error}): {start}") from None
                time.sleep(PAUSE)


def _knock(address: str):
    """Raises OSError where no scheduler answers. A Client that finds none leaves a thread, or takes any answer for a
    huge message."""
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port), 5) as scheduler:
        # It speaks first: the length of its greeting. In TLS it waits for ours.
        if place.scheme == "tcp" and not 0 < int.from_bytes(scheduler.recv(8), "little") < 2**20:
            raise ConnectionError("what answers there is no Dask scheduler")


def _work(question, function, *arguments):
    """A worker's part: the outcome. Raises what `_check` does; ends the process where the GPU has failed."""
    _check(question)
    torch.set_num_threads(1)  # as the other pools do: two processes with a thread each beat one with two
    try:
        outcome = attempt(function, *arguments)
    except SystemExit as error:  # it would end one worker after the other
        return JobFailed("job", _words(error), traceback.format_exc())
    if isinstance(outcome, JobFailed) and outcome.kind == "device":
        print(f"the GPU failed, so this worker ends: {outcome.message}", file=sys.stderr, flush=True)
        os._exit(1)  # the scheduler gives the job to another; the nanny, or `make worker`, starts a new one
    return outcome


def _check(question, dask_worker=None):
    """Raises WrongWorker, saying what differs between this worker and the client, or what its ``ask`` raises."""
    if differs := _compare(*question, (dask_worker or get_worker()).state.nthreads):
        raise WrongWorker(differs)


@lru_cache(maxsize=16)
def _compare(facts, ask, arguments, threads: int) -> str:
    here, there = dict(facts), _facts(ask, arguments, threads)
    both = [(what, there.get(what), here.get(what)) for what in here | there]
    return ", ".join(f"{what} is {theirs!r} there and {ours!r} here" for what, theirs, ours in both if theirs != ours)


def _facts(ask, arguments, threads: int) -> dict:
    return {"threads": threads} | (ask(*arguments) if ask else {})


def _say(line: str):
    print(line, flush=True)


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, WrongWorker) else f"{type(error).__name__}: {error}"
