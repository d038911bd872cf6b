"""``fit``: one run from build to test, in one long function. The only training loop in the project."""

import copy
import hashlib
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import data as data_sets
from . import interventions
from .methods import registry as methods
from .networks import table as models
from .run import Run
from .running.checkpoints import Checkpoint
from .training import measures, scenarios
from .training.augment import AUGMENTATIONS
from .weights import _read_weights, load_backbone, weights_file

HISTOGRAM_EDGES = 4 * np.sinh(np.linspace(-8, 8, 202)) / np.sinh(8)  # fine near zero, reaching to +-4
MEASURED = 512  # items of a phase on which the plasticity metrics are measured
DIVERGED = 1e6  # a mean training loss above this has left every useful region; chance level is ln(classes), below 7


class Diverged(RuntimeError):
    """The training loss is NaN, infinite or beyond 1e6: the run has failed, and says so."""


@dataclass
class Fitted:
    """What one run gave. ``model`` has the last weights, ``best_model`` those of the lowest loss on what ``run.monitor`` names."""

    run: Run
    model: nn.Module
    best_model: nn.Module
    metrics: dict[str, float]
    history: list[dict[str, float]]
    resets: list[dict]  # rows of the intervention, for reinit one a tensor: name, kind, size, reset
    histogram: list[int]  # counts of all parameters of the last weights between HISTOGRAM_EDGES
    seconds: float  # in all the processes that worked at it
    inputs: dict[str, str | None] = field(default_factory=dict)  # SHA-256 of the data and the weights it began from
    resumed: list[int] = field(default_factory=list)  # epochs after which it was taken up again


