"""A GPU's first hour, in nine minutes: is it right, does it wait, how fast is it, how many runs share it well.

    python benchmarks/gpu.py [--only right waits kernels poison speed loader share] [--smoke] [--markdown FILE]

Needs torch, torchvision, timm and what `plasticity.train` imports; no data, weights or network. ``--smoke`` does all of
it on the CPU, small: it proves the script, not the GPU. Steps are those of ``train.fit`` at the paper's batch of 32
images of 224 pixels, with its augmentation.
"""

import argparse
import contextlib
import functools
import itertools
import multiprocessing
import statistics
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from plasticity import train
from plasticity.data import Dataset
from plasticity.datasets import prepare, world
from plasticity.datasets.cores import usable_cores
from plasticity.methods.registry import NAMED
from plasticity.networks import table as networks
from plasticity.run import Run
from plasticity.running import provenance
from plasticity.running.checkpoints import Checkpoint
from plasticity.running.workers import JobFailed, Processes, carry_out
from plasticity.training.augment import AUGMENTATIONS
from plasticity.training.batches import forward
from plasticity.training.device import set_precision
from plasticity.weights import fetch_weights

BATCH, PRECISIONS = 32, ("tf32", "bf16")
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
    """``fit`` on the device, step by step and by CUDA graphs, beside ``fit`` on the CPU: each epoch's mean loss."""
    with tempfile.TemporaryDirectory() as folder:
        prepare.pack(folder, "photos", photos(160, 32))
        prepare.pack(folder, "digits", photos(160, 16))
        jobs = [(name, case, {}) for name in NETWORKS for case in (CASES if name == "mini_resnet" else CASES[:5])]
        jobs += [("mini_vit", "10M", {"precision": precision}) for precision in ("tf32", "bf16")]
        jobs += [
            ("mini_vit", "10M", {"schedule": "cosine", "clip": 1.0}),
            ("mini_vit", "10M", {"augment": "crop_flip"}),
        ]
        jobs += [("mini_resnet", "10M", {"reading": "text"}), ("mini_resnet", "10M", {"channels_last": False})]
        for name, case, more in jobs[:: 9 if smoke else 1]:
            data = "photos"
            if case in ("crelu", "layer_norm"):  # they change layers, of plain chains
                name, data, more = "mini_vgg", "digits", {"weights": "none"}
            what = ", ".join([name, case, *(f"{key}={value}" for key, value in more.items())])
            fetch_weights(name, "random", folder)
            fields = SHORT | NETWORKS.get(name, NETWORKS["mini_resnet"]) | more
            there = None
            for graph in (False, True):
                kind = f"{what}{', graph' if graph else ''}"
                try:
                    there = there or losses(Run(name, data, case, **fields), folder, "cpu")
                    here = losses(Run(name, data, case, **fields, graph=graph), folder, device)
                    apart = max(abs(a / b - 1) for a, b in zip(here, there, strict=True))
                    verdict = "as the CPU's" if apart < 0.02 else "DIFFERS"
                    yield kind, f"{verdict}: losses {here[0]:.4f}, {here[1]:.4f}; {apart:.1e} of them apart"
                except Exception as error:
                    yield kind, failed(error)
        for graph in (False, True):
            yield f"same seed twice; taken up again; graph={graph}", again(device, folder, graph)


def losses(run: Run, folder: str, device: str, **more) -> list[float]:
    """The training loss of each epoch."""
    return [entry["train_loss"] for entry in train.fit(run, folder, device, **more).history]


def failed(error: Exception) -> str:
    """One line; the traceback is printed."""
    traceback.print_exception(error)
    return f"FAILED: {type(error).__name__}: {str(error)[:200]}"


def again(device: str, folder: str, graph: bool) -> str:
    """How far apart two runs of one seed are, and one that is interrupted after its first epoch."""
    run = Run("mini_resnet", "photos", "10M", **SHORT | NETWORKS["mini_resnet"], graph=graph)

    class Interrupted(Exception):
        pass

    class Kept(Checkpoint):
        def save(self, epoch, state):
            super().save(epoch, state)
            raise Interrupted

    first, second = losses(run, folder, device), losses(run, folder, device)
    place = Path(folder) / f"state-{graph}"
    with contextlib.suppress(Interrupted):
        train.fit(run, folder, device, checkpoint=Kept(place, 0))
    checkpoint = Checkpoint(place, 0)
    resumed = losses(run, folder, device, checkpoint=checkpoint)
    apart = [abs(each[1] / first[1] - 1) for each in (second, resumed)]
    return f"losses {apart[0]:.1e} and {apart[1]:.1e} apart; resumed after epoch {checkpoint.resumed}"


