"""What several test modules share. Test modules do not import each other."""

import copy
import ctypes
import itertools
import multiprocessing
import os
import platform
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from plasticity import Run, train
from plasticity.analysis.frames import run_table
from plasticity.datasets.world import PHOTOS, Arrays, installed
from plasticity.interventions import Start
from plasticity.networks.table import ARCHITECTURES
from plasticity.profiles import CASES
from plasticity.rl import online
from plasticity.running.checkpoints import Checkpoint

ROOT = Path(__file__).resolve().parents[1]
ADAMW = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
# the 97.5% quantiles of Student's t with so many degrees of freedom
T = {1: 12.706204736, 2: 4.302652730, 3: 3.182446305}
TWELVE = CASES[1:]


def tiny_arrays(classes=3, per_class=24, size=32, seed=0):
    """Images whose class is their colour, under noise; every third item is a test item."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    colours = rng.uniform(60, 200, (classes, 3))
    images = colours[labels][:, None, None, :] + rng.normal(0, 40, (len(labels), size, size, 3))
    return Arrays(
        images=images.clip(0, 255).astype(np.uint8),
        labels=labels.astype(np.int64),
        test=np.arange(len(labels)) % 3 == 0,
        class_names=tuple(f"class {i}" for i in range(classes)),
        sources=[f"noise {i}" for i in range(len(labels))],
    )


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def photographs(batch, height, width, seed=0):
    """Random squares of three colour photographs: uint8 [batch, height, width, 3]."""
    rng, images = np.random.default_rng(seed), []
    for i in range(batch):
        photo = Image.open(installed(PHOTOS[("astronaut", "chelsea", "coffee")[i % 3]])).convert("RGB")
        side = int(min(photo.size) * rng.uniform(0.4, 1))
        left, top = rng.integers(0, photo.width - side + 1), rng.integers(0, photo.height - side + 1)
        images.append(np.array(photo.crop((left, top, left + side, top + side)).resize((width, height))))
    return torch.from_numpy(np.stack(images))


def fill(folder, leave=0):
    """Fill a disk up to some bytes, with a file to delete."""
    room = os.statvfs(folder)
    filler = folder / "filler"
    filler.write_bytes(bytes(room.f_bavail * room.f_frsize - leave))
    return filler


def where_the_system_refuses(calls, error, function):
    """Call ``function`` in a process in which the kernel answers these system calls by an error number, as it does on a
    file system without them. Returns and raises what the function does."""
    numbers = {"x86_64": {"link": 86, "linkat": 265, "flock": 73}, "aarch64": {"linkat": 37, "flock": 32}}
    if sys.platform != "linux" or platform.machine() not in numbers:
        pytest.skip("needs Linux and the numbers of its system calls")
    numbers = numbers[platform.machine()]
    rules = [(0x20, 0, 0, 0)]  # load the call's number; for each: compare, refuse
    for call in calls:
        if call in numbers:
            rules += [(0x15, 0, 1, numbers[call]), (0x06, 0, 0, 0x00050000 | error)]
    program = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *rule) for rule in [*rules, (6, 0, 0, 0x7FFF0000)])
    )
    about = ctypes.create_string_buffer(struct.pack("HP", len(rules) + 1, ctypes.addressof(program)))

    def child(pipe):
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        if prctl(38, 1, 0, 0, 0) or prctl(22, 2, about, 0, 0):  # no new privileges; a filter of system calls
            pipe.send(("skip", os.strerror(ctypes.get_errno())))
            return
        try:
            pipe.send(("done", function()))
        except BaseException as error:
            pipe.send(("raised", error))

    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=child, args=(theirs,))
    process.start()
    theirs.close()  # so that the pipe ends with the process
    end, value = ours.recv() if ours.poll(60) else ("raised", TimeoutError())
    process.kill()
    process.join()
    if end == "skip":
        pytest.skip(f"needs seccomp: {value}")
    if end == "raised":
        raise value
    return value


def run_notebook(name, folder, target=None, profile="quick"):
    """One notebook of a first-look profile, by the command that make uses, in a process of its own."""
    target, workers = target or folder / "notebooks" / f"{name}.ipynb", 2 if name.startswith("00") else 1
    command = [sys.executable, "-m", "plasticity", "execute", f"notebooks/{name}.ipynb", str(target)]
    given = {"profile": profile, "results": folder, "data": folder / "data", "device": "cpu", "workers": workers}
    for parameter in given.items():
        command += ["-p", *map(str, parameter)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]


def boxes_of(figure):
    """(text, its box) of all that is written in a figure."""
    from plasticity.analysis import figures

    with figures.style():
        figure.draw_without_rendering()
    texts = [text for legend in figure.legends for text in legend.get_texts()] + [figure._supxlabel]
    for ax in figure.axes:
        texts += [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = (tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)
            texts += [tick.label1 for tick in ticks if tick.label1.get_visible()]
    return [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]


def assert_legible(figure, smallest=7, name=""):
    """No text of a figure is cut off, covers another, or is smaller than so many points."""
    from matplotlib.text import Text

    boxes, (width, height) = boxes_of(figure), figure.bbox.size
    assert not [t for t, b in boxes if b.x0 < -1 or b.y0 < -1 or b.x1 > width + 1 or b.y1 > height + 1], name
    pairs = itertools.combinations(boxes, 2)
    assert not [(a, b) for (a, one), (b, two) in pairs if one.padded(-1).overlaps(two.padded(-1))], name
    assert min(text.get_size() for text in figure.findobj(Text) if text.get_text()) >= smallest, name


# --- comparing networks and runs --------------------------------------------------------------------------------------
def state_of(model):
    """A copy of all parameters and buffers by name."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one, two):
    """Whether two states, or two networks, are the same bit for bit."""
    one, two = (each.state_dict() if isinstance(each, nn.Module) else each for each in (one, two))
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def same(one, two):
    """Whether two runs have the same result bit for bit."""
    numbers = ("history", "metrics", "histogram", "resets")
    networks = equal(one.model, two.model) and equal(one.best_model, two.best_model)
    return networks and all(getattr(one, name) == getattr(two, name) for name in numbers)