def generator(seed: int, purpose: str) -> torch.Generator:
    """An independent random stream for each purpose of a seed, so that one more draw here moves nothing there."""
    digest = hashlib.sha256(f"{purpose}/{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def fit(
    run: Run,
    folder: str | Path = "data",
    device: str = "auto",
    weights: str | Path | None = None,
    intervention: interventions.Intervention | None = None,
    checkpoint: Checkpoint | None = None,
) -> Fitted:
    """Train one run: build, load pretrained weights; in each phase of ``run.scenario`` intervene and train; test.

    Fine-tuning has one phase; its epochs stop after ``run.patience`` epochs without a lower validation loss. Test accuracy is
    measured with the last weights (``accuracy``, as the authors' released code does) and with those of the lowest validation
    loss (``best_accuracy``). On the CPU the result is bit for bit repeatable for a seed, machine and number of threads.
    With ``run.monitor`` "test" the same items are trained on, but the test loss stops and chooses: a control, which flatters.

    Args:
        folder: where packed data sets lie (``folder/<dataset>``) and weights (``folder/weights``).
        device: "cpu", "cuda" or "auto".
        weights: a state dict file to begin from, instead of the one that ``run.weights`` names.
        intervention: what acts on the network, instead of what ``run.case`` names.
        checkpoint: where the state after each epoch goes, and where an interrupted run is taken up: on the CPU to the same
            result bit for bit, on the same machine with the same number of threads. Its owner removes it.

    Raises:
        Diverged: the loss became NaN, infinite or huge. FileNotFoundError, ValueError: data or weights missing or wrong.
    """
    started = time.perf_counter()
    device = pick_device(device)
    data = data_sets.load(Path(folder), run.dataset)
    method = intervention or methods.build(run.case)
    model, initial, sha256 = build(run, folder, method, weights)
    inputs = {"data": data.sha256, "weights": sha256}
    model = model.to(device, memory_format=torch.channels_last if run.channels_last else torch.contiguous_format)
    set_precision(run.precision)

    def stream(purpose: str) -> torch.Generator:
        return generator(run.seed, purpose)

    train, validation = data_sets.split(data, run.validation, stream("split"))
    test = data.test.nonzero().flatten()
    chooses = len(validation) > 0  # whether what is watched stops the run and chooses its best weights
    watched, kind = (validation, "validation") if chooses and run.monitor == "validation" else (test, "test")
    batches = Batches(data, device, run.channels_last)
    order, draws = stream("order"), stream("augment")
    augment = AUGMENTATIONS[method.augmentation or run.augment]
    phases = scenarios.build(run.scenario).phases(train, data.labels, len(data.class_names), run.max_epochs, stream)
    initial, head = (
        {name: value.to(device) for name, value in initial.items()},
        models.architecture(run.architecture).head,
    )
    network = torch.compile(model, mode="reduce-overhead") if run.compiled else model
    resets, history, earlier, all_steps = [], [], 0.0, 0
    state = checkpoint.load(inputs) if checkpoint else None
    with torch.random.fork_rng(
        enabled=True
    ):  # dropout in a network draws from the global stream: seed it, then put it back
        torch.manual_seed(stream("dropout").initial_seed())
        for number, phase in enumerate(phases, start=1):
            labels, optimizer = phase.labels.to(device), build_optimizer(run, model)
            per_epoch = max(1, len(phase.items) // run.batch_size)  # the incomplete last batch is left out
            total_steps, step, first = per_epoch * phase.epochs, 0, len(history) + 1
            best = best_state = None  # of this phase

            def gradients(phase=phase, labels=labels):
                return sum_of_gradients(model, batches, phase.items, run.batch_size, run.precision, labels)

            def images(count: int, phase=phase) -> Tensor:
                return batches(phase.items[:count].to(device))[0]

            own, learned = stream("reinit" if number == 1 else f"reinit/{number}"), sha256 is not None or number > 1
            resets += method.prepare(
                model, interventions.Start(run, own, optimizer, gradients, number, learned, initial, head, images)
            )
            if state and number < state["phase"]:
                all_steps += total_steps  # prepared again, in turn, and trained already
                history += state["history"][len(history) : len(history) + phase.epochs]
                continue
            if state and number == state["phase"]:
                model.load_state_dict(state["model"])
                optimizer.load_state_dict(state["optimizer"])
                method.load_state_dict(state["method"])
                set_random_states(state["random"], order, draws, device)
                history, best_state, earlier = state["history"], state["best_state"], state["seconds"]
                best = history[state["best_epoch"] - 1]
                step = (len(history) + 1 - first) * per_epoch
                all_steps, predictor = all_steps + step, method.evaluated(model)
            for epoch in range(len(history) + 1, first + phase.epochs):
                if best and run.patience and history[-1]["epoch"] - best["epoch"] >= run.patience:
                    break
                model.train()
                loss_sum = torch.zeros((), device=device)
                items = phase.items[torch.randperm(len(phase.items), generator=order)].to(device)
                for index in items[: per_epoch * run.batch_size].split(run.batch_size):
                    step, all_steps = step + 1, all_steps + 1
                    for group in optimizer.param_groups:
                        group["lr"] = run.lr * lr_factor(run, step, total_steps)
                    seen = batches(index, augment, draws)[0]
                    logits = forward(network, seen, run.precision)
                    loss = F.cross_entropy(logits, labels[index])
                    penalty = method.penalty(model, logits, seen)
                    optimizer.zero_grad()
                    (loss if penalty is None else loss + penalty).backward()
                    if run.clip:
                        nn.utils.clip_grad_norm_(model.parameters(), run.clip)
                    optimizer.step()
                    method.after_step(all_steps)
                    loss_sum += loss.detach()
                method.after_epoch(epoch)
                train_loss = loss_sum.item() / per_epoch
                if not abs(train_loss) <= DIVERGED:
                    raise Diverged(
                        f"training loss is {train_loss} in epoch {epoch} ({run}, lr {run.lr}): lower the learning rate"
                    )
                predictor, ends = method.evaluated(model), epoch == first + phase.epochs - 1
                history.append({"epoch": epoch, "train_loss": train_loss})
                if run.scenario != "transfer":
                    history[-1]["phase"] = number
                # A phase on a tenth of the data has ten times as many epochs: its test curve gets as many points as another's.
                if chooses or ends or (epoch - first + 1) % max(1, phase.epochs // run.max_epochs) == 0:
                    found = evaluate(predictor, batches, watched, run.precision)
                    history[-1] |= {f"{kind}_loss": found[0], f"{kind}_accuracy": found[1]}
                if run.measure and ((epoch - first + 1) % run.measure == 0 or ends):
                    history[-1] |= measures.measure(
                        model, images(MEASURED), labels[phase.items[:MEASURED].to(device)], initial, head
                    )
                # Where nothing is held out, test items choose nothing: the last epoch is the one that counts.
                if best is None or not chooses or history[-1][f"{kind}_loss"] < best[f"{kind}_loss"]:
                    best = history[-1]
                    best_state = (
                        {name: value.clone() for name, value in predictor.state_dict().items()} if chooses else None
                    )
                if checkpoint:
                    checkpoint.save(
                        epoch,
                        {
                            "model": model.state_dict(),
                            "optimizer": optimizer.state_dict(),
                            "method": method.state_dict(),
                            "phase": number,
                            "random": random_states(order, draws, device),
                            "history": history,
                            "best_epoch": best["epoch"],
                            "best_state": best_state,
                            "seconds": earlier + time.perf_counter() - started,
                        },
                    )

    last, best_model = history[-1], copy.deepcopy(predictor)
    metrics = {"accuracy": evaluate(predictor, batches, test, run.precision)[1]}
    if chooses:
        best_model.load_state_dict(best_state)
        metrics |= {
            "best_accuracy": evaluate(best_model, batches, test, run.precision)[1],
            f"{kind}_accuracy": last[f"{kind}_accuracy"],
            f"best_{kind}_accuracy": best[f"{kind}_accuracy"],
            f"best_{kind}_loss": best[f"{kind}_loss"],
            "best_epoch": best["epoch"],
        }
    if run.scenario != "transfer":
        metrics["train_accuracy"] = evaluate(predictor, batches, phases[-1].items, run.precision)[1]
    metrics |= {"epochs": last["epoch"], "test_items": len(test)}
    seconds = earlier + time.perf_counter() - started
    resumed = checkpoint.resumed if checkpoint else []
    return Fitted(
        run, predictor, best_model, metrics, history, resets, weight_histogram(predictor), seconds, inputs, resumed
    )


def random_states(order: torch.Generator, draws: torch.Generator, device: torch.device) -> dict[str, Tensor]:
    """The state of every random stream that training goes on to draw from."""
    states = {"order": order.get_state(), "draws": draws.get_state(), "cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_states(
    states: dict[str, Tensor], order: torch.Generator, draws: torch.Generator, device: torch.device
) -> None:
    """Take up the states that ``random_states`` gave."""
    order.set_state(states["order"])
    draws.set_state(states["draws"])
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def build(
    run: Run, folder: str | Path, method: interventions.Intervention | None = None, weights: str | Path | None = None
) -> tuple[nn.Module, dict[str, Tensor], str | None]:
    """The network as the run begins it, its state as initialised, and the SHA-256 of its weights file (None from scratch).

    A seed has one initial network, head included, whatever the case (save one that asks for another head); pretrained weights
    replace all but the head. The method has reshaped it, but not acted on it. Raises ValueError for a network that is made for
    another size of image.
    """
    data, arch = data_sets.load(Path(folder), run.dataset), models.architecture(run.architecture)
    if arch.fixed and data.images.shape[1] != arch.image_size:
        raise ValueError(
            f"{run.architecture} takes images of {arch.image_size} pixels; those of {run.dataset!r} have "
            f"{data.images.shape[1]}"
        )
    model = models.build(run.architecture, len(data.class_names), seed=generator(run.seed, "model").initial_seed())
    method = method or interventions.Intervention()
    if method.head_draw:
        other = generator(run.seed, f"head/{method.head_draw}").initial_seed()
        head = models.build(run.architecture, len(data.class_names), seed=other).get_submodule(arch.head)
        model.get_submodule(arch.head).load_state_dict(head.state_dict())
    method.reshape(model)
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    if not method.pretrained or run.weights == "none":
        return model, initial, None
    path, sha256 = (Path(weights), None) if weights else weights_file(run.architecture, run.weights, folder)
    load_backbone(model, _read_weights(path, sha256), arch.head)
    return model, initial, sha256 or models.file_sha256(path)


class Batches:
    """Normalised float batches of a packed data set that stays as uint8 on the device."""

    def __init__(self, data: data_sets.Dataset, device: torch.device, channels_last: bool = True):
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.images, self.labels = data.images.to(device), data.labels.to(device)
        self.mean, self.std = (255 * v.view(1, 3, 1, 1).to(device) for v in (data.mean, data.std))

    def __call__(self, index: Tensor, augment=None, draws=None) -> tuple[Tensor, Tensor]:
        """(images [batch, 3, height, width] float32, labels [batch]) for item numbers [batch]."""
        images = self.images[index.to(self.images.device)]
        images = augment(images, draws) if augment else images
        images = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        images = images.sub_(self.mean).div_(
            self.std
        )  # by planes, which takes a third of the time it takes pixel by pixel
        return images.contiguous(memory_format=self.memory_format), self.labels[index.to(self.labels.device)]


def set_precision(precision: str) -> None:
    """Whether a GPU may round float32 to TF32 in matrix products and convolutions: only under "tf32".

    PyTorch's own default, and so the released code's on recent GPUs, is TF32 in convolutions alone.
    """
    # The older of PyTorch's two ways to say so: torch.compile still asks by it, and mixing them is an error.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"


def forward(model: nn.Module, images: Tensor, precision: str = "fp32") -> Tensor:
    """Logits [batch, classes] in float32; under "bf16" the network computes in autocast, its weights stay float32."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        return model(images).float()


@torch.inference_mode()
def evaluate(
    model: nn.Module, batches: Batches, items: Tensor, precision: str = "fp32", batch_size: int = 128
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy (0..1) over item numbers, in evaluation mode."""
    model.eval()
    sums = []  # stay on the device: asking for a number would wait for it
    for index in items.split(batch_size):
        images, labels = batches(index)
        logits = forward(model, images, precision)
        correct = (logits.argmax(1) == labels).sum()
        sums.append(torch.stack([F.cross_entropy(logits, labels, reduction="sum").double(), correct.double()]))
    loss, correct = torch.stack(sums).cumsum(0)[-1].tolist()
    return loss / len(items), correct / len(items)


def sum_of_gradients(
    model: nn.Module,
    batches: Batches,
    items: Tensor,
    batch_size: int,
    precision: str = "fp32",
    labels: Tensor | None = None,
) -> dict[str, Tensor]:
    """The mean loss's gradient summed over the batches of one epoch, by parameter name; no buffer or gradient is touched.

    ``labels`` [n] of all items replace the data set's own. Frozen parameters have zeros.
    """
    named, total = {name: p for name, p in model.named_parameters() if p.requires_grad}, None
    labels = batches.labels if labels is None else labels
    model.eval()
    for index in items.to(labels.device).split(batch_size):
        loss = F.cross_entropy(forward(model, batches(index)[0], precision), labels[index])
        batch = torch.autograd.grad(loss, list(named.values()))
        total = batch if total is None else [t + b for t, b in zip(total, batch, strict=True)]
    return {name: torch.zeros_like(p) for name, p in model.named_parameters()} | dict(zip(named, total, strict=True))


def build_optimizer(run: Run, model: nn.Module) -> torch.optim.Optimizer:
    """SGD or AdamW over all parameters, in the fused form."""
    if run.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(), run.lr, momentum=run.momentum, weight_decay=run.weight_decay, fused=True
        )
    return torch.optim.AdamW(
        model.parameters(), run.lr, (run.beta1, run.beta2), run.epsilon, run.weight_decay, fused=True
    )


def lr_factor(run: Run, step: int, total_steps: int) -> float:
    """What the learning rate is multiplied by at ``step`` (from 1) of a phase: linear warm-up, then as ``run.schedule`` says."""
    warmup = min(1.0, step / (run.warmup * total_steps)) if run.warmup else 1.0
    if run.schedule == "cosine":
        return warmup * (0.5 + 0.5 * math.cos(math.pi * (step - 1) / total_steps))
    done = (step - 1) / total_steps
    return warmup * 0.1 ** ((done >= 0.5) + (done >= 0.75)) if run.schedule == "steps" else warmup


def all_weights(model: nn.Module) -> np.ndarray:
    """All parameters of a network as one float32 array [parameters], in order."""
    return torch.cat([p.detach().flatten().float().cpu() for p in model.parameters()]).numpy()


def weight_histogram(model: nn.Module) -> list[int]:
    """Counts of all parameters between HISTOGRAM_EDGES; what lies outside counts in the outermost bins."""
    return np.histogram(all_weights(model).clip(HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1]), HISTOGRAM_EDGES)[0].tolist()


def pick_device(name: str) -> torch.device:
    """ "auto" is the first CUDA device, or the CPU where there is none. Raises ValueError for what is not there."""
    if name not in ("auto", "cpu", "cuda") and not name.startswith("cuda:"):
        raise ValueError(f"device={name!r} is unknown; allowed: 'auto', 'cpu', 'cuda', 'cuda:<number>'")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={name!r}, but PyTorch sees no CUDA device here; use 'cpu' or 'auto'")
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
