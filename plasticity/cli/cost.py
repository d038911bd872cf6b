"""What a profile costs: its work, counted or measured, and the room it takes."""

import json
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from .. import train
from ..analysis.frames import frame
from ..analysis.tables import FAMILY, PAPER_NAMES
from ..data import Dataset
from ..datasets import classic, main_paper
from ..datasets.prepare import prepare
from ..datasets.world import OFFLINE
from ..networks import table as networks
from ..profiles import Profile
from ..run import Run
from ..running import records, room
from ..studies.all import grid
from ..studies.main_paper import numbers
from ..training import scenarios

# ResNet-50 takes 24.6 GFLOP an image, and others report 2,500 (AMP, channels last) and 938 (TF32) images a second on
# one A100: 61 and 23 TFLOP/s. Its float32 peak is 19.5; we assume 60%. This project on one H200 (reference/gpu.md): 67
# in bf16 by four processes, 22 in TF32 by one.
ASSUMED = {"bf16": 61e12, "tf32": 23e12, "fp32": 11.7e12}
ASSUMPTION = (
    "assumed: one A100 doing {:.1f} TFLOP/s in {} on every network (others' ResNet-50 figures; float32: 60% of its "
    "peak); small networks reach less at batch 32, unless several runs share the GPU. Measure yours: --measure"
)
GPUS = (1, 4, 8)
STEPS = 5  # of a measurement


@lru_cache
def cost(architecture: str, pixels: int, classes: int, batch_size: int) -> dict[str, float]:
    """Of one training step, without computing it: GFLOP an image, parameters, bytes that autograd keeps for the batch.

    The backward pass counts as two forward ones; PyTorch's own count of it is far too high for depthwise convolutions.
    """
    with FlopCounterMode(display=False) as counter:
        about = room.counted(networks.build(architecture, classes, seed=0), pixels, batch_size)
    return {"gflop": 3 * counter.get_total_flops() / batch_size / 1e9} | about


def packed(dataset: str, folder: str | Path) -> dict | None:
    """The manifest of a packed data set, or None."""
    manifest = Path(folder) / dataset / "manifest.json"
    return json.loads(manifest.read_text("utf-8")) if manifest.is_file() else None


def items(dataset: str, folder: str | Path) -> tuple[int, int, int]:
    """Items that are not test, test items and classes: as packed (offline sets are, in seconds), or as published."""
    if dataset in OFFLINE:
        prepare(folder, dataset)
    if facts := packed(dataset, folder):
        tested = int(np.load(Path(folder) / dataset / "test.npy").sum())
        return facts["shape"][0] - tested, tested, len(facts["class_names"])
    if dataset in classic.SETS:
        known = classic.SETS[dataset]
        return known.train, known.test, known.classes
    n, tested = main_paper.published(dataset), main_paper.published_test(dataset)
    return n - tested, tested, len(main_paper.SETS[main_paper.VARIANTS[dataset][0]].drawn)


def pixels_of(dataset: str, architecture: str, folder: str | Path) -> int:
    """The width of the images that an architecture gets from a data set."""
    if dataset in classic.SETS:
        return classic.SETS[dataset].pixels
    facts = packed(dataset, folder)
    return facts["shape"][1] if facts else networks.architecture(architecture).image_size


def epochs(cap: int, architecture: str, dataset: str, recorded: pd.DataFrame) -> float:
    """Expected epochs of a run, at most the cap: the mean of the recorded runs, else of the paper's tables 3 to 5."""
    published = numbers.frame()
    family, name = FAMILY[architecture], PAPER_NAMES.get(dataset)
    done = recorded[(recorded.architecture == architecture) & (recorded.dataset == dataset)].epochs
    theirs = published[(published.architecture == family) & (published.dataset == name)].epochs
    return min(cap, done.mean() if len(done) else theirs.mean() if len(theirs) else cap)


