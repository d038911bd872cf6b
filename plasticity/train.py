"""``fit``: one run from build to test, the only training loop in the project. Its pieces, in the order in which it
calls them:

begin          build the network, load data and weights, draw the split
begin_phase    a new optimiser; the method acts (fine-tuning has one phase, a warm start two)
resume         take up an interrupted run
train_epoch    steps, then validation; early stopping asks ``finished``
results        test accuracy of the last and of the best weights
"""

import copy
import hashlib
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import data as data_sets
from .files import file_sha256
from .interventions import Intervention, Start
from .networks import table as networks
from .networks.loading import load_backbone
from .run import Run
from .training import measures, scenarios
from .training.augment import AUGMENTATIONS, Augmentation
from .training.batches import Batches, evaluate, forward
from .training.device import pick_device, require_able, send, set_precision, set_random_states
from .training.graph import Graph
from .training.optimizers import build_optimizer, lr_factor
from .training.progress import Checkpoint, Fitted, Training
from .weights import cached_weights, weights_file

CURVE = 24  # points, at least, that a phase's test curve has, if it has as many epochs
DIVERGED = 1e6  # a mean training loss above this has left every useful region; chance level is ln(classes), below 7


class Diverged(RuntimeError):
    """The training loss is NaN, infinite or beyond 1e6: the run has failed, and says so."""


def generator(seed: int, purpose: str) -> torch.Generator:
    """An independent random stream for each purpose of a seed, so that one more draw here moves nothing there."""
    digest = hashlib.sha256(f"{purpose}/{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def fit(
    run: Run,
    folder: str | Path = "data",
    device: str = "auto",
    weights: str | Path | None = None,
    intervention: Intervention | None = None,
    checkpoint: Checkpoint | None = None,
) -> Fitted:
    """Train one run: build, load pretrained weights; in each phase of ``run.scenario`` intervene and train; test.

    Fine-tuning has one phase; its epochs stop after ``run.patience`` epochs without a lower validation loss. Test
    accuracy is measured with the last weights (``accuracy``, as the authors' released code does) and with those of the
    lowest validation loss (``best_accuracy``). On the CPU the result is bit for bit repeatable for a seed, machine and
    number of threads. With ``run.monitor`` "test" the same items are trained on, but the test loss stops and chooses: a
    control, which flatters.

    Args:
        folder: where packed data sets lie (``folder/<dataset>``) and weights (``folder/weights``).
        device: "cpu", "cuda" or "auto".
        weights: a state dict file to begin from, instead of the one that ``run.weights`` names.
        intervention: what acts on the network, instead of what ``run.case`` names.
        checkpoint: where states go, and where an interrupted run is taken up: on the CPU to the same result bit for
            bit, on the same machine with the same number of threads. Its owner removes it.

    Raises:
        Diverged: the loss became NaN, infinite or huge. FileNotFoundError, ValueError: data or weights missing or
        wrong.
    """
    training = begin(run, folder, device, weights, intervention)
    state = checkpoint.load(training.inputs) if checkpoint else None
    with torch.random.fork_rng():  # dropout in a network draws from the global stream: seed it, then put it back
        torch.manual_seed(generator(run.seed, "dropout").initial_seed())
        for number in range(1, len(training.phases) + 1):
            begin_phase(training, number)
            if state and number <= state["phase"]:
                resume(training, state)
            while not finished(training):
                train_epoch(training)
                if checkpoint and checkpoint.due():
                    checkpoint.save(training.history[-1]["epoch"], training.state())
    return results(training, checkpoint.resumed if checkpoint else [])


def begin(
    run: Run,
    folder: str | Path = "data",
    device: str = "auto",
    weights: str | Path | None = None,
    intervention: Intervention | None = None,
    data: data_sets.Dataset | None = None,
) -> Training:
    """All that a run needs before its first phase. ``data``: instead of the folder's data set; the rest as in `fit`."""
    started, device = time.perf_counter(), pick_device(device)
    require_able(device, run.precision)
    data = data or data_sets.load(Path(folder), run.dataset)
    method = intervention or run.intervention()
    model, initial, sha256 = build(run, folder, method, weights, data)
    batches = Batches(data, device, run.channels_last)
    model = model.to(device, memory_format=batches.memory_format)
    set_precision(run.precision)
    stream = partial(generator, run.seed)
    train, validation = data_sets.split(data, run.validation, stream("split"))
    test, chooses = data.test.nonzero().flatten(), len(validation) > 0
    watched, kind = (validation, "validation") if chooses and run.monitor == "validation" else (test, "test")
    return Training(
        run=run,
        method=method,
        model=model,
        network=torch.compile(model, mode="reduce-overhead") if run.compiled else model,
        initial={name: value.to(device) for name, value in initial.items()},
        head=networks.architecture(run.architecture).head,
        inputs={"data": data.sha256, "weights": sha256},
        batches=batches,
        test=test,
        watched=watched,
        kind=kind,
        chooses=chooses,
        phases=scenarios.build(run.scenario).phases(train, data.labels, len(data.class_names), run.max_epochs, stream),
        order=stream("order"),
        draws=stream("augment"),
        started=started,
    )


