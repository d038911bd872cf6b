"""A GPU's first hour, in nine minutes: is it right, does it wait, how fast is it, how many runs share it well.

    python benchmarks/gpu.py [--only right waits speed share kernels] [--smoke] [--markdown reference/gpu.md]

Needs torch, torchvision, timm and what `plasticity.train` imports; no data, weights or network. ``--smoke`` does all of
it on the CPU, small: it proves the script, not the GPU. Steps are the loop body of ``train.fit`` at the paper's batch
of 32 images of 224 pixels, with its augmentation. ``graph`` is a sketch: the network's forward and backward pass and
the optimiser's step captured once and replayed, the augmentation outside.
"""

import argparse
import functools
import multiprocessing
import statistics
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from plasticity import train
from plasticity.data import Dataset
from plasticity.datasets import prepare, world
from plasticity.methods.registry import NAMED
from plasticity.run import Run
from plasticity.running import provenance
from plasticity.running.checkpoints import Checkpoint
from plasticity.training.augment import AUGMENTATIONS
from plasticity.training.batches import forward
from plasticity.weights import fetch_weights

GFLOP = {"simplenet": None, "resnet50": 24.6, "vit_b_16": 105}  # to train on one image of 224 pixels
SOME = {"hare_tortoise": "hare_tortoise(steps=5)", "ema": "ema(momentum=0.9)", "redo": "redo(threshold=0.5)"}
SOME |= {
    "continual_backprop": "continual_backprop(rate=0.05, maturity=1)",
    "selective_reinit": "selective_reinit",
}
CASES = ("base", "10M", "25MN", "10NS", "25N", *(SOME.get(name, name) for name in NAMED), "10M + ema")
NETWORKS = {
    "mini_simplenet": {"optimizer": "sgd", "momentum": 0.9, "lr": 0.01},
    "mini_resnet": {"optimizer": "sgd", "momentum": 0.9, "lr": 0.02},
    "mini_vit": {"optimizer": "adamw", "lr": 1e-3},
}
SHORT = {"weights": "random", "batch_size": 32, "max_epochs": 2, "patience": 0, "augment": "released"}


def photos(count: int, size: int) -> world.Arrays:
    """Images of eight classes, each with a colour and a grain of its own."""
    draw, labels = np.random.default_rng(0), np.arange(count) % 8
    colour = np.array([[(k >> bit & 1) * 120 + 60 for bit in range(3)] for k in range(8)])
    noise = draw.integers(-60, 60, (count, size, size, 3))
    images = np.clip(colour[labels][:, None, None] + noise, 0, 255).astype(np.uint8)
    return world.Arrays(images, labels, np.arange(count) % 5 == 4, tuple("abcdefgh"), ["made"] * count)


@functools.cache
def loaded(count: int, size: int) -> Dataset:
    """The same in memory, of no folder."""
    made, half = photos(count, size), torch.full((3,), 0.5)
    parts = (torch.from_numpy(part) for part in (made.images, made.labels, made.test))
    return Dataset("dtd", *parts, made.class_names, (), half, half, "made")


