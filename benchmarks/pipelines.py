"""One fine-tuning job by this project's ``fit``, by PyTorch Lightning and by timm, as their users write it: how fast, how big.

    python benchmarks/pipelines.py --job resnet50 --rounds 3 [--cached] [--device cuda --runs-per-gpu 4] [--markdown FILE]

Every contender trains the same network from the same weights on the same images with the same recipe, and validates after
each epoch, each time in a fresh process, in turns. A contender is a name with options: ``lightning+persistent+bf16``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

BATCH, EVAL_BATCH, LR = 32, 128, 0.01
BASELINES = ("lightning", "timm", "lightning+persistent")
PEAKS = {"fp32": 67e12, "tf32": 494e12, "bf16": 790e12}  # H200: data sheet, data sheet, measured (data sheet: 990)
NAMES = {32: "photos", 64: "photos_64", 224: "dtd"}  # any known data set name of that size


@dataclass(frozen=True)
class Job:
    """What is trained, how long and by whom; the first contender is what the others are compared with."""

    architecture: str
    size: int
    train: int  # images, whole batches
    validation: int
    epochs: int
    gflop: float = 0.0  # to train on one image
    contenders: tuple[str, ...] = ("ours", *BASELINES)


JOBS = {
    "resnet50": Job("resnet50", 224, 192, 32, 3, 24.6),
    "resnet50-bf16": Job("resnet50", 224, 192, 32, 3, 24.6, ("ours+bf16", "lightning", "timm", "lightning+bf16")),
    "efficientnet_lite0": Job("efficientnet_lite0", 64, 384, 96, 5),
    "mini_resnet": Job("mini_resnet", 32, 384, 96, 6),
    "vit_b_16": Job("vit_b_16", 224, 96, 32, 3, 105),
    "simplenet": Job("simplenet", 224, 192, 32, 4),
}


class Clock:
    """Notes when the steps and the parts of the epochs of a contender begin and end, and its images and losses."""

    def __init__(self, device: str, epochs: int):
        self.cuda, self.left, self.images = device == "cuda", epochs, 0
        self.events, self.losses = [("origin", time.perf_counter())], []

    def note(self, kind: str, images: int = 0):
        """``begin`` (the batch is asked for by ours, is there for the others), ``step``, ``trained``, ``validated``."""
        if self.cuda and kind in ("trained", "validated"):  # steps run ahead of the device; an epoch must not
            import torch

            torch.cuda.synchronize()
        if self.left:  # what follows the last epoch, such as our test, is not noted
            self.events.append((kind, time.perf_counter()))
            self.images += images
            self.left -= kind == "validated"

    def summary(self) -> dict:
        """Medians over the epochs after the first, in seconds: validated to validated, its training part, and its steps."""
        epochs, current = [], {"from": self.events[0][1]}
        for kind, when in self.events[1:]:
            current[kind] = when
            current.setdefault("first", when)  # always a ``begin``
            if kind == "validated":
                epochs.append(current)
                current = {"from": when}
        images, later = self.images // len(epochs), epochs[1:]
        seconds = {
            "epoch": statistics.median(e["validated"] - e["from"] for e in later),
            "training": statistics.median(e["trained"] - e["from"] for e in later),
            "steps": statistics.median(e["step"] - e["first"] for e in later),
            "overhead": statistics.median(1 - (e["step"] - e["first"]) / (e["trained"] - e["from"]) for e in later),
        }
        first = epochs[0]["validated"] - epochs[0]["from"]
        return {**seconds, "first": first, "images": images, "losses": self.losses}


def prepare(job: Job, folder: Path) -> dict:
    """Photographs and coloured noise as JPEG files, the same packed, and random weights; what the machine is."""
    import numpy as np
    import torch
    from PIL import Image

    from plasticity import config, data, models, offline, records, train

    rng, classes = np.random.default_rng(0), ["astronaut", "coffee", "chelsea", "flower", *(f"noise_{i}" for i in range(4))]
    photos = {name: Image.open(offline.installed(offline.PHOTOS[name])).convert("RGB") for name in classes[:4]}
    test, count = 8, job.train + job.validation + 8
    labels, native = np.arange(count) % len(classes), []
    for label in labels:
        width, height = (int(v) for v in rng.integers(400, 641, 2))  # as the images of DTD
        if classes[label] in photos:
            photo, side = photos[classes[label]], int(rng.integers(150, 250))
            x, y = (int(rng.integers(0, extent - side)) for extent in photo.size)
            native.append(photo.crop((x, y, x + side, y + side)).resize((width, height), Image.Resampling.BICUBIC))
        else:
            cells = 4 + 5 * (int(label) - 4)
            noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
            native.append(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))
    for i, image in enumerate(native):
        image.save(folder / f"{i}.jpg", quality=90)
    started = time.perf_counter()
    small = [Image.open(folder / f"{i}.jpg").resize((job.size, job.size), Image.Resampling.BILINEAR) for i in range(count)]
    arrays = offline.Arrays(np.stack(small), labels, np.arange(count) >= count - test, tuple(sorted(classes)), ["made"] * count)
    data.pack(folder, NAMES[job.size], arrays)
    packing = time.perf_counter() - started
    packed, run = data.load(folder, NAMES[job.size]), our_run(job, config)
    for part, items in zip(("train", "validation"), data.split(packed, run.validation, train.generator(run.seed, "split")), strict=True):
        for i in items.tolist():
            place = Path(part, packed.class_names[labels[i]])
            for kind in ("native", "cached"):
                (folder / kind / place).mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.jpg").rename(folder / "native" / place / f"{i}.jpg")
            small[i].save(folder / "cached" / place / f"{i}.png")
    torch.save(models.build(job.architecture, len(classes), seed=1).state_dict(), folder / "weights.pt")
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return {"packing": packing, "count": count, "machine": records.machine() + gpu, "torch": torch.__version__}


def our_run(job: Job, config, options=()):
    """The job as a run of this project."""
    precision = {"precision": p for p in ("bf16", "tf32") if p in options}
    return config.Run(job.architecture, NAMES[job.size], lr=LR, batch_size=BATCH, max_epochs=job.epochs, patience=job.epochs,
                      augment="released", validation=job.validation / (job.train + job.validation), **precision)  # fmt: skip


def ours(job: Job, folder: Path, device: str, options, clock: Clock):
    """``fit``, unchanged: its batches, steps and validations are noted from outside."""
    from plasticity import config, interventions, train

    make_batch, evaluate = train.Batches.__call__, train.evaluate

    class Noted(interventions.Intervention):
        def after_step(self, step):
            clock.note("step")

    def noted_batch(batches, index, *rest):
        if rest:  # only training batches are augmented
            clock.note("begin", len(index))
        return make_batch(batches, index, *rest)

    def noted_evaluation(*args):
        clock.note("trained")
        result = evaluate(*args)
        clock.note("validated")
        return result

    train.Batches.__call__, train.evaluate = noted_batch, noted_evaluation
    fitted = train.fit(our_run(job, config, options), folder, device, folder / "weights.pt", Noted())
    clock.losses = [row["train_loss"] for row in fitted.history]


def recipe(job: Job, folder: Path, prefetcher: bool = False):
    """(training, validation) transforms of the released code: PIL images one by one; also mean and standard deviation."""
    from torchvision import transforms as t

    from plasticity import data

    packed = data.load(folder, NAMES[job.size])
    mean, std, size = packed.mean.tolist(), packed.std.tolist(), (job.size, job.size)
    last = [t.PILToTensor()] if prefetcher else [t.ToTensor(), t.Normalize(mean, std)]  # timm's prefetcher normalises by itself
    jitter = t.ColorJitter(brightness=0.5, contrast=0.3, saturation=0.3, hue=0.3)
    augment = [jitter, t.RandomVerticalFlip(), t.RandomHorizontalFlip(), t.RandomRotation(180), t.RandomResizedCrop(size, (0.8, 1.0))]
    return t.Compose([t.Resize(size), *augment, *last]), t.Compose([t.Resize(size), *last]), mean, std


def baseline_model(job: Job, folder: Path):
    """The network that ours begins from, head included."""
    from plasticity import config, train

    return train.build(our_run(job, config), folder, weights=folder / "weights.pt")[0]


def workers(device: str) -> int:
    """DataLoader workers as users choose them: one a core; 16 beside a GPU."""
    return 16 if device == "cuda" else len(os.sched_getaffinity(0))


def lightning(job: Job, folder: Path, device: str, options, clock: Clock):
    """A LightningModule, ImageFolder and DataLoader, early stopping; no logger, checkpoints or progress bar."""
    import lightning
    import torch
    from lightning.pytorch.callbacks import EarlyStopping
    from torch.nn import functional as F
    from torchvision.datasets import ImageFolder

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model, self.sum = baseline_model(job, folder), 0.0

        def training_step(self, batch, index):
            loss = F.cross_entropy(self.model(batch[0]), batch[1])
            self.log("train_loss", loss)
            self.sum += loss.detach()
            return loss

        def validation_step(self, batch, index):
            logits = self.model(batch[0])
            accuracy = (logits.argmax(1) == batch[1]).float().mean()
            self.log_dict({"val_loss": F.cross_entropy(logits, batch[1]), "val_accuracy": accuracy})

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=LR)

    class Noted(lightning.Callback):
        def on_train_batch_start(self, trainer, module, batch, index):
            clock.note("begin", len(batch[1]))

        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            clock.note("step")
            if index + 1 == trainer.num_training_batches:
                clock.note("trained")
                clock.losses.append(float(module.sum) / trainer.num_training_batches)
                module.sum = 0.0

        def on_validation_end(self, trainer, module):
            if not trainer.sanity_checking:
                clock.note("validated")

    if "tf32" in options:
        torch.set_float32_matmul_precision("high")
    files, settings = folder / ("cached" if "cached" in options else "native"), {
        "num_workers": workers(device), "persistent_workers": "persistent" in options, "pin_memory": device == "cuda"}  # fmt: skip
    sets = [ImageFolder(files / part, transform) for part, transform in zip(("train", "validation"), recipe(job, folder)[:2], strict=True)]
    trainer = lightning.Trainer(max_epochs=job.epochs, callbacks=[EarlyStopping("val_loss", patience=job.epochs), Noted()], logger=False,
                                accelerator="gpu" if device == "cuda" else "cpu", devices=1, enable_checkpointing=False,
                                enable_progress_bar=False, enable_model_summary=False,
                                precision="bf16-mixed" if "bf16" in options else "32-true")  # fmt: skip
    trainer.fit(Module(), torch.utils.data.DataLoader(sets[0], BATCH, shuffle=True, **settings),
                torch.utils.data.DataLoader(sets[1], EVAL_BATCH, **settings))  # fmt: skip


def timm(job: Job, folder: Path, device: str, options, clock: Clock):
    """timm's data set, loader (workers persist, as by default; its prefetcher on a GPU) and optimiser, in the loop of its train.py."""
    import timm.data
    import timm.optim
    import torch
    from torch.nn import functional as F

    prefetcher, loaders = device == "cuda", []
    *transforms, mean, std = recipe(job, folder, prefetcher)
    for part, transform in zip(("train", "validation"), transforms, strict=True):
        files = timm.data.create_dataset("", folder / ("cached" if "cached" in options else "native") / part)
        loader = timm.data.create_loader(files, (3, job.size, job.size), BATCH if part == "train" else EVAL_BATCH, part == "train",
                                         mean=mean, std=std, num_workers=workers(device), device=torch.device(device),
                                         use_prefetcher=prefetcher, pin_memory=prefetcher)  # fmt: skip
        loader.dataset.transform = transform
        loaders.append(loader)
    model = baseline_model(job, folder).to(device)
    optimizer = timm.optim.create_optimizer_v2(model, opt="momentum", lr=LR, momentum=0.0, weight_decay=0.0)
    autocast = torch.autocast(device, torch.bfloat16, enabled="bf16" in options)
    for _ in range(job.epochs):
        model.train()
        total = torch.zeros((), device=device)
        for images, labels in loaders[0]:
            clock.note("begin", len(labels))
            with autocast:
                loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.detach()
            clock.note("step")
        clock.note("trained")
        clock.losses.append(total.item() / len(loaders[0]))
        model.eval()
        with torch.inference_mode(), autocast:
            for images, labels in loaders[1]:
                logits = model(images)
                F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).sum().item()
        clock.note("validated")


