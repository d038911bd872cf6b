"""The Dask pool, on a real scheduler and real workers of this machine that come late, differ, and get killed."""

import asyncio
import contextlib
import errno
import importlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread, Timer

import pytest
import torch

from plasticity.running.checkpoints import Busy
from plasticity.running.workers import Lost, Unready, carry_out

pytest.importorskip("distributed", reason="pip install '.[cluster]' in the checkout")

from plasticity.running.dask import Cluster, WrongWorker  # noqa: E402

# What workers do: they import this module.


def double(x):
    return {"twice": 2 * x, "threads": torch.get_num_threads()}


def process(seconds):
    time.sleep(seconds)
    return os.getpid(), os.environ.get("CODE", "new")


def note(path, seconds):
    with open(path, "a") as file:
        file.write("x")
    time.sleep(seconds)


def fail(error):
    raise error


def die():
    os.kill(os.getpid(), signal.SIGKILL)


BROKEN = []  # what a CUDA error does to a process: every later call fails with it, too


def on_a_gpu_that_fails_once(mark, number):
    if number == 3 and not mark.exists():
        mark.touch()
        BROKEN.append(torch.AcceleratorError("CUDA error: device-side assert triggered"))
    for error in BROKEN:
        raise error
    return number


def code(*expected):
    return {"code": os.environ.get("CODE", "new")}


def only_here():
    return {"it": os.environ["ONLY_HERE"]}