def right(device: str, smoke: bool):
    """``fit`` on the device beside ``fit`` on the CPU: the mean loss of each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        prepare.pack(folder, "photos", photos(160, 32))
        prepare.pack(folder, "digits", photos(160, 16))
        jobs = [(name, case, {}) for name in NETWORKS for case in (CASES if name == "mini_resnet" else CASES[:5])]
        jobs += [("mini_vit", "10M", {"precision": precision}) for precision in ("tf32", "bf16")]
        jobs += [("mini_resnet", "10M", {"reading": "text"}), ("mini_resnet", "10M", {"channels_last": False})]
        for name, case, more in jobs[:: 9 if smoke else 1]:
            data = "photos"
            if case in ("crelu", "layer_norm"):  # they change layers, of plain chains
                name, data, more = "mini_vgg", "digits", {"weights": "none"}
            what = ", ".join([name, case, *map(str, more.values())])
            try:
                fetch_weights(name, "random", folder)
                run = Run(name, data, case, **SHORT | NETWORKS.get(name, NETWORKS["mini_resnet"]) | more)
                here, there = (
                    [entry["train_loss"] for entry in train.fit(run, folder, where).history]
                    for where in (device, "cpu")
                )
                apart = max(abs(a / b - 1) for a, b in zip(here, there, strict=True))
                verdict = "as the CPU's" if apart < 0.02 else "DIFFERS"
                yield what, f"{verdict}: losses {here[0]:.4f}, {here[1]:.4f}; {apart:.1e} of them apart"
            except Exception as error:
                traceback.print_exc()
                yield what, f"FAILED: {type(error).__name__}: {str(error)[:200]}"
        yield "same seed twice; taken up again", again(device, folder)


def again(device: str, folder: str) -> str:
    """How far apart two runs of one seed are, and one that is interrupted after its first epoch."""
    run = Run("mini_resnet", "photos", "10M", **SHORT | NETWORKS["mini_resnet"])

    class Interrupted(Exception):
        pass

    class Kept(Checkpoint):
        def save(self, epoch, state):
            super().save(epoch, state)
            raise Interrupted

    losses = [train.fit(run, folder, device).history[1]["train_loss"] for _ in range(2)]
    place = Path(folder) / "state"
    try:
        train.fit(run, folder, device, checkpoint=Kept(place, 0))
    except Interrupted:
        pass
    resumed = train.fit(run, folder, device, checkpoint=Checkpoint(place, 0))
    apart = [abs(loss / losses[0] - 1) for loss in (losses[1], resumed.history[1]["train_loss"])]
    return f"losses {apart[0]:.1e} and {apart[1]:.1e} apart; resumed after epoch {resumed.resumed}"


class Steps:
    """A run of the paper's kind in training: ``step`` is the loop's own, ``replay`` the graph's."""

    def __init__(self, name: str, device: str, smoke: bool, graph: bool = False, case: str = "base", **fields):
        data = loaded(64, 64) if smoke or name == "vgg16" else loaded(512, 224)
        given = {"weights": "none", "patience": 0, "optimizer": "sgd", "lr": 0.001, "augment": "released"}
        self.training = train.begin(Run(name, "dtd", case, **given | fields), device=device, data=data)
        train.begin_phase(self.training, 1)
        self.training.model.train()
        items = self.training.phase.items.to(self.training.batches.images.device)
        self.index = items[: len(items) // 32 * 32].view(-1, 32)
        self.count = 0
        if graph:
            self.capture()

    def step(self):
        """One step of ``fit``."""
        self.count += 1
        return train.train_step(self.training, self.index[self.count % len(self.index)])

    def batch(self):
        """The next batch, augmented."""
        self.count += 1
        index = self.index[self.count % len(self.index)]
        return self.training.batches(index, AUGMENTATIONS[self.training.run.augment], self.training.draws)

    def once(self):
        """Forward, backward and optimiser on the static batch."""
        training = self.training
        training.optimizer.zero_grad()
        loss = F.cross_entropy(forward(training.network, self.images, training.run.precision), self.labels)
        loss.backward()
        training.optimizer.step()
        return loss.detach()

    def capture(self):
        """Warm up beside the stream, then capture."""
        self.images, self.labels = self.batch()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(4):
                self.once()
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = self.once()

    def replay(self):
        """One step by the graph."""
        images, labels = self.batch()
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.graph.replay()
        return self.loss


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def timed(call, device: str, steps: int) -> tuple[float, float]:
    """Seconds of a step: until the host has asked for all, and until the device has done it; the median of three."""
    for _ in range(min(8, steps)):
        call()
    spans = []
    for _ in range(3):
        synchronize(device)
        started = time.perf_counter()
        for _ in range(steps):
            call()
        asked = time.perf_counter() - started
        synchronize(device)
        spans.append(((time.perf_counter() - started) / steps, asked / steps))
    whole, host = statistics.median_low(spans)
    return host, whole


def speed(device: str, smoke: bool):
    """Images a second of the three networks."""
    ways = [{"precision": p, "channels_last": c} for p in ("fp32", "tf32", "bf16") for c in (True, False)]
    ways += [{"precision": p, "graph": True} for p in ("tf32", "bf16")]
    ways += [{"precision": p, "graph": True, "augment": "none"} for p in ("tf32", "bf16")]
    for name in list(GFLOP)[: 1 if smoke else 3]:
        for way in ways[:1] if smoke else ways:
            what = ", ".join([name, *(f"{key}={value}" for key, value in way.items())])
            try:
                made = Steps(name, device, smoke, **way)
                host, whole = timed(made.replay if way.get("graph") else made.step, device, 2 if smoke else 25)
                share = f"; {32 / whole * GFLOP[name] / 1000:.0f} TFLOP/s" if GFLOP[name] else ""
                yield what, f"{32 / whole:.0f} images/s{share}; {1e3 * whole:.1f} ms a step, host {1e3 * host:.1f}"
                del made
            except Exception as error:
                traceback.print_exc()
                yield what, f"FAILED: {type(error).__name__}: {str(error)[:200]}"


def waits(device: str, smoke: bool):
    """No step may wait for the device: torch raises where one does."""
    for augment in AUGMENTATIONS:
        yield f"augment={augment}", waited(device, smoke, augment=augment)
    for case in CASES:
        yield case, waited(device, smoke, case=case, augment="none")


def waited(device: str, smoke: bool, case="base", **fields) -> str:
    """What happens in the third step."""
    try:
        chain = case in ("crelu", "layer_norm")
        name = "vgg16" if chain else "simplenet" if smoke else "resnet18"
        made = Steps(name, device, smoke, case=case, **fields)
        made.step()
        made.step()
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        made.step()
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "plasticity" in f.filename]
        where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].line}"
        return f"WAITS or fails: {type(error).__name__}: {str(error)[:90]} at {where}"
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    return "no wait"


