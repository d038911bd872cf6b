"""What a profile costs, before anything is spent: ``python -m plasticity.plan paper`` (or ``make plan PROFILE=paper``)."""

import argparse
import json
import sys
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from .. import train
from ..analysis.frames import frame
from ..analysis.tables import FAMILY
from ..data import PAPER_NAMES
from ..datasets import classic
from ..datasets import main_paper as real
from ..datasets.prepare import prepare
from ..datasets.world import OFFLINE
from ..networks import table as models
from ..profiles import PROFILES, Profile, get_profile
from ..running import records
from ..studies.all import grid
from ..studies.main_paper import numbers as paper
from ..training import scenarios

# Nobody has measured this project on a GPU yet. ResNet-50 takes 24.6 GFLOP an image, and others report 2,500 (AMP, channels
# last) and 938 (TF32) images a second on one A100: 61 and 23 TFLOP/s. Its float32 peak is 19.5; we assume 60% of that.
ASSUMED = {"bf16": 61e12, "tf32": 23e12, "fp32": 11.7e12}
ASSUMPTION = (
    "assumed: one A100 doing {:.1f} TFLOP/s in {} on every network (others' ResNet-50 figures; float32: 60% of its "
    "peak); small networks reach less at batch 32, unless several runs share the GPU. Measure yours: --measure"
)
GPUS = (1, 4, 8)


@lru_cache
def cost(architecture: str, pixels: int, classes: int, batch_size: int) -> dict[str, float]:
    """Of one training step, counted without computing it: GFLOP an image, parameters, and bytes autograd keeps for the batch.

    The backward pass counts as two forward ones; PyTorch's own count of it is many times too high for depthwise convolutions.
    """
    model = models.build(architecture, classes, seed=0).to("meta").train()
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    images = torch.empty(batch_size, 3, pixels, pixels, device="meta")
    with (
        FlopCounterMode(display=False) as counter,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        model(images)
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "gflop": 3 * counter.get_total_flops() / batch_size / 1e9,
        "parameters": parameters,
        "kept": sum(kept.values()) - 4 * parameters,
    }


def items(dataset: str, folder: str | Path) -> tuple[int, int, int]:
    """Items that are not test, test items and classes of a data set: as packed (offline ones are, in seconds), or published."""
    if dataset in OFFLINE:
        prepare(folder, dataset)
    manifest = Path(folder) / dataset / "manifest.json"
    if manifest.is_file():
        tested = int(np.load(manifest.with_name("test.npy")).sum())
        content = json.loads(manifest.read_text())
        return content["shape"][0] - tested, tested, len(content["class_names"])
    if dataset in classic.SETS:
        known = classic.SETS[dataset]
        return known.train, known.test, known.classes
    n = real.published(dataset)
    return n - n // 5, n // 5, len(real.SETS[real.VARIANTS[dataset][0]].drawn)


def pixels_of(dataset: str, architecture: str, folder: str | Path) -> int:
    """The width of the images that an architecture gets from a data set."""
    if dataset in classic.SETS:
        return classic.SETS[dataset].pixels
    manifest = Path(folder) / dataset / "manifest.json"
    return (
        json.loads(manifest.read_text())["shape"][1]
        if manifest.is_file()
        else models.architecture(architecture).image_size
    )


def epochs(cap: int, architecture: str, dataset: str, recorded: pd.DataFrame) -> float:
    """Expected epochs of a run with early stopping: the mean of the recorded ones, else the paper's (tables 3 to 5), up to the cap."""
    done = recorded[(recorded.architecture == architecture) & (recorded.dataset == dataset)].epochs
    published = paper.frame()
    theirs = published[
        (published.architecture == FAMILY[architecture]) & (published.dataset == PAPER_NAMES.get(dataset))
    ].epochs
    return min(cap, done.mean() if len(done) else theirs.mean() if len(theirs) else cap)


