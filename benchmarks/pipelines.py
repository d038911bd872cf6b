"""One fine-tuning job by this project's ``fit``, by PyTorch Lightning and by timm, as their users write it: how fast,
how big.

    python benchmarks/pipelines.py --job resnet50 --rounds 3 [--cached] [--device cuda --runs-per-gpu 4] [--markdown
    FILE]

Every contender trains the same network from the same weights on the same images with the same recipe and validates
after each epoch, in turns, each time in a fresh process. A contender is a name with options, such as
lightning+persistent+bf16 or ours+tf32+compiled; cached reads PNG files of the training size instead of JPEG files of
native size.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

BATCH, EVAL_BATCH, LR, PARTS = 32, 128, 0.01, ("train", "validation")
NAMES = {32: "photos", 64: "photos_64", 224: "dtd"}  # a known data set name for each size
PEAK = 790  # TFLOP/s of an H200 in bf16 matrix products; its data sheet says 990
FIELDS = {  # option -> field of Run and its value
    "bf16": ("precision", "bf16"),
    "tf32": ("precision", "tf32"),
    "nchw": ("channels_last", False),
    "compiled": ("compiled", True),
}
OPTIONS = {"ours": {*FIELDS}, "lightning": {"bf16", "tf32", "cached", "persistent"}, "timm": {"bf16", "tf32", "cached"}}


@dataclass(frozen=True)
class Job:
    """What is trained and by whom; the first contender is what the others are compared with."""

    architecture: str
    size: int
    train: int  # images, whole batches
    validation: int
    epochs: int
    gflop: float = 0  # to train on one image
    contenders: tuple[str, ...] = ("ours", "lightning", "timm", "lightning+persistent")


JOBS = {
    "resnet50": Job("resnet50", 224, 192, 32, 3, 24.6),
    "resnet50-bf16": Job("resnet50", 224, 192, 32, 3, 24.6, ("ours+bf16", "lightning", "timm", "lightning+bf16")),
    "efficientnet_lite0": Job("efficientnet_lite0", 64, 384, 96, 6),
    "mini_resnet": Job("mini_resnet", 32, 384, 96, 11),
    "vit_b_16": Job("vit_b_16", 224, 96, 32, 3, 105),
    "simplenet": Job("simplenet", 224, 192, 32, 4),
}


class Clock:
    """When each epoch's first step began, its last step, training and validation ended; images and losses."""

    def __init__(self, device: str):
        self.cuda, self.images, self.losses, self.epochs, self.epoch = (
            device == "cuda",
            0,
            [],
            [],
            {"from": time.perf_counter()},
        )

    def note(self, kind: str, images: int = 0):
        """``begin`` of a step (the batch is asked for by ours, is there for the others), ``step``, ``trained``,
        ``validated``."""
        if self.cuda and kind in ("trained", "validated"):  # steps run ahead of the device, epochs must not
            import torch

            torch.cuda.synchronize()
        when = time.perf_counter()
        self.epoch |= {"first": self.epoch.get("first", when), kind: when}
        self.images += images
        if kind == "validated":
            self.epochs.append(self.epoch)
            self.epoch = {"from": when}

    def summary(self, epochs: int) -> dict:
        """Median seconds of the epochs after the first; ``beyond`` is the share of the training part outside its
        steps."""
        first, *later = self.epochs[:epochs]  # our test at the end counts as no epoch
        spans = {"epoch": ("from", "validated"), "training": ("from", "trained"), "steps": ("first", "step")}
        seconds = {name: statistics.median(e[end] - e[start] for e in later) for name, (start, end) in spans.items()}
        beyond = statistics.median(1 - (e["step"] - e["first"]) / (e["trained"] - e["from"]) for e in later)
        start = first["validated"] - first["from"]
        return {**seconds, "beyond": beyond, "start": start, "images": self.images / epochs, "losses": self.losses}


