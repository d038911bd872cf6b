"""A pool of workers on other machines, which may come and go: a Dask cluster, used like the pools of `workers`.

``pip install 'plasticity[cluster]'``, then ``dask scheduler`` once and ``dask worker ADDRESS --nthreads 1`` for each worker.
Nothing that matters is kept by the scheduler or in a worker: the records on disk are the only truth. On the scheduler the pool
sets what DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION=1.0 and DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=50 would.
"""

import contextlib
import hashlib
import json
import logging
import pickle
import platform
import queue
import socket
import time
import traceback
from collections import deque
from functools import lru_cache
from pathlib import Path

import torch

from .workers import Lost, Raised, attempt

try:
    from distributed import Client, KilledWorker, get_worker
    from distributed.comm import get_address_host_port
except ImportError as error:
    raise ImportError(f"a cluster needs dask.distributed ({error}): pip install 'plasticity[cluster]'") from None

DEATHS = 50  # workers that may die under one job until it is given back as lost
PAUSE = 0.5  # seconds between two looks for a scheduler or for workers
STALE = (
    10  # seconds for a result to come; it may have died with its worker and be computed again, and others are waiting
)
AGAIN = object()


class WrongWorker(ValueError):
    """A worker, or the scheduler, differs from here in what must be equal: code, data, versions, one thread."""


class Cluster:
    """A pool on the Dask scheduler at ``address``: "tcp://HOST:PORT", "tls://HOST:PORT" or its scheduler file, "FILE.json".

    ask: a module's function that gives {what: value} for ``arguments``, to be the same on every worker as here; timeout: seconds
    for the scheduler to answer at first; patience: seconds to wait for it when it goes away; say: prints a line.

    Use as a context. Leaving it gives up what is pending and leaves scheduler and workers alone; jobs in progress go on to
    their end on the workers. Entering raises ConnectionError where no scheduler answers and `WrongWorker` where a worker
    differs, and waits for a first worker. One that joins later and differs does no job and is sent away.
    """

    free = True  # the scheduler keeps the queue

    def __init__(self, address, ask=None, arguments=(), timeout=10.0, patience=600.0, say=None):
        self.address, self.timeout, self.patience = str(address), timeout, patience
        self.say = say or (lambda line: print(line, flush=True))
        self.file = Path(self.address) if self.address.endswith(".json") else None
        if not self.file and not self.address.startswith(("tcp://", "tls://")):
            raise ValueError(
                f"cluster={self.address!r} must be tcp://HOST:PORT, tls://HOST:PORT or the scheduler's file, *.json"
            )
        self.command = f"dask worker {'--scheduler-file ' if self.file else ''}{self.address} --nthreads 1"
        self.question = pickle.dumps((_facts(ask, arguments, threads=1), ask, arguments))
        self.jobs, self.gone, self.told = {}, deque(), set()

    def __enter__(self):
        for name in ("distributed.client", "distributed.batched"):  # the pool says in a line what they say in pages
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._connect(self.timeout)
        try:
            if not self.at_once:
                self.say(f"waiting for workers at {self.address}: {self.command}")
            while not (self.at_once and self._alike()):
                time.sleep(PAUSE)
                self._connected()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.jobs.clear()
        with contextlib.suppress(Exception):  # whatever a connection that broke has left it in
            self.client.close()  # the scheduler drops what nobody else wants; cancel() could hit a job that another client shares

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
        self._submit(key, pickle.dumps((function, *arguments)))

    def next(self):
        """(key, outcome) of the next job that ends; waits for it.

        After the scheduler went away and came back, all jobs are `Lost`. Raises ConnectionError if it stays away.
        """
        while self.jobs and not self.gone:
            try:
                future = self.done.get(timeout=1)
            except queue.Empty:
                future = None
            if self._connected() and future:
                try:
                    if ended := self._take(future):
                        return ended
                except OSError:  # a slow result (TimeoutError), or the connection broke just now
                    self.done.put(future)
        return self.gone.popleft(), Lost("the scheduler went away")

    def _submit(self, key, job: bytes):
        self._connected()
        # The scheduler takes tuples that begin alike for one group. A large group it queues, and gives each worker one job at
        # a time, so that a dying worker takes only that one down. The digest tells jobs of equal name apart.
        name = ("plasticity", str(key), hashlib.sha256(self.question + job).hexdigest()[:8])
        while name in self.client.futures:  # released but not yet gone: submit() would give the old one back
            name += ("again",)
        # The scheduler unpickles what is submitted. Of bytes it needs no torch, and no package that fits the workers' one.
        future = self.client.submit(
            pickle.loads, pickle.dumps(_Job(self.question, job)), key=name, pure=False, retries=0
        )
        self.jobs[future] = key, job
        future.add_done_callback(self.done.put)

    def _take(self, future):
        """(key, outcome) of a future that is done, or None if a wrong worker had it; then another will."""
        try:
            outcome = pickle.loads(future.result(timeout=STALE))
        except KilledWorker as error:
            outcome = Lost(
                f"{error.allowed_failures + 1} workers died under it, the last one {error.last_worker.address}"
            )
        except Exception as error:
            why = _words(error)
            if future.status not in ("cancelled", "error"):
                raise
            outcome = Lost(why) if future.status == "cancelled" else self._send_away(future.key, why)
        key, job = self.jobs.pop(future)
        future.release()
        return self._submit(key, job) if outcome is AGAIN else (key, outcome)

    def _send_away(self, name, why: str):
        """Part with the worker that could not begin this job."""

        def where(name, dask_scheduler=None):
            task = dask_scheduler.tasks.get(name)
            return next(iter(task.erred_on or ()), None) if task else None

        worker = self.client.run_on_scheduler(where, name)
        if not worker:
            return Raised("place", why)
        self.client.retire_workers([worker])
        once = worker.rpartition(":")[0], why  # whatever started it may do so again and again
        if once not in self.told:
            self.told.add(once)
            self.say(f"worker {worker} sent away: {why}; update and restart it ({self.command})")
        return AGAIN

    def _alike(self) -> bool:
        """Whether all workers are as they should be. False if the connection broke; raises WrongWorker."""
        try:
            answers = self.client.run(_check, self.question, on_error="return")
        except OSError:
            return False
        present = self.client.scheduler_info(n_workers=-1).get("workers", ())
        for worker, error in answers.items():
            if error and worker in present:
                raise WrongWorker(
                    f"worker {worker} can't be used: {_words(error)}; update and restart it ({self.command})"
                )
        return bool(answers)

    def _connected(self) -> bool:
        """Whether the connection held. If it did not, there is a new one now, and the jobs are gone."""
        # The client reconnects by itself, too, but not for long, and without the jobs; its comm is another one then.
        if self.client.status == "running" and self.client.scheduler_comm is self.comm:
            return True
        self.gone.extend(key for key, _ in self.jobs.values())
        self.say(f"lost the scheduler at {self.address}; waiting for it, at most {self.patience:.0f} s")
        self.__exit__()
        self._connect(self.patience)
        self.say(f"the scheduler at {self.address} is back")
        return False

    def _connect(self, seconds: float):
        end = time.monotonic() + seconds
        while True:
            try:
                address = json.loads(self.file.read_text())["address"] if self.file else self.address
                _knock(address)
                self.client = Client(address, timeout=self.timeout, set_as_default=False)
                self.comm, self.done = self.client.scheduler_comm, queue.SimpleQueue()
                return self._settle()
            except (OSError, KeyError, json.JSONDecodeError) as error:  # a file may be half written
                if time.monotonic() > end:
                    raise ConnectionError(
                        f"no scheduler answers at {self.address} ({error}): start one with `dask scheduler`, "
                        f"then workers with `{self.command}`"
                    ) from None
                time.sleep(PAUSE)

    def _settle(self):
        def settle(deaths, dask_scheduler=None):
            dask_scheduler.allowed_failures = max(deaths, dask_scheduler.allowed_failures)
            dask_scheduler.WORKER_SATURATION = 1.0
            for worker in dask_scheduler.workers.values():
                dask_scheduler.check_idle_saturated(worker)

        there, here = self.client.sync(self.client.scheduler.versions)["host"]["python"], platform.python_version()
        if there.split(".")[:2] != here.split(".")[:2]:  # the code of a nested function could crash it
            self.client.close()
            raise WrongWorker(
                f"the scheduler at {self.address} has Python {there}, here is {here}: start it with this one"
            )
        self.client.run_on_scheduler(settle, DEATHS)