class Steps:
    """A run of the paper's kind in training: ``step`` is the loop's own, by a CUDA graph where ``graph`` is true."""

    def __init__(self, name: str, device: str, smoke: bool, case: str = "base", **fields):
        data = loaded(64, 64) if smoke or name == "vgg16" else loaded(512, 224)
        given = {"weights": "none", "patience": 0, "optimizer": "sgd", "lr": 0.001, "augment": "released"}
        self.training = train.begin(Run(name, "dtd", case, **given | fields), device=device, data=data)
        train.begin_phase(self.training, 1)
        self.training.model.train()
        items = self.training.phase.items.to(self.training.batches.images.device)
        self.index = items[: len(items) // BATCH * BATCH].view(-1, BATCH)
        self.count = 0

    def step(self):
        """One step of ``fit``."""
        self.count += 1
        return train.train_step(self.training, self.index[self.count % len(self.index)])

    def batch(self):
        """A batch, augmented and normalised."""
        training = self.training
        return training.batches(self.index[0], train.augmentation(training), train.drawn(training, BATCH))


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
    """Images a second of the three networks; their arithmetic as a share of what a product of two matrices reaches."""
    peaks = {precision: peak(device, precision, 256 if smoke else 8192) for precision in PRECISIONS}
    for precision, reached in peaks.items():
        yield f"product of two matrices, {precision}", f"{reached / 1e12:.0f} TFLOP/s"
    ways = [
        {"precision": p, "channels_last": c, "graph": g}
        for p in PRECISIONS
        for g in (False, True)
        for c in (True, False)
    ]
    ways += [{"precision": p, "graph": True, "augment": "none"} for p in PRECISIONS]
    for name in list(GFLOP)[: 1 if smoke else 3]:
        for way in ways[:1] if smoke else ways:
            what = ", ".join([name, *(f"{key}={value}" for key, value in way.items())])
            try:
                host, whole = timed(Steps(name, device, smoke, **way).step, device, 2 if smoke else 25)
                flops = GFLOP[name] and BATCH / whole * GFLOP[name] * 1e9
                share = (
                    f"; {flops / 1e12:.0f} TFLOP/s, {flops / peaks[way['precision']]:.0%} of the peak" if flops else ""
                )
                yield what, f"{BATCH / whole:.0f} images/s{share}; {1e3 * whole:.1f} ms a step, host {1e3 * host:.1f}"
            except Exception as error:
                yield what, failed(error)


def peak(device: str, precision: str, size: int) -> float:
    """Operations a second in the product of two square matrices."""
    set_precision(precision)
    one = torch.randn(size, size, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    return 2 * size**3 / timed(lambda: one @ one, device, 2 if size < 8192 else 10)[1]


def waits(device: str, smoke: bool):
    """No step may wait for the device: torch raises where one does."""
    for augment in AUGMENTATIONS:
        yield f"augment={augment}", waited(device, smoke, augment=augment)
        yield f"augment={augment}, graph", waited(device, smoke, augment=augment, graph=True)
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
    """What the host starts in a step, and for the augmentation alone: kernels, or a graph of them."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device == "cuda")
    name = "simplenet" if smoke else "resnet50"
    plain, graph = (Steps(name, device, smoke, precision="bf16", graph=graph) for graph in (False, True))
    for what, call in ((name, plain.step), (f"{name}, graph", graph.step), ("its augmentation", plain.batch)):
        call()
        synchronize(device)
        with profile(activities=activities) as profiler:
            call()
            synchronize(device)
        events = profiler.key_averages()
        launched, graphs = (sum(e.count for e in events if part in e.key) for part in ("LaunchKernel", "GraphLaunch"))
        yield what, f"{launched} kernels and {graphs} graphs"


def loader(device: str, smoke: bool):
    """ResNet-50 by a plain loop over a DataLoader with PIL, as the released code, and by ours: images a second."""
    name, size, workers = ("simplenet", 64, 2) if smoke else ("resnet50", 224, min(16, usable_cores()))
    with tempfile.TemporaryDirectory() as folder:
        for i, image in enumerate(photos(128 if smoke else 1024, size).images):
            path = Path(folder) / f"class {i % 8}" / f"{i}.jpg"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(image).save(path, quality=90)
        for precision in PRECISIONS[-1:] if smoke else PRECISIONS:
            theirs = by_loader(name, folder, size, workers, device, precision)
            yield f"{name}, {precision}, DataLoader with {workers} workers", f"{theirs:.0f} images/s"
            for graph in (False, True):
                made = Steps(name, device, smoke, precision=precision, graph=graph)
                ours = BATCH / timed(made.step, device, 2 if smoke else 25)[1]
                yield (
                    f"{name}, {precision}, ours, graph={graph}",
                    f"{ours:.0f} images/s, {ours / theirs:.1f} times theirs",
                )


def by_loader(name: str, folder: str, size: int, workers: int, device: str, precision: str) -> float:
    """Images a second in the second and third epoch, with workers that stay."""
    jitter = transforms.ColorJitter(brightness=0.5, contrast=0.3, saturation=0.3, hue=0.3)
    flips = [transforms.RandomVerticalFlip(), transforms.RandomHorizontalFlip(), transforms.RandomRotation(180)]
    crop = transforms.RandomResizedCrop((size, size), scale=(0.8, 1.0))
    recipe = transforms.Compose([jitter, *flips, crop, transforms.ToTensor()])
    options = {"num_workers": workers, "persistent_workers": True, "pin_memory": device == "cuda", "drop_last": True}
    batches = DataLoader(ImageFolder(folder, recipe), BATCH, shuffle=True, **options)
    set_precision(precision)
    model = networks.build(name, 8, seed=0).to(device, memory_format=torch.channels_last).train()
    optimizer, started = torch.optim.SGD(model.parameters(), 0.001, fused=True), 0.0
    for epoch in range(3):
        if epoch == 1:
            synchronize(device)
            started = time.perf_counter()
        for images, labels in batches:
            images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
            loss = F.cross_entropy(forward(model, images, precision), labels.to(device, non_blocking=True))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    synchronize(device)
    return 2 * len(batches) * BATCH / (time.perf_counter() - started)


def share(device: str, smoke: bool):
    """Several processes on one GPU, each a run of its own: images a second of all of them together."""
    context = multiprocessing.get_context("spawn")
    jobs = {"resnet50": (1, 2, 4), "vit_b_16": (1, 2), "simplenet": (1, 4)} if not smoke else {"simplenet": (2,)}
    for name, graph in itertools.product(jobs, (True,) if smoke else (False, True)):
        for count in jobs[name]:
            barrier, queue = context.Barrier(count), context.Queue()
            given = (name, device, smoke, graph, barrier, queue)
            processes = [context.Process(target=_one, args=given) for _ in range(count)]
            for process in processes:
                process.start()
            what = f"{name}, bf16, graph={graph}, {count} processes"
            try:
                rates, memory = zip(*(queue.get(timeout=120) for _ in processes), strict=True)
                yield what, f"{sum(rates):.0f} images/s together; each took {max(memory) / 2**30:.1f} GiB at most"
            except Exception as error:
                yield what, failed(error)
            for process in processes:
                process.join(10)
                process.kill()


def _one(name, device, smoke, graph, barrier, queue):
    torch.set_num_threads(1)
    made = Steps(name, device, smoke, precision="bf16", graph=graph)
    made.step()
    synchronize(device)
    barrier.wait(100)
    _, whole = timed(made.step, device, 2 if smoke else 40)
    queue.put((BATCH / whole, torch.cuda.max_memory_reserved() if device == "cuda" else 0))


def poison(device: str, smoke: bool):
    """A kernel that fails spoils its process for good: the pool gives its job to a new one, and goes on."""
    with tempfile.TemporaryDirectory() as folder, Processes(1, device) as pool:
        jobs = {f"job {i}": (device, i == 2 and f"{folder}/done") for i in (1, 2, 3)}
        for key, outcome in carry_out(_job, jobs, pool):
            yield key, f"FAILED: {outcome.message[:150]}" if isinstance(outcome, JobFailed) else "done"


def _job(device: str, once: str) -> float:
    """The sum of two entries; at first with an index out of range, which on a GPU is a device-side assert."""
    wrong = bool(once) and not Path(once).exists()
    if wrong:
        Path(once).touch()
    if wrong and device == "cpu":
        raise RuntimeError("CUDA error: device-side assert triggered")
    return torch.ones(2, device=device)[torch.tensor([0, 10**6 if wrong else 1], device=device)].sum().item()


SECTIONS = {"right": right, "waits": waits, "kernels": kernels, "poison": poison}
SECTIONS |= {"speed": speed, "loader": loader, "share": share}


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