def work(request: dict):
    """In the contender's own process: do the job, write what the clock says."""
    name, *options = request["contender"].split("+")
    job, folder, device = Job(**request["job"]), Path(request["folder"]), request["device"]
    if name == "prepare":
        result = prepare(job, folder)
    else:
        clock = Clock(device, job.epochs)
        {"ours": ours, "lightning": lightning, "timm": timm}[name](job, folder, device, options, clock)
        result = clock.summary() | {"total": time.perf_counter() - clock.events[0][1], "device_memory": 0}
        if device == "cuda":
            import torch

            result["device_memory"] = torch.cuda.max_memory_reserved()
    Path(request["result"]).write_text(json.dumps(result))


def memory(session: int) -> int:
    """Bytes of a process and its children (its session); a page that several share counts once (PSS)."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[3]) == session:
                total += 1024 * int(stat.with_name("smaps_rollup").read_text().split("\nPss:")[1].split()[0])
        except (OSError, IndexError):  # it has just ended
            continue
    return total


def launch(contender: str, job: Job, folder: Path, device: str) -> dict:
    """Run a contender in a fresh process, or ``ours+x4`` in four at once; what it measured, and peak memory."""
    copies = next((int(option[1:]) for option in contender.split("+") if option[0] == "x" and option[1:].isdigit()), 1)
    processes, results, peak = [], [folder / f"result_{i}.json" for i in range(copies)], 0
    for result in results:
        request = {"contender": contender, "job": asdict(job), "folder": str(folder), "device": device, "result": str(result)}
        with open(result.with_suffix(".log"), "w") as log:
            processes.append(subprocess.Popen([sys.executable, __file__, "--work", json.dumps(request)], stdout=log,
                                              stderr=subprocess.STDOUT, start_new_session=True))  # fmt: skip
    while any(process.poll() is None for process in processes):
        peak = max(peak, sum(memory(process.pid) for process in processes))
        time.sleep(0.5)
    for process, result in zip(processes, results, strict=True):
        if process.returncode:
            raise SystemExit(f"{contender} failed:\n{result.with_suffix('.log').read_text()[-3000:]}")
    parts = [json.loads(result.read_text()) for result in results]
    if contender == "prepare":
        return parts[0]
    slowest = {name: max(part[name] for part in parts) for name in ("epoch", "training", "steps", "overhead", "first", "total")}
    return slowest | {"images": parts[0]["images"], "losses": parts[0]["losses"], "memory": peak,
                      "device_memory": sum(part["device_memory"] for part in parts),
                      "rate": sum(part["images"] / part["training"] for part in parts),
                      "step_rate": sum(part["images"] / part["steps"] for part in parts)}  # fmt: skip


def table(job: Job, rounds: list[dict[str, dict]], device: str) -> str:
    """Medians over the rounds in Markdown; how many times ours is as fast, with its smallest and largest round."""
    lines = ["| contender | training images/s | ours is | images/s within steps | s an epoch | first epoch s | beyond steps | "
             "peak GiB | training loss |", "|---" * 9 + "|"]  # fmt: skip
    reference = job.contenders[0]
    for name in rounds[0]:
        middle = {key: statistics.median(r[name][key] for r in rounds) for key in rounds[0][name] if key != "losses"}
        ratios = sorted(r[reference]["rate"] / r[name]["rate"] for r in rounds)
        losses, share = rounds[0][name]["losses"], ""
        gpu = f" + {middle['device_memory'] / 2**30:.1f} on the device" if device == "cuda" else ""
        if device == "cuda" and job.gflop:
            precision = next((option for option in name.split("+") if option in PEAKS), "fp32")
            share = f" ({1e9 * job.gflop * middle['rate'] / PEAKS[precision]:.1%} of {precision} peak)"
        lines.append(f"| {name} | {middle['rate']:.1f}{share} | x {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) | "
                     f"{middle['step_rate']:.1f} | {middle['epoch']:.2f} | {middle['first']:.1f} | {middle['overhead']:.1%} | "
                     f"{middle['memory'] / 2**30:.2f}{gpu} | {losses[0]:.3f} to {losses[-1]:.3f} |")  # fmt: skip
    return "\n".join(lines)


def compare(name: str, job: Job, device: str, n: int) -> str:
    """Prepare the data, let the contenders take turns ``n`` times, and report."""
    with tempfile.TemporaryDirectory() as folder:
        made = launch("prepare", job, Path(folder), device)
        rounds = []
        for i in range(n):
            rounds.append({contender: launch(contender, job, Path(folder), device) for contender in job.contenders})
            print(f"# {name} round {i + 1} of {n}: " + ", ".join(f"{c} {r['rate']:.1f}/s" for c, r in rounds[-1].items()), flush=True)
    seen = {result["images"] for each in rounds for result in each.values()}
    if seen != {job.train}:
        raise SystemExit(f"{name}: the contenders saw {seen} images an epoch, not {job.train}: no fair comparison")
    return "\n".join([
        f"## {name} on {device}", "",
        f"{job.architecture} at {job.size} px, {job.train} training and {job.validation} validation images, batch {BATCH}, "
        f"{job.epochs} epochs, the first left out of the rates; medians, n = {n} rounds in turns. {made['machine']}, torch {made['torch']}, "
        f"{workers(device)} loader workers, {date.today()}. Packing the {made['count']} images for ours, once: {made['packing']:.1f} s.",
        "", table(job, rounds, device), "",
    ])  # fmt: skip


def main():
    """Run the jobs asked for; print and append the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--job", default="resnet50", choices=(*JOBS, "all"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--contenders", nargs="+", help="such as ours lightning+persistent+cached timm; the first is compared with the others")
    parser.add_argument("--cached", action="store_true", help="also each baseline on PNG files of the training size")
    parser.add_argument("--runs-per-gpu", type=int, default=1, help="also that many runs of ours at once")
    for name in ("train", "validation", "epochs"):
        parser.add_argument(f"--{name}", type=int, help="instead of the job's own number")
    parser.add_argument("--markdown", type=Path, help="append the table to this file, too")
    args = parser.parse_args()
    if args.work:
        return work(json.loads(args.work))
    for name in JOBS if args.job == "all" else [args.job]:
        job = replace(JOBS[name], **{k: v for k in ("train", "validation", "epochs") if (v := getattr(args, k))})
        contenders = list(args.contenders or job.contenders)
        if args.cached:
            contenders += [f"{c}+cached" for c in contenders if not c.startswith("ours")]
        if args.runs_per_gpu > 1:
            contenders.append(f"{contenders[0]}+x{args.runs_per_gpu}")
        report = compare(name, replace(job, contenders=tuple(contenders)), args.device, args.rounds)
        print(report, flush=True)
        if args.markdown:
            with open(args.markdown, "a") as file:
                file.write(report + "\n")


if __name__ == "__main__":
    main()