class Site:
    """A scheduler and workers on this machine."""

    def __init__(self, folder: Path):
        self.folder, self.file, self.processes = folder, folder / "scheduler.json", []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            self.kill(process)

    def dask(self, *command, **environment):
        options = ["--no-dashboard", "--scheduler-file", str(self.file)]
        environment = (
            os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])} | environment
        )
        with open(self.folder / f"{len(self.processes)}.log", "w") as log:
            output = {"stdout": log, "stderr": log, "env": environment, "start_new_session": True}
            self.processes.append(subprocess.Popen([sys.executable, "-m", "dask", *command, *options], **output))
        return self.processes[-1]

    def scheduler(self, port=0):
        return self.dask("scheduler", "--host", "127.0.0.1", "--port", str(port))

    def worker(self, threads=1, **environment):
        options = ["--nthreads", str(threads), "--memory-limit", "0", "--local-directory", str(self.folder)]
        return self.dask("worker", *options, **environment)

    @staticmethod
    def kill(process):
        """A process with its children, such as a nanny with its worker."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def own(tmp_path):
    """A site of the test's own with a scheduler and no workers."""
    with Site(tmp_path) as site:
        site.scheduler()
        yield site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site with two workers that all tests share."""
    with Site(tmp_path_factory.mktemp("site")) as site:
        site.scheduler()
        site.worker(), site.worker()
        with Cluster(site.file, code, timeout=60) as pool:
            wait_for(lambda: pool.at_once == 2)
        yield site


def wait_for(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def outcomes(pool):
    return dict(pool.next() for _ in range(pool.running))


def tasks(pool):
    """How many the scheduler knows, of all its clients."""
    return pool.client.run_on_scheduler(lambda dask_scheduler=None: len(dask_scheduler.tasks))


@pytest.mark.parametrize("address", ["127.0.0.1:8786", "localhost", "scheduler.yaml"])
def test_an_address_that_is_none(address):
    with pytest.raises(ValueError, match=f"'{address}' must be tcp://HOST:PORT"):
        Cluster(address)


def test_nobody_answers_or_no_scheduler(tmp_path, capfd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
    for nobody in (address, str(tmp_path / "scheduler.json")):
        why = f"no scheduler answers at {nobody} .*dask scheduler.*dask worker .*{nobody}"
        with pytest.raises(ConnectionError, match=why):
            Cluster(nobody, timeout=0.1).__enter__()

    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=lambda: server.accept()[0].sendall(b"SSH-2.0-OpenSSH"), daemon=True).start()
        with pytest.raises(ConnectionError, match="is no Dask scheduler"):
            Cluster(f"tcp://127.0.0.1:{server.getsockname()[1]}", timeout=0).__enter__()
    assert capfd.readouterr() == ("", "")


ERRORS = {
    "busy": Busy("b"),
    "disk": OSError(errno.ENOSPC, "full"),
    "place": Unready("no weights"),
    "job": ValueError("no"),
    "exit": SystemExit(3),
}


@pytest.mark.slow
def test_outcomes(site, capfd):
    with Cluster(site.file, code) as pool:
        assert pool.free and pool.running == 0 and pool.at_once == 2
        for key in range(10):
            pool.start(key, double, key)
        for kind, error in ERRORS.items():
            pool.start(kind, fail, error)
        assert pool.running == 15
        done = outcomes(pool)
    assert [done[key] for key in range(10)] == [{"twice": 2 * key, "threads": 1} for key in range(10)]
    assert [done[kind].kind for kind in ERRORS] == ["busy", "disk", "place", "job", "job"]
    assert done["job"].message == "ValueError: no" and "in fail" in done["job"].traceback
    assert "SystemExit: 3" in done["exit"].message and capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_thousand_jobs_leave_nothing(site):
    number = 1000
    with Cluster(site.file, code) as pool:
        started = time.perf_counter()
        for key in range(number):
            pool.start(key, double, key)
        done = outcomes(pool)
        overhead = (time.perf_counter() - started) / number
        print(f"{1000 * overhead:.1f} ms per job, {number} jobs, {pool.at_once} workers")
        assert all(done[key]["twice"] == 2 * key for key in range(number)) and overhead < 0.1
        wait_for(lambda: not pool.client.futures and not tasks(pool))
        assert not pool.jobs and not pool.gone and pool.done.is_empty()


@pytest.mark.slow
def test_two_clients_of_which_one_is_interrupted(site, tmp_path):
    with Cluster(site.file, code) as patient:
        with pytest.raises(KeyboardInterrupt), Cluster(site.file, code) as hasty:
            for key in range(8):
                for pool, name in ((hasty, "hasty"), (patient, "patient")):
                    pool.start(key, note, str(tmp_path / f"{name}-{key}"), 0.1)
            assert hasty.next()[1] is None
            raise KeyboardInterrupt
        assert outcomes(patient) == dict.fromkeys(range(8))
        assert all((tmp_path / f"patient-{key}").read_text() == "x" for key in range(8))
        wait_for(lambda: not tasks(patient))
        assert not (tmp_path / "hasty-7").exists()


@pytest.mark.slow
def test_equal_names_are_not_equal_jobs(site):
    with Cluster(site.file) as one, Cluster(site.file) as other:
        one.start("a", double, 1)
        other.start("a", double, 2)
        other.start("a", double, 2)
        assert one.next()[1]["twice"] == 2 and other.next()[1]["twice"] == 4 and other.next()[1]["twice"] == 4


@pytest.mark.slow
def test_where_a_loop_runs_already_as_in_a_notebook(site):
    async def cell():
        with Cluster(site.file, code) as pool:
            pool.start("a", double, 1)
            return pool.next()[1]["twice"]

    assert asyncio.run(cell()) == 2


@pytest.mark.slow
def test_workers_that_differ_are_refused(site, tmp_path, monkeypatch):
    worker = r"worker tcp://127.0.0.1:\d+ "
    monkeypatch.setenv("CODE", "newer")
    with pytest.raises(WrongWorker, match=f"{worker}.*code is 'new' there and 'newer' here.*dask worker"):
        Cluster(site.file, code).__enter__()
    monkeypatch.setenv("ONLY_HERE", "1")
    with pytest.raises(WrongWorker, match=f"{worker}.*KeyError: 'ONLY_HERE'"):
        Cluster(site.file, only_here).__enter__()
    (tmp_path / "nowhere_else.py").write_text("def ask(): return {}")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WrongWorker, match=f"{worker}.*No module named 'nowhere_else'"):
        Cluster(site.file, importlib.import_module("nowhere_else").ask).__enter__()


@pytest.mark.slow
def test_workers_come_late_and_wrong_ones_do_nothing(own, capfd):
    late = Timer(5, own.worker)  # a busy machine may take long to begin with the cluster
    late.start()
    with Cluster(own.file, code, timeout=60) as pool:
        late.join()
        assert capfd.readouterr().out.count("waiting for workers at") == 1
        wrong = [own.worker(CODE="old"), own.worker(threads=2)]
        own.worker()
        said, right, end = "", set(), time.monotonic() + 120
        while len(right) < 2 or said.count("sent away") < 2:
            assert time.monotonic() < end, said
            for key in range(12):
                pool.start(key, process, 0.1)
            done = outcomes(pool)
            assert len(done) == 12 and {version for _, version in done.values()} == {"new"}
            right |= {pid for pid, _ in done.values()}
            said += capfd.readouterr().out
        wait_for(lambda: pool.at_once == 2 and all(worker.poll() == 0 for worker in wrong))
    assert len(right) == 2 and said.count("\n") == said.count("sent away") == 2
    assert "code is 'old' there and 'new' here" in said and "threads is 2 there and 1 here" in said


@pytest.mark.slow
def test_two_threads_are_refused(own):
    own.worker(threads=2)
    with pytest.raises(WrongWorker, match="threads is 2 there and 1 here.*--nthreads 1"):
        Cluster(own.file, timeout=60).__enter__()


@pytest.mark.slow
def test_workers_are_killed(own):
    own.worker()
    whole = own.worker()
    with Cluster(own.file, code, timeout=60) as pool:
        wait_for(lambda: pool.at_once == 2)
        for key in range(30):
            pool.start(key, process, 0.15)
        done = {}
        while pool.running:
            key, outcome = pool.next()
            done[key] = outcome
            if len(done) in (2, 8):
                os.kill(outcome[0], signal.SIGKILL)  # its nanny starts another
            if len(done) == 5:
                own.kill(whole)
        assert len(done) == 30 and all(version == "new" for _, version in done.values())
        assert len({pid for pid, _ in done.values()}) > 2
        pool.start("poison", die)
        key, outcome = pool.next()
        assert key == "poison" and isinstance(outcome, Lost) and outcome.why.startswith("4 workers died under it")


@pytest.mark.slow
def test_a_gpu_error_ends_the_worker_and_fails_no_job(own, tmp_path):
    own.worker()
    with Cluster(own.file, code, timeout=60) as pool:
        jobs = {number: (tmp_path / "mark", number) for number in range(12)}
        assert dict(carry_out(on_a_gpu_that_fails_once, jobs, pool)) == {number: number for number in range(12)}
    logs = "".join(log.read_text() for log in tmp_path.rglob("*.log"))
    assert logs.count("the GPU failed, so this worker ends: AcceleratorError: CUDA error: device-side assert") == 1


@pytest.mark.slow
def test_the_scheduler_goes_away_and_comes_back(own, capfd):
    scheduler, worker = own.processes[0], own.worker()
    with Cluster(own.file, code, timeout=60, patience=60) as pool:
        for key in range(6):
            pool.start(key, process, 0.5)
        assert pool.next()[0] == 0
        address, _ = pool.client.scheduler.address, capfd.readouterr()
        own.kill(scheduler)
        own.scheduler(address.rpartition(":")[2])
        assert outcomes(pool) == dict.fromkeys(range(1, 6), Lost("the scheduler went away"))
        for key in range(1, 6):
            pool.start(key, process, 0)
        own.kill(worker)
        own.worker()
        assert {version for _, version in outcomes(pool).values()} == {
            "new"
        } and pool.client.scheduler.address == address
        said = capfd.readouterr()
        assert said.err == "" and [line.split(" at ")[0] for line in said.out.splitlines()] == [
            "lost the scheduler",
            "the scheduler",
        ]

        pool.patience = 0
        pool.start("never", process, 60)
        own.kill(own.processes[2])
        with pytest.raises(ConnectionError, match="no scheduler answers"):
            pool.next()
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_without_the_library():
    lines = "import sys; sys.modules['distributed'] = None; import plasticity.running.dask"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith("pip install '.[cluster]' in the checkout")