def passes(run: Run, rest: int, tested: int, classes: int, length: float) -> tuple[float, float]:
    """Images that pass through the network in training and in evaluation; ``length``: epochs, if it stops early."""
    if run.scenario == "transfer":
        return length * round((1 - run.validation) * rest), length * round(run.validation * rest) + 2 * tested
    scenario, labels = scenarios.build(run.scenario), torch.zeros(rest, dtype=torch.long)
    phases = list(
        scenario.phases(torch.arange(rest), labels, classes, run.max_epochs, lambda purpose: torch.Generator())
    )
    trained = sum(phase.epochs * len(phase.items) // run.batch_size * run.batch_size for phase in phases)
    looks = sum(-(-phase.epochs // max(1, phase.epochs // run.max_epochs)) for phase in phases)
    return trained, looks * tested + tested + rest


def work(profile: Profile, folder: str | Path, results: str | Path) -> pd.DataFrame:
    """One row per architecture and data set: runs, to do, epochs, image passes in training and evaluation, GFLOP.

    ``gflop`` is that of the runs left to do; an image costs a third as much in evaluation as in training.
    """
    runs, folder_of_records = grid(profile), Path(results) / "runs"
    left = set(records.missing(runs, folder_of_records))
    done = frame(records.load_runs([run for run in runs if run not in left], folder_of_records))
    groups, rows = {}, []
    for run in runs:
        groups.setdefault((run.architecture, run.dataset), []).append(run)
    for (architecture, dataset), here in groups.items():
        (rest, tested, classes), pixels = items(dataset, folder), pixels_of(dataset, architecture, folder)
        length, chosen = epochs(here[0].max_epochs, architecture, dataset, done), [run for run in here if run in left]
        known = {}  # of a scenario, since many runs share one
        for run in chosen:
            key = (run.scenario, run.max_epochs, run.batch_size, run.validation)
            trained, evaluated, n = known.get(key) or (*passes(run, rest, tested, classes, length), 0)
            known[key] = trained, evaluated, n + 1
        trained, evaluated = (sum(values[i] * values[2] for values in known.values()) for i in (0, 1))
        gflop = (trained + evaluated / 3) * cost(architecture, pixels, classes, here[0].batch_size)["gflop"]
        row = {"architecture": architecture, "dataset": dataset, "runs": len(here), "to do": len(chosen)}
        row["epochs a run"] = np.mean([length if run.scenario == "transfer" else run.max_epochs for run in here])
        row |= {"training passes": trained, "evaluation passes": evaluated, "gflop": gflop}
        rows.append(row | {"run": here[0], "classes": classes, "pixels": pixels})
    return pd.DataFrame(rows)


def measure(run: Run, pixels: int, classes: int, device: torch.device) -> float:
    """Training images a second here: the median of some steps of the training loop on noise, after one to warm up."""
    n, seconds = run.batch_size, []
    images, flat = torch.randint(256, (2 * n, pixels, pixels, 3), dtype=torch.uint8), torch.full((3,), 0.5)
    labels, test = torch.zeros(2 * n, dtype=torch.long), torch.arange(2 * n) >= n
    noise = Dataset("noise", images, labels, test, tuple(map(str, range(classes))), (), flat, flat, "")
    plain = replace(run, case="base", weights="none", scenario="transfer", validation=0.5, monitor="validation")
    training = train.begin(plain, device=str(device), data=noise)
    train.begin_phase(training, 1)
    training.model.train()
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        train.train_step(training, torch.arange(n)).item()  # waits for the device
        seconds.append(time.perf_counter() - started)
    return n / sorted(seconds[1:])[STEPS // 2]


def by_architecture(table: pd.DataFrame, device: torch.device | None) -> tuple[pd.DataFrame, str]:
    """Hours of the runs left to do, one row per architecture, and where the speed is from."""
    rows, precision = [], table.run.iloc[0].precision
    for architecture, part in table.groupby("architecture", sort=False):
        run, pixels, classes = part.run.iloc[0], int(part.pixels.max()), part.classes.max()
        about = cost(architecture, pixels, classes, run.batch_size)
        speed = measure(run, pixels, classes, device) if device else ASSUMED[precision] / about["gflop"] / 1e9
        hours = part.gflop.sum() / about["gflop"] / speed / 3600
        # weights, gradients, momentum, and the two copies that the best epoch needs
        memory = (5 * 4 * about["parameters"] + about["kept"]) / 1e9
        row = {"architecture": architecture, "million parameters": round(about["parameters"] / 1e6, 2)}
        row |= {
            "training GFLOP/image": round(about["gflop"], 3),
            "images/s": round(speed),
            "GB a run": round(memory, 2),
        }
        if device and device.type == "cpu":
            rows.append(row | {"hours": round(hours, 2)})
        else:
            rows.append(row | {f"hours, {n} GPU{'s' * (n > 1)}": round(hours / n, 1) for n in GPUS})
    result = pd.DataFrame(rows)
    sums = {name: result[name].sum().round(1) for name in result if name.startswith("hours")}
    result = pd.concat([result, pd.DataFrame([{"architecture": "all"} | sums])]).astype(object).fillna("")
    if device:
        return result, f"measured now on {device}: median of {STEPS} training steps on noise, nothing else sharing it"
    return result, ASSUMPTION.format(ASSUMED[precision] / 1e12, precision)


def storage(profile: Profile, folder: str | Path) -> pd.DataFrame:
    """Gigabytes on disk: packed arrays, downloads as far as their size is known, weights, records (40 kB each)."""
    sizes = {}
    for name in profile.all_datasets:
        rest, tested, _ = items(name, folder)
        pixels = pixels_of(name, profile.architectures[0], folder)
        sizes[f"packed {name} (also in memory, shared by the workers)"] = 3 * pixels**2 * (rest + tested)
        if name in main_paper.VARIANTS:  # 0: its maker does not say
            sizes[f"download of {name}"] = main_paper.SETS[main_paper.VARIANTS[name][0]].remote.archive_bytes or float(
                "nan"
            )
        elif name in classic.SETS:
            sizes[f"download of {name}"] = classic.SETS[name].archive_bytes
    if profile.weights == "imagenet":
        sizes["weights"] = 4 * sum(networks.count_parameters(name, 1000) for name in profile.architectures)
    sizes["records"] = 4e4 * len(grid(profile))
    table = pd.DataFrame({"what": list(sizes), "GB": [size / 1e9 for size in sizes.values()]})
    return table.round(3).astype(object).fillna("unknown")