def begin_phase(training: Training, number: int) -> None:
    """Give the phase its labels and a new optimiser, and let the method act on the network."""
    run = training.run
    if training.number:
        training.earlier_steps += training.steps
    training.number, training.first, training.step = number, len(training.history) + 1, 0
    training.best = training.best_state = training.graph = None
    training.labels = training.phase.labels.to(training.batches.images.device)
    training.optimizer = build_optimizer(run, training.model)
    start = Start(
        generator=generator(run.seed, "reinit" if number == 1 else f"reinit/{number}"),
        optimizer=training.optimizer,
        gradients=training.gradients,
        phase=number,
        steps_per_epoch=training.steps_per_epoch,
        shortest=training.shortest,
        learned=training.inputs["weights"] is not None or number > 1,
        initial=training.initial,
        head=training.head,
        images=training.images,
        precision=run.precision,
        compiled=run.compiled,
    )
    training.resets += training.method.prepare(training.model, start)


def resume(training: Training, state: dict) -> None:
    """Take up ``state``. In a phase before its own, which was prepared again in turn, only the history is taken."""
    if training.number < state["phase"]:
        training.history += state["history"][len(training.history) :][: training.phase.epochs]
        return
    training.model.load_state_dict(state["model"])
    training.optimizer.load_state_dict(state["optimizer"])
    training.method.load_state_dict(state["method"])
    set_random_states(state["random"], training.order, training.draws, training.batches.images.device)
    training.history, training.best_state, training.earlier = state["history"], state["best_state"], state["seconds"]
    training.best = training.history[state["best_epoch"] - 1]
    training.step = (len(training.history) + 1 - training.first) * training.steps_per_epoch
    training.predictor = training.method.evaluated(training.model)


def finished(training: Training) -> bool:
    """Whether the phase is over: all of its epochs are done, or ``run.patience`` epochs brought no lower watched
    loss."""
    done, run = len(training.history), training.run
    if done + 1 - training.first >= training.phase.epochs:
        return True
    return bool(training.best and run.patience and done - training.best["epoch"] >= run.patience)


def train_epoch(training: Training) -> None:
    """One epoch: steps in a new order, plasticity metrics, the method's turn, validation; an entry of the history."""
    run, batches, epoch = training.run, training.batches, len(training.history) + 1
    items = training.phase.items[torch.randperm(len(training.phase.items), generator=training.order)]
    used = items.to(batches.images.device)[: training.steps_per_epoch * run.batch_size]
    training.model.train()
    loss_sum = torch.zeros((), device=used.device)
    for index in used.split(run.batch_size):
        loss_sum += train_step(training, index)
    train_loss = loss_sum.item() / training.steps_per_epoch
    if not abs(train_loss) <= DIVERGED:
        raise Diverged(f"training loss is {train_loss} in epoch {epoch} ({run}, lr {run.lr}): lower the learning rate")
    plasticity = training.plasticity(epoch)
    training.method.after_epoch(epoch)
    training.predictor = training.method.evaluated(training.model)
    training.history.append({"epoch": epoch, "train_loss": train_loss} | _validation(training, epoch) | plasticity)
    _keep_best(training)


def train_step(training: Training, index: Tensor) -> Tensor:
    """One optimiser step on the items ``index`` [batch]; returns the loss, without the method's penalty, on the
    device."""
    run, method = training.run, training.method
    training.step += 1
    lr = run.lr * lr_factor(run, training.step, training.steps)
    index, table = index.to(training.batches.images.device), drawn(training, len(index))
    for group in training.optimizer.param_groups:
        group["lr"] = lr
    if run.graph and index.is_cuda:
        training.graph = training.graph or Graph(training, update, index, table)
        loss = training.graph(index, table, lr)
    else:
        loss = update(training, index, table)
    method.after_step(training.earlier_steps + training.step)
    return loss


def augmentation(training: Training) -> Augmentation:
    """The method's own, or else the run's."""
    return AUGMENTATIONS[training.method.augmentation or training.run.augment]


def drawn(training: Training, batch: int) -> Tensor:
    """What is to happen to the next ``batch`` images, [batch, columns], on the device that they are on."""
    images = training.batches.images
    return send(augmentation(training).draw(batch, *images.shape[1:3], training.draws), images.device)