def _knock(address: str):
    """Raises OSError where no scheduler answers. A Client that finds none leaves a thread, or waits for ever for a greeting."""
    with socket.create_connection(get_address_host_port(address), 5) as scheduler:
        # It speaks first: the length of its greeting. In TLS it waits for ours.
        if address.startswith("tcp://") and not 0 < int.from_bytes(scheduler.recv(8), "little") < 2**20:
            raise ConnectionError("what answers there is no Dask scheduler")


class _Job:
    """Pickles as a call of `_work`, which so happens when a worker unpickles it."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return _work, self.arguments


def _work(question: bytes, job: bytes) -> bytes:
    """A worker's part: the pickled outcome. Raises what `_check` does."""
    _check(question)
    torch.set_num_threads(1)  # as the other pools do: two processes with a thread each beat one with two
    try:
        return pickle.dumps(attempt(*pickle.loads(job)))
    except BaseException as error:  # such as SystemExit, which would end one worker after the other
        return pickle.dumps(Raised("job", _words(error), traceback.format_exc()))


def _check(question: bytes, dask_worker=None):
    """Raises WrongWorker, saying what differs between this worker and the client that asks, or what its ``ask`` raises."""
    if differs := _compare(question, (dask_worker or get_worker()).state.nthreads):
        raise WrongWorker(differs)


@lru_cache(maxsize=16)
def _compare(question: bytes, threads: int) -> str:
    here, ask, arguments = pickle.loads(question)
    there = _facts(ask, arguments, threads)
    both = [(what, there.get(what), here.get(what)) for what in here | there]
    return ", ".join(f"{what} is {theirs!r} there and {ours!r} here" for what, theirs, ours in both if theirs != ours)


def _facts(ask, arguments, threads: int) -> dict:
    return {"threads": threads} | (ask(*arguments) if ask else {})


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, WrongWorker) else f"{type(error).__name__}: {error}"