def pictures(count: int):
    """Class names, labels and PIL images of DTD's extents: crops of photographs, and coloured noise with fine grain."""
    import numpy as np
    from PIL import Image

    from plasticity.datasets import world as offline

    rng, photos = np.random.default_rng(0), ("astronaut", "chelsea", "coffee", "flower")
    images, labels = [], np.arange(count) % 8
    for label in labels:
        extent = tuple(int(v) for v in rng.integers(400, 641, 2))
        if label < 4:
            image = Image.open(offline.installed(offline.PHOTOS[photos[label]])).convert("RGB")
            x, y = (int(rng.integers(0, side // 3)) for side in image.size)
            image = image.crop((x, y, x + image.width * 2 // 3, y + image.height * 2 // 3)).resize(extent)
        else:
            cells, grain = (rng.integers(0, 256, (n, n, 3), dtype=np.uint8) for n in (8 * label - 28, 256))
            image = Image.blend(
                *(Image.fromarray(noise).resize(extent, Image.Resampling.BICUBIC) for noise in (cells, grain)), 0.25
            )
        images.append(image)
    return (*photos, "noise_1", "noise_2", "noise_3", "noise_4"), labels, images


def prepare(job: Job, folder: Path) -> dict:
    """JPEG files for the baselines, the same packed for ours, random weights; and what machine this is."""
    import numpy as np
    import torch
    from PIL import Image

    from plasticity import data, train
    from plasticity.datasets import world as offline
    from plasticity.datasets.prepare import pack
    from plasticity.networks import table as models
    from plasticity.running import provenance

    count = job.train + job.validation + 8  # ``fit`` wants test items
    names, labels, images = pictures(count)
    for i, image in enumerate(images):
        image.save(folder / f"{i}.jpg", quality=90)
    started = time.perf_counter()
    small = [
        Image.open(folder / f"{i}.jpg").resize((job.size, job.size), Image.Resampling.BILINEAR) for i in range(count)
    ]
    pack(
        folder,
        NAMES[job.size],
        offline.Arrays(np.stack(small), labels, np.arange(count) >= count - 8, names, ["made"] * count),
    )
    packing = time.perf_counter() - started
    kilobytes = statistics.mean(path.stat().st_size for path in folder.glob("*.jpg")) / 1000
    run = our_run(job)
    split = data.split(data.load(folder, NAMES[job.size]), run.validation, train.generator(run.seed, "split"))
    for part, items in zip(PARTS, split, strict=True):
        for i in items.tolist():
            native, cached = (folder / kind / part / names[labels[i]] / str(i) for kind in ("native", "cached"))
            for path in (native, cached):
                path.parent.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.jpg").rename(native.with_suffix(".jpg"))
            small[i].save(cached.with_suffix(".png"))
    torch.save(models.build(job.architecture, len(names), seed=1).state_dict(), folder / "weights.pt")
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return {
        "packing": packing,
        "kilobytes": kilobytes,
        "machine": provenance.machine() + gpu,
        "torch": torch.__version__,
    }


def our_run(job: Job, options=()):
    """The job as a run of this project."""
    from plasticity.run import Run

    more = dict(FIELDS[option] for option in options if option in FIELDS)
    return Run(
        job.architecture,
        NAMES[job.size],
        lr=LR,
        batch_size=BATCH,
        max_epochs=job.epochs,
        patience=job.epochs,
        augment="released",
        validation=job.validation / (job.train + job.validation),
        **more,
    )


def ours(job: Job, folder: Path, device: str, options, clock: Clock):
    """``fit`` as it is; its batches, steps and validations are noted from outside."""
    from plasticity import interventions, train

    make_batch, evaluate = train.Batches.__call__, train.evaluate

    class Noted(interventions.Intervention):
        def after_step(self, step):
            clock.note("step")

    def noted_batch(batches, index, *rest):
        if rest:  # only training batches are augmented
            clock.note("begin", len(index))
        return make_batch(batches, index, *rest)

    def noted_evaluate(*args):
        clock.note("trained")
        result = evaluate(*args)
        clock.note("validated")
        return result

    train.Batches.__call__, train.evaluate = noted_batch, noted_evaluate
    fitted = train.fit(our_run(job, options), folder, device, folder / "weights.pt", Noted())
    clock.losses = [row["train_loss"] for row in fitted.history]


def baseline(job: Job, folder: Path, options, prefetcher: bool = False):
    """What the baselines share: ours' first network, mean, deviation, and the recipe for training and validation in
    PIL."""
    import torch
    from torchvision import transforms as t

    from plasticity import data, train

    if "tf32" in options:  # PyTorch's default takes it in convolutions alone
        torch.set_float32_matmul_precision("high")
    packed = data.load(folder, NAMES[job.size])
    mean, std, size = packed.mean.tolist(), packed.std.tolist(), (job.size, job.size)
    last = [t.PILToTensor()] if prefetcher else [t.ToTensor(), t.Normalize(mean, std)]  # timm's prefetcher normalises
    recipe = [
        t.ColorJitter(brightness=0.5, contrast=0.3, saturation=0.3, hue=0.3),
        t.RandomVerticalFlip(),
        t.RandomHorizontalFlip(),
        t.RandomRotation(180),
        t.RandomResizedCrop(size, scale=(0.8, 1.0)),
    ]
    model = train.build(our_run(job), folder, weights=folder / "weights.pt")[0]
    return model, mean, std, (t.Compose([t.Resize(size), *recipe, *last]), t.Compose([t.Resize(size), *last]))


def workers(device: str) -> int:
    """DataLoader workers as users choose them: one a core, at most 16 beside a GPU."""
    from plasticity.datasets.cores import usable_cores

    return min(16, usable_cores()) if device == "cuda" else usable_cores()


def lightning(job: Job, folder: Path, device: str, options, clock: Clock):
    """A LightningModule, ImageFolder and DataLoader, with early stopping; no logger, checkpoints or progress bar."""
    import torch
    from lightning import Callback, LightningModule, Trainer
    from lightning.pytorch.callbacks import EarlyStopping
    from torch.nn import functional as F
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    class Module(LightningModule):
        def __init__(self, model):
            super().__init__()
            self.model, self.sum = model, 0

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

    class Noted(Callback):
        def on_train_batch_start(self, trainer, module, batch, index):
            clock.note("begin", len(batch[1]))

        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            clock.note("step")
            if trainer.is_last_batch:
                clock.note("trained")
                clock.losses.append(float(module.sum) / trainer.num_training_batches)
                module.sum = 0

        def on_validation_end(self, trainer, module):
            if not trainer.sanity_checking:
                clock.note("validated")

    model, _, _, recipes = baseline(job, folder, options)
    files = folder / ("cached" if "cached" in options else "native")
    settings = dict(
        num_workers=workers(device), persistent_workers="persistent" in options, pin_memory=device == "cuda"
    )
    train, validation = (ImageFolder(files / part, recipe) for part, recipe in zip(PARTS, recipes, strict=True))
    trainer = Trainer(
        max_epochs=job.epochs,
        callbacks=[EarlyStopping("val_loss", patience=job.epochs), Noted()],
        devices=1,
        accelerator="gpu" if device == "cuda" else "cpu",
        precision="bf16-mixed" if "bf16" in options else "32-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(
        Module(model),
        DataLoader(train, BATCH, shuffle=True, **settings),
        DataLoader(validation, EVAL_BATCH, **settings),
    )


def timm(job: Job, folder: Path, device: str, options, clock: Clock):
    """timm's data set, loader (persistent workers by default; its prefetcher on a GPU) and optimiser, in its train.py's
    loop."""
    import torch
    from timm.data import create_dataset, create_loader
    from timm.optim import create_optimizer_v2
    from torch.nn import functional as F

    prefetcher, loaders = device == "cuda", []
    model, mean, std, recipes = baseline(job, folder, options, prefetcher)
    for part, recipe, batch_size in zip(PARTS, recipes, (BATCH, EVAL_BATCH), strict=True):
        files = create_dataset("", folder / ("cached" if "cached" in options else "native") / part)
        loader = create_loader(
            files,
            (3, job.size, job.size),
            batch_size,
            part == "train",
            mean=mean,
            std=std,
            pin_memory=prefetcher,
            num_workers=workers(device),
            use_prefetcher=prefetcher,
            device=torch.device(device),
        )
        loader.dataset.transform = recipe
        loaders.append(loader)
    model = model.to(device)
    # timm's "sgd" is Nesterov's
    optimizer = create_optimizer_v2(model, opt="momentum", lr=LR, momentum=0.0, weight_decay=0.0)
    autocast = torch.autocast(device, torch.bfloat16, enabled="bf16" in options)
    for _ in range(job.epochs):
        model.train()
        total = 0
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
        clock.losses.append(float(total) / len(loaders[0]))
        model.eval()
        with torch.inference_mode(), autocast:
            for images, labels in loaders[1]:
                logits = model(images)
                F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).sum().item()
        clock.note("validated")


def work(contender: str, job: dict, folder: str, device: str, result: str):
    """In the contender's own process: do the job, write what the clock says."""
    name, *options = contender.split("+")
    job, folder, clock = Job(**job), Path(folder), Clock(device)
    if name == "prepare":
        measured = prepare(job, folder)
    else:
        {"ours": ours, "lightning": lightning, "timm": timm}[name](job, folder, device, options, clock)
        import torch

        measured = clock.summary(job.epochs) | {
            "device_memory": torch.cuda.max_memory_reserved() if device == "cuda" else 0
        }
    Path(result).write_text(json.dumps(measured), encoding="utf-8")


def memory(session: int) -> int:
    """Resident bytes of a process, and what its children (its session) hold for themselves alone."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text("utf-8").rpartition(")")[2].split()[3]) == session:
                held = dict(
                    line.split()[:2] for line in stat.with_name("smaps_rollup").read_text("utf-8").splitlines()[1:]
                )
                kinds = ("Rss:",) if int(stat.parent.name) == session else ("Private_Clean:", "Private_Dirty:")
                total += 1024 * sum(int(held[kind]) for kind in kinds)
        except (OSError, KeyError):  # it has just ended
            continue
    return total


def launch(contender: str, job: Job, folder: Path, device: str) -> dict:
    """A contender in a fresh process, or ``ours+x4`` in four at once: what was measured, and peak memory."""
    copies = next((int(option[1:]) for option in contender.split("+") if option[0] == "x"), 1)
    results, processes, peak = [folder / f"result_{i}.json" for i in range(copies)], [], 0
    for result in results:
        request = {
            "contender": contender,
            "job": asdict(job),
            "folder": str(folder),
            "device": device,
            "result": str(result),
        }
        with open(result.with_suffix(".log"), "w", encoding="utf-8") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, __file__, "--work", json.dumps(request)],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
    try:
        while any(process.poll() is None for process in processes):
            peak = max(peak, sum(memory(process.pid) for process in processes))
            time.sleep(0.5)
    finally:  # of an interruption: their sessions do not hear of it
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
    for process, result in zip(processes, results, strict=True):
        if process.returncode:
            raise SystemExit(f"{contender} failed:\n{result.with_suffix('.log').read_text('utf-8')[-3000:]}")
    parts = [json.loads(result.read_text("utf-8")) for result in results]
    if contender == "prepare":
        return parts[0]
    rates = {name: sum(part["images"] / part[name] for part in parts) for name in ("training", "steps")}
    slowest = max(parts, key=lambda part: part["epoch"])
    return slowest | rates | {"memory": peak, "device_memory": sum(part["device_memory"] for part in parts)}


def table(job: Job, rounds: list[dict[str, dict]]) -> str:
    """Medians over the rounds in Markdown; ``ours is`` how many times as fast, with the smallest and the largest
    round."""
    lines = [
        "| contender | training images/s | ours is | images/s in steps | s an epoch | s to the first epoch's end "
        "| beyond steps | "
        "peak GiB | training loss |",
        "|---" * 9 + "|",
    ]
    for name, first in rounds[0].items():
        m = {key: statistics.median(each[name][key] for each in rounds) for key in first if key != "losses"}
        ratios = sorted(each[job.contenders[0]]["training"] / each[name]["training"] for each in rounds)
        speed, size = f"{m['training']:.1f}", f"{m['memory'] / 2**30:.2f}"
        if m["device_memory"]:
            teraflops = job.gflop * m["training"] / 1000
            speed += (
                f" ({teraflops:.1f} TFLOP/s, {teraflops / PEAK:.1%} of the bf16 peak of {PEAK})" if job.gflop else ""
            )
            size += f", device {m['device_memory'] / 2**30:.2f}"
        lines.append(
            f"| {name} | {speed} | x {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) | "
            f"{m['steps']:.1f} | {m['epoch']:.2f} | {m['start']:.1f} | {m['beyond']:.1%} | {size} | "
            f"{first['losses'][0]:.3f} to {first['losses'][-1]:.3f} |"
        )
    return "\n".join(lines)


def compare(title: str, job: Job, device: str, n: int) -> str:
    """Prepare the data, let the contenders take turns ``n`` times, and report."""
    with tempfile.TemporaryDirectory() as folder:
        made, rounds = launch("prepare", job, Path(folder), device), []
        for i in range(n):
            rounds.append({contender: launch(contender, job, Path(folder), device) for contender in job.contenders})
            print(
                f"# {title}, round {i + 1} of {n}: { ({c: round(r['training'], 1) for c, r in rounds[-1].items()}) }",
                flush=True,
            )
    seen = {name: result["images"] for name, result in rounds[0].items()}
    if set(seen.values()) != {job.train}:
        raise SystemExit(f"no fair comparison: training images an epoch should be {job.train}, were {seen}")
    return (
        f"## {title} on {device}\n\n{job.architecture} at {job.size} px: {job.train} training and "
        f"{job.validation} validation "
        f"images (JPEG of {made['kilobytes']:.0f} kB), batch {BATCH}, {job.epochs} epochs, the first not in the "
        "rates; medians of "
        f"n = {n} rounds in turns. {made['machine']}, torch {made['torch']}, {workers(device)} loader workers, "
        f"{date.today()}. "
        f"Packing all for ours, once: {made['packing']:.1f} s.\n\n{table(job, rounds)}\n"
    )


def main():
    """Run the jobs asked for; print and append the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--job", default="resnet50", choices=(*JOBS, "all"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--contenders", nargs="+", help="instead of the job's; the first is compared with the others")
    parser.add_argument("--cached", action="store_true", help="also each baseline on PNG files of the training size")
    parser.add_argument("--runs-per-gpu", type=int, default=1, help="also that many runs of ours at once")
    for field in ("train", "validation", "epochs"):
        parser.add_argument(f"--{field}", type=int, help="instead of the job's")
    parser.add_argument("--markdown", type=Path, help="append the tables to this file, too")
    args = parser.parse_args()
    if args.work:
        return work(**args.work)
    for name, *options in (contender.split("+") for contender in args.contenders or ()):
        if name not in OPTIONS or not OPTIONS[name].issuperset(options):
            parser.error(f"unknown contender {'+'.join((name, *options))}; known, with their options: {OPTIONS}")
    # so that timeout, too, ends the contenders and empties the folder
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for title in JOBS if args.job == "all" else [args.job]:
        job = replace(
            JOBS[title], **{k: v for k in ("train", "validation", "epochs", "contenders") if (v := getattr(args, k))}
        )
        more = [f"{c}+cached" for c in job.contenders if args.cached and not c.startswith("ours")]
        more += [f"{job.contenders[0]}+x{args.runs_per_gpu}"] if args.runs_per_gpu > 1 else []
        report = compare(title, replace(job, contenders=(*job.contenders, *more)), args.device, args.rounds)
        print(report, flush=True)
        if args.markdown:
            with open(args.markdown, "a", encoding="utf-8") as file:
                file.write(report + "\n")


if __name__ == "__main__":
    main()