def update(training: Training, index: Tensor, table: Tensor) -> Tensor:
    """All of a step that the device does: batch, loss, gradients, optimiser. No shape may depend on a value, and
    nothing may wait. Returns the loss without the penalty."""
    run, model = training.run, training.model
    images = training.batches(index, augmentation(training), table)[0]
    logits = forward(training.network, images, run.precision)
    loss = F.cross_entropy(logits, training.labels[index])
    penalty = training.method.penalty(model, logits, images)
    training.optimizer.zero_grad()
    (loss if penalty is None else loss + penalty).backward()
    if run.clip:
        nn.utils.clip_grad_norm_(model.parameters(), run.clip)
    training.optimizer.step()
    return loss.detach()


def _validation(training: Training, epoch: int) -> dict[str, float]:
    """What the history says of the network that predicts."""
    run, kind, phase = training.run, training.kind, training.phase
    done, entry = epoch - training.first + 1, {}
    if run.scenario != "transfer":
        entry["phase"] = training.number
    every = max(1, phase.epochs // min(CURVE, run.max_epochs))  # on a tenth of the data a phase has ten times as many
    if training.chooses or done in (1, phase.epochs) or done % every == 0:
        loss, accuracy = evaluate(training.predictor, training.batches, training.watched, run.precision)
        entry |= {f"{kind}_loss": loss, f"{kind}_accuracy": accuracy}
    return entry


def _keep_best(training: Training) -> None:
    """Keep the weights if the watched loss is the phase's lowest. Where nothing is held out, the last epoch counts."""
    entry, loss = training.history[-1], f"{training.kind}_loss"
    if training.best is None or not training.chooses or entry[loss] < training.best[loss]:
        training.best = entry
        if training.chooses:
            training.best_state = {name: value.clone() for name, value in training.predictor.state_dict().items()}


def results(training: Training, resumed: list[int]) -> Fitted:
    """Test the last and the best weights."""
    run, kind, predictor = training.run, training.kind, training.predictor
    last, best, best_model = training.history[-1], training.best, copy.deepcopy(predictor)

    def accuracy(model: nn.Module, items: Tensor) -> float:
        return evaluate(model, training.batches, items, run.precision)[1]

    metrics = {"accuracy": accuracy(predictor, training.test)}
    if training.chooses:
        best_model.load_state_dict(training.best_state)
        metrics |= {
            "best_accuracy": accuracy(best_model, training.test),
            f"{kind}_accuracy": last[f"{kind}_accuracy"],
            f"best_{kind}_accuracy": best[f"{kind}_accuracy"],
            f"best_{kind}_loss": best[f"{kind}_loss"],
            "best_epoch": best["epoch"],
        }
    if run.scenario != "transfer":
        metrics["train_accuracy"] = accuracy(predictor, training.phase.items)
    metrics |= {"epochs": last["epoch"], "test_items": len(training.test)}
    parts = (predictor, best_model, metrics, training.history, training.resets, measures.weight_histogram(predictor))
    return Fitted(run, *parts, training.seconds, training.inputs, resumed)


def build(
    run: Run,
    folder: str | Path,
    method: Intervention | None = None,
    weights: str | Path | None = None,
    data: data_sets.Dataset | None = None,
) -> tuple[nn.Module, dict[str, Tensor], str | None]:
    """The network as the run begins it, its state as initialised, and the SHA-256 of its weights file (None from
    scratch).

    A seed has one initial network, head included, whatever the case (save one that asks for another head); pretrained
    weights replace all but the head. The method has reshaped it, but not acted on it. Raises ValueError for a network
    that is made for another size of image.
    """
    data, arch = data or data_sets.load(Path(folder), run.dataset), networks.architecture(run.architecture)
    if arch.fixed and data.images.shape[1] != arch.image_size:
        raise ValueError(
            f"{run.architecture} takes images of {arch.image_size} pixels; those of {run.dataset!r} have "
            f"{data.images.shape[1]}"
        )
    model = networks.build(run.architecture, len(data.class_names), seed=generator(run.seed, "model").initial_seed())
    method = method or Intervention()
    if method.head_draw:
        other = generator(run.seed, f"head/{method.head_draw}").initial_seed()
        head = networks.build(run.architecture, len(data.class_names), seed=other).get_submodule(arch.head)
        model.get_submodule(arch.head).load_state_dict(head.state_dict())
    method.reshape(model, arch.head)
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    if not method.pretrained or run.weights == "none":
        return model, initial, None
    path, sha256 = (Path(weights), None) if weights else weights_file(run.architecture, run.weights, folder)
    load_backbone(model, cached_weights(path, sha256), arch.head)
    return model, initial, sha256 or file_sha256(path)