def passes(run, rest: int, tested: int, classes: int, length: float) -> tuple[float, float]:
    """Images that a run passes through its network in training and in evaluation; ``length``: its epochs if it stops early."""
    if run.scenario == "transfer":
        return length * round((1 - run.validation) * rest), length * round(run.validation * rest) + 2 * tested
    trained = evaluated = 0
    phases = scenarios.build(run.scenario).phases(
        torch.arange(rest),
        torch.zeros(rest, dtype=torch.long),
        classes,
        run.max_epochs,
        lambda purpose: torch.Generator(),
    )
    for phase in phases:
        trained += phase.epochs * len(phase.items) // run.batch_size * run.batch_size
        evaluated += -(-phase.epochs // max(1, phase.epochs // run.max_epochs)) * tested
    return trained, evaluated + tested + rest


def work(profile: Profile, folder: str | Path, results: str | Path) -> pd.DataFrame:
    """A row for each architecture and data set: runs, to do, epochs, millions of image passes in training and evaluation, GFLOP.

    ``gflop`` is that of the runs left to do; an image costs a third as much in evaluation as in training.
    """
    runs = grid(profile)
    left, rows = set(records.missing(runs, Path(results) / "runs")), []
    done = frame(records.load_runs([run for run in runs if run not in left], Path(results) / "runs"))
    groups = {}
    for run in runs:
        groups.setdefault((run.architecture, run.dataset), []).append(run)
    known = {}  # of a scenario, since many runs share one
    for (architecture, dataset), here in groups.items():
        (rest, tested, classes), pixels = items(dataset, folder), pixels_of(dataset, architecture, folder)
        length, chosen = epochs(here[0].max_epochs, architecture, dataset, done), [run for run in here if run in left]
        for run in chosen:
            key = (run.scenario, run.max_epochs, run.batch_size, run.validation, architecture, dataset)
            known[key] = known.get(key) or passes(run, rest, tested, classes, length)
        each = [
            known[run.scenario, run.max_epochs, run.batch_size, run.validation, architecture, dataset] for run in chosen
        ]
        trained, evaluated = (sum(numbers) for numbers in zip(*each, strict=True)) if each else (0, 0)
        gflop = (trained + evaluated / 3) * cost(architecture, pixels, classes, here[0].batch_size)["gflop"]
        long = [length if run.scenario == "transfer" else run.max_epochs for run in here]
        rows.append(
            {
                "architecture": architecture,
                "dataset": dataset,
                "runs": len(here),
                "to do": len(chosen),
                "epochs a run": np.mean(long),
                "training passes": trained,
                "evaluation passes": evaluated,
                "gflop": gflop,
                "run": here[0],
                "classes": classes,
                "pixels": pixels,
            }
        )
    return pd.DataFrame(rows)


def measure(run, pixels: int, classes: int, device: torch.device, steps: int = 5) -> float:
    """Training images a second of an architecture on this machine: the median of some steps on noise, after one to warm up."""
    model = models.build(run.architecture, classes, seed=0)
    model = model.to(
        device, memory_format=torch.channels_last if run.channels_last else torch.contiguous_format
    ).train()
    train.set_precision(run.precision)
    optimizer, seconds = train.build_optimizer(run, model), []
    images = torch.randn(run.batch_size, 3, pixels, pixels, device=device)
    labels = torch.zeros(run.batch_size, dtype=torch.long, device=device)
    for _ in range(steps + 1):
        started = time.perf_counter()
        loss = F.cross_entropy(train.forward(model, images, run.precision), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - started)
    return run.batch_size / sorted(seconds[1:])[steps // 2]


def by_architecture(table: pd.DataFrame, device: torch.device | None) -> tuple[pd.DataFrame, str]:
    """Hours of the runs left to do, a row an architecture and for each number of GPUs a column; and where the speed is from."""
    rows = []
    precision = table.run.iloc[0].precision
    for architecture, part in table.groupby("architecture", sort=False):
        run, pixels, classes = part.run.iloc[0], int(part.pixels.max()), part.classes.max()
        about = cost(architecture, pixels, classes, run.batch_size)
        speed = measure(run, pixels, classes, device) if device else ASSUMED[precision] / about["gflop"] / 1e9
        seconds = part.gflop.sum() / about["gflop"] / speed
        # weights, gradients, momentum, and the two copies that the best epoch needs
        memory = (5 * 4 * about["parameters"] + about["kept"]) / 1e9
        hours = {f"hours, {n} GPU{'s' * (n > 1)}": round(seconds / 3600 / n, 1) for n in GPUS}
        hours = {"hours": round(seconds / 3600, 2)} if device and device.type == "cpu" else hours
        rows.append(
            {
                "architecture": architecture,
                "million parameters": round(about["parameters"] / 1e6, 2),
                "training GFLOP/image": round(about["gflop"], 3),
                "images/s": round(speed),
                "GB a run": round(memory, 2),
            }
            | hours
        )
    result = pd.DataFrame(rows)
    sums = {name: result[name].sum().round(1) for name in result if name.startswith("hours")}
    result = pd.concat([result, pd.DataFrame([{"architecture": "all"} | sums])]).astype(object).fillna("")
    if device:
        return result, f"measured now on {device}: median of 5 training steps on noise, nothing else sharing it"
    return result, ASSUMPTION.format(ASSUMED[precision] / 1e12, precision)


def storage(profile: Profile, folder: str | Path) -> pd.DataFrame:
    """Gigabytes on disk: packed arrays, downloads as far as their size is known, weights, records (40 kB each)."""
    rows = []
    for name in profile.all_datasets:
        rest, tested, _ = items(name, folder)
        pixels = pixels_of(name, profile.architectures[0], folder)
        rows.append(
            {
                "what": f"packed {name} (also in memory, shared by the workers)",
                "GB": 3 * pixels**2 * (rest + tested) / 1e9,
            }
        )
        if name in real.VARIANTS:  # 0: its maker does not say
            size = real.SETS[real.VARIANTS[name][0]].remote.archive_bytes
            rows.append({"what": f"download of {name}", "GB": size / 1e9 or float("nan")})
        elif name in classic.SETS:
            rows.append({"what": f"download of {name}", "GB": classic.SETS[name].archive_bytes / 1e9})
    if profile.weights == "imagenet":
        count = sum(models.count_parameters(name, 1000) for name in profile.architectures)
        rows.append({"what": "weights", "GB": 4 * count / 1e9})
    return (
        pd.DataFrame([*rows, {"what": "records", "GB": 4e-5 * len(grid(profile))}])
        .round(3)
        .astype(object)
        .fillna("unknown")
    )


def main(arguments=None) -> int:
    """Print what a profile costs; 2 and one line where that can't be said."""
    parser = argparse.ArgumentParser(prog="python -m plasticity.plan", description=__doc__)
    parser.add_argument("profile", choices=PROFILES)
    parser.add_argument("--repeats", type=int, default=0, help="seeds of each case instead of the profile's own")
    parser.add_argument("--data", default="data")
    parser.add_argument("--results", default="", help="folder of the records; results/<profile> unless said")
    parser.add_argument(
        "--measure", action="store_true", help="time a few training steps of each network here, on --device"
    )
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    try:
        profile = get_profile(options.profile, options.repeats)
        table = work(profile, options.data, options.results or f"results/{options.profile}")
        hours, source = by_architecture(table, train.pick_device(options.device) if options.measure else None)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    shown = table.drop(columns=["run", "classes", "pixels", "gflop"])
    shown = shown.round({"epochs a run": 1, "training passes": 0, "evaluation passes": 0})
    with pd.option_context("display.width", 200, "display.max_columns", 20, "display.float_format", "{:,.10g}".format):
        print(f"{profile.title}: {len(grid(profile))} runs, {table['to do'].sum()} to do\n")
        print(shown.to_string(index=False), "\n")
        print(hours.to_string(index=False), f"\n({source})\n")
        print(storage(profile, options.data).to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