def kernels(device: str, smoke: bool):
    """Kernels of a step, and of the augmentation alone."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device == "cuda")

    for name in ("resnet50",) if not smoke else ("simplenet",):
        made = Steps(name, device, smoke, precision="bf16")
        for what, call in ((name, made.step), ("its augmentation", made.batch)):
            call()
            synchronize(device)
            with profile(activities=activities) as profiler:
                call()
                synchronize(device)
            launched = sum(e.count for e in profiler.key_averages() if "LaunchKernel" in e.key)
            yield what, f"{launched} kernels launched"


def share(device: str, smoke: bool):
    """Several processes on one GPU, each a run of its own: images a second of all of them together."""
    context = multiprocessing.get_context("spawn")
    for name, counts in ({"resnet50": (1, 2, 4), "simplenet": (1, 4, 8)} if not smoke else {"simplenet": (2,)}).items():
        for count in counts:
            barrier, queue = context.Barrier(count), context.Queue()
            processes = [context.Process(target=_one, args=(name, device, smoke, barrier, queue)) for _ in range(count)]
            for process in processes:
                process.start()
            try:
                rates = [queue.get(timeout=120) for _ in processes]
                yield f"{name}, bf16, {count} processes", f"{sum(rates):.0f} images/s together"
            except Exception as error:
                yield f"{name}, bf16, {count} processes", f"FAILED: {type(error).__name__}"
            for process in processes:
                process.join(10)
                process.kill()


def _one(name, device, smoke, barrier, queue):
    torch.set_num_threads(1)
    made = Steps(name, device, smoke, precision="bf16")
    made.step()
    synchronize(device)
    barrier.wait(100)
    _, whole = timed(made.step, device, 2 if smoke else 40)
    queue.put(32 / whole)


SECTIONS = {"right": right, "waits": waits, "kernels": kernels, "speed": speed, "share": share}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--smoke", action="store_true", help="on the CPU, small")
    parser.add_argument("--markdown", type=Path, help="also write the tables there")
    options = parser.parse_args()
    if not options.smoke and not torch.cuda.is_available():
        sys.exit("error: torch sees no CUDA device here: --smoke runs the checks on the CPU, or `plasticity doctor`")
    device, torch_says = ("cpu" if options.smoke else "cuda"), f"torch {torch.__version__}"
    torch.set_num_threads(1)
    card = torch.cuda.get_device_name() if device == "cuda" else "no GPU"
    lines = [f"{card}; {provenance.machine()}, {torch_says}; `python benchmarks/gpu.py`, one call", ""]
    for name in options.only:
        started, section = time.perf_counter(), SECTIONS[name]
        lines += [f"## {name}", "", section.__doc__, "", "| what | found |", "|---|---|"]
        for what, found in section(device, options.smoke):
            lines.append(f"| {what} | {found} |")
            print(f"{time.perf_counter() - started:6.1f} {name}: {what}: {found}", flush=True)
            if options.markdown:
                options.markdown.write_text("\n".join(["# A GPU, measured", "", *lines, ""]), "utf-8")
        lines.append("")


if __name__ == "__main__":
    main()