# --- runs that are killed and taken up again --------------------------------------------------------------------------
class Interrupted(Exception):
    """Stands for a kill."""


class Interrupting(Checkpoint):
    """Fails right after the state of an epoch was written, as a kill would."""

    def __init__(self, folder, epoch):
        super().__init__(folder)
        self.last = epoch

    def due(self):
        return True

    def save(self, epoch, state):
        super().save(epoch, state)
        if epoch == self.last:
            raise Interrupted


class Resuming(Checkpoint):
    """Takes a state up and writes none."""

    def due(self):
        return False


class Keeping(Checkpoint):
    """Keeps the states after every epoch, each in a folder of its own: ``<folder>-<epoch>``."""

    def due(self):
        return True

    def save(self, epoch, state):
        super().save(epoch, state)
        shutil.copytree(self.folder, f"{self.folder}-{epoch}")


def interrupted(run, world, folder, epoch, **more):
    """Train until the state of an epoch is written in ``folder``."""
    with pytest.raises(Interrupted), Interrupting(folder, epoch) as checkpoint:
        fit(run, world, checkpoint=checkpoint, **more)


def resumed(run, world, folder, **more):
    """Take up the state in ``folder``, which stays, and train to the end."""
    with Resuming(folder) as checkpoint:
        return fit(run, world, checkpoint=checkpoint, **more)


def interrupted_online(run, folder, epoch):
    """Learn a game until the state of an epoch is written in ``folder``."""
    with pytest.raises(Interrupted), Interrupting(folder, epoch) as checkpoint:
        online.fit(run, "cpu", checkpoint=checkpoint)


def same_threads():
    """The environment of a process that computes with as many threads as this one."""
    return os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}


def resumed_online(run, folder):
    """Take up the state of a game in ``folder``, which stays, and learn to the end."""
    with Resuming(folder) as checkpoint:
        return online.fit(run, "cpu", checkpoint=checkpoint)


def fit(run, world, **more):
    """Train a run on the CPU; pretrained weights are the world's own."""
    return train.fit(run, world, "cpu", weights=world / f"{run.architecture}.pt", **more)


# --- methods ----------------------------------------------------------------------------------------------------------
PHASES = Run(  # a warm start of two phases of two epochs, from scratch; the learning rate falls after the first of each
    "mini_simplenet",
    "photos",
    weights="none",
    scenario="warm_start(subset=0.5, noise=0.2, equal=false)",
    patience=0,
    validation=0.0,
    max_epochs=2,
    batch_size=8,
    augment="flip",
    schedule="steps",
    optimizer="sgd",
    lr=0.05,
    momentum=0.9,
)


def start_of(model=None, seed=1, **fields):
    """A `Start` of the first phase; ``model`` gives an optimiser, and is as it was initialised."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1) if model else None
    usual = {"generator": torch.Generator().manual_seed(seed), "optimizer": optimizer, "gradients": dict}
    if model and "initial" not in fields:
        fields["initial"] = state_of(model)
    return Start(**usual | fields)


def prepared(method, model, **fields):
    """The method after its preparation of a network."""
    method.prepare(model, start_of(model, **fields))
    return method


def without_state(method):
    """The method, which loses its state when it is taken up again."""
    method = copy.copy(method)
    method.load_state_dict = lambda state: None
    return method


def pictures(count, size=4, channels=3):
    """Noise [count, channels, size, size]."""
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(count))


# --- records and frames made by hand, and worlds of normal runs ----------------------------------------------------
def rng(seed=0):
    return np.random.default_rng(seed)


def record(
    case="base",
    seed=0,
    accuracy=0.5,
    scenario="warm_start",
    network="mini_resnet18",
    dataset="world_10",
    history=(),
    **more,
):
    """A finished run's record, as `records.load_runs` gives it; ``more`` are metrics, or settings that it has."""
    config = ADAMW | {"architecture": network, "dataset": dataset, "case": case, "seed": seed, "scenario": scenario}
    settings = {name: more.pop(name) for name in tuple(more) if name in config}
    metrics = {"accuracy": accuracy, "epochs": 12} | more
    return {"status": "done", "config": config | settings, "metrics": metrics, "history": list(history), "seconds": 1.0}


def failed(**config):
    """A failed run's record; it has neither metrics nor a history."""
    return {"status": "failed", "config": record(**config)["config"], "message": "diverged", "seconds": 1.0}


def runs(values, network="mini_resnet18", **fields):
    """A frame of one case from accuracies by seed; None: no such run."""
    there = [(seed, value) for seed, value in enumerate(values) if value is not None]
    return run_table([record(seed=seed, accuracy=value, network=network, **fields) for seed, value in there])


def phases(*accuracies, case="l2 + augmentation", seed=0, network="mini_resnet18"):
    """A history of phases with these test accuracies; None where an epoch was not evaluated."""
    epochs = [(phase, accuracy) for phase, part in enumerate(accuracies, start=1) for accuracy in part]
    run = {"architecture": network, "dataset": "world_10", "network": ARCHITECTURES[network].title, "case": case}
    run |= {"scenario": "continual", "seed": seed}
    rows = [
        run | {"epoch": i, "phase": phase, "test_accuracy": accuracy} for i, (phase, accuracy) in enumerate(epochs, 1)
    ]
    return pd.DataFrame(rows).astype({"test_accuracy": float})


def frame_of(cells, architecture="mini_resnet", dataset="photos", epochs=10):
    """A frame of `frames.frame`'s columns from case -> accuracies by seed; None: that run failed."""
    rows = [
        (architecture, dataset, case, seed, "failed" if value is None else "done", value, epochs)
        for case, values in cells.items()
        for seed, value in enumerate(values)
    ]
    frame = pd.DataFrame(rows, columns=["architecture", "dataset", "case", "seed", "status", "accuracy", "epochs"])
    return frame.astype({"accuracy": float, "epochs": float})


def world(cells=9, seeds=5, cases=TWELVE, effects=None, seed=0, cell_std=0.0, spread=0.02, shared=0.02):
    """Normal runs of base and ``cases``: seeds share a part; ``effects`` in points by case, ``cell_std`` their spread
    over cells."""
    generator, names, effects, rows = rng(seed), ("base", *cases), effects or {}, []
    for cell, number in itertools.product(range(cells), range(seeds)):
        lift = generator.normal(0, shared)
        for case in names:
            accuracy = 0.5 + lift + effects.get(case, 0) / 100 + generator.normal(0, spread)
            rows.append((f"network {cell:03d}", "data", case, number, "done", accuracy))
    frame = pd.DataFrame(rows, columns=["architecture", "dataset", "case", "seed", "status", "accuracy"])
    lifts = dict(zip(frame.architecture.unique(), generator.normal(0, cell_std / 100, cells), strict=True))
    moved = frame.architecture.map(lifts).where(frame["case"] != "base", 0)
    return frame.assign(accuracy=frame.accuracy + moved, epochs=20 + 100 * (frame.accuracy - 0.5))
