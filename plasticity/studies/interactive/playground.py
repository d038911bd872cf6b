"""One case on one network, at once: what it changes before any training, and a race against base. Functions and their figures;
the controls on top of them are `playground_widgets`."""

import contextlib
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ... import data as data_sets
from ... import train
from ...analysis import frames
from ...analysis import paired as comparisons
from ...analysis.figures import BLUE, GREY, RED, evenly, finish, style, subplots
from ...networks import table as models
from ...profiles import Profile
from ...reinit import SCOPES
from ...run import SOURCES, Run
from ...running import records
from ...running.engine import Place, data_folder
from ...running.pretrain import pretrain
from ...running.workers import InProcess
from ...training import measures
from ...weights import fetch_weights, weights_file

ONE = threading.Lock()  # held by whatever builds or trains here: two at once would share PyTorch's global random stream


class Stopped(RuntimeError):
    """A race was stopped on request; runs that had ended are recorded, the one in progress is not."""


def choose(
    profile: Profile,
    network: str = "",
    dataset: str = "",
    case: str = "25M",
    scope: str = "tensor",
    utility: str = "magnitude",
    reading: str = "",
    seed: int = 0,
) -> Run:
    """The run of these choices with the profile's own training settings; "" stands for the profile's middle network, its
    second data set, its reading. ``network`` is a name or a family. Raises ValueError that says what is allowed."""
    name = profile.family(network) if network else profile.architectures[len(profile.architectures) // 2]
    dataset = dataset or profile.datasets[:2][-1]
    if dataset not in profile.datasets:
        raise ValueError(f"profile {profile.name!r} has no data set {dataset!r}; it has: {', '.join(profile.datasets)}")
    return Run(
        name,
        dataset,
        case,
        seed,
        weights=profile.weights,
        reading=reading or profile.reading,
        utility=utility,
        scope=scope,
        **profile.training[name],
    )


def base_of(run: Run) -> Run:
    """The base case beside ``run``. Scope and utility choose nothing there, so they are the grid's own."""
    return replace(run, case="base", scope="tensor", utility="magnitude")


def pairs(run: Run, seeds: int = 1) -> list[Run]:
    """Base and ``run`` with each of so many seeds, beginning with the run's own."""
    if not isinstance(seeds, int) or seeds < 1:
        raise ValueError(f"seeds={seeds!r} must be an integer of at least 1")
    both = [replace(one, seed=seed) for seed in range(run.seed, run.seed + seeds) for one in (base_of(run), run)]
    return [*dict.fromkeys(both if run.case != "base" else both[::2])]


def plan(runs, place: Place, seconds_a_run: float | None = None) -> pd.DataFrame:
    """What `race` would do, a row a run: case, seed, whose record would be taken ("grid", "playground", "" for none), and the
    seconds that training would take: ``seconds_a_run`` where there is no record, NaN without that either."""
    rows = [{"case": run.case, "seed": run.seed, "recorded": _source(run, place)} for run in runs]
    guess = seconds_a_run or float("nan")
    return pd.DataFrame([row | {"seconds": 0.0 if row["recorded"] else guess} for row in rows])


def ready(run: Run, place: Place) -> None:
    """Make or find the run's data set and pretrained weights. Raises FileNotFoundError, saying what to put where."""
    folder = data_folder(place)
    data_sets.load(folder, run.dataset)
    with ONE, InProcess():  # one torch thread, as the grid's workers have, so that the weights are the same
        if run.weights in SOURCES:
            pretrain(run.architecture, run.weights, folder, place.device)
        else:
            fetch_weights(run.architecture, run.weights, folder)


# --- before any training ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class State:
    """A network as it is: all parameters [n], logits [images, classes], and features [images, k], which are what its head sees."""

    weights: np.ndarray
    logits: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class Look:
    """``run``'s network ``before``, as pretrained with its new head, and ``after`` its method, right before the first step.

    ``rows``, one a parameter tensor: name, kind, size, reset; ``images``: how many test images the outputs are of.
    """

    run: Run
    before: State
    after: State
    rows: list[dict]
    images: int


def look(run: Run, place: Place, images: int = 200) -> Look:
    """What the run's method does to its network before training; both networks have the same new head.

    Outputs are in evaluation mode, over ``images`` test items taken evenly. Raises FileNotFoundError or ValueError for data or
    weights that are missing or wrong; see `ready`.
    """
    with ONE, InProcess():
        device = train.pick_device(place.device)
        data = data_sets.load(data_folder(place), run.dataset)
        batches = train.Batches(data, device, run.channels_last)
        items = evenly(data.test.nonzero().flatten(), images)
        before = train.build(base_of(run), data_folder(place))[0].to(device, memory_format=batches.memory_format)
        training = begin(run, place)
        states = [_state(model, batches, items, run) for model in (before, training.model)]
        return Look(run, *states, training.resets or _changed(before, training.model), len(items))


def by_scope(run: Run, place: Place) -> dict[str, list[dict]]:
    """The rows of `look` for either scope, for `figures.resets_by_layer`."""
    return {f"{run.case}, scope {scope}": look(replace(run, scope=scope), place, images=1).rows for scope in SCOPES}


def begin(run: Run, place: Place) -> train.Training:
    """The training right before its first step, with the network as its method left it."""
    training = train.begin(run, data_folder(place), place.device)
    train.begin_phase(training, 1)
    return training


def _state(model, batches, items, run) -> State:
    seen = []
    head = model.get_submodule(models.architecture(run.architecture).head)
    hook = head.register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(1).float().cpu()))
    model.eval()
    with torch.inference_mode():
        logits = [train.forward(model, batches(index)[0], run.precision).cpu() for index in items.split(128)]
    hook.remove()
    return State(measures.all_weights(model), torch.cat(logits).numpy(), torch.cat(seen).numpy())


def _changed(before, after) -> list[dict]:
    """Rows for a method that reports none: the entries that are not what they were; all of a tensor that is new. Gains of norm
    layers are left out, as `reinit` does."""
    old, rows = dict(before.named_parameters()), []
    for name, new in after.named_parameters():
        kind, same = "bias" if "bias" in name else "weight", name in old and old[name].shape == new.shape
        if kind == "bias" or new.ndim >= 2:
            reset = int((old[name] != new).sum()) if same else new.numel()
            rows.append({"name": name, "kind": kind, "size": new.numel(), "reset": reset})
    return rows


def change(before: State, after: State) -> dict[str, float]:
    """How far outputs moved: ``flips``, the share of images whose largest logit is another class's; ``logits``, the mean absolute
    change, and ``spread``, the standard deviation before; ``kl``, the mean KL(before || after) in nats; ``features``, the median
    over images of |after - before| / |before| (NaN where their number changed)."""
    old, new = (torch.from_numpy(state.logits).double() for state in (before, after))
    kl = torch.nn.functional.kl_div(new.log_softmax(1), old.log_softmax(1), reduction="batchmean", log_target=True)
    return {
        "flips": float((old.argmax(1) != new.argmax(1)).double().mean()),
        "logits": float((new - old).abs().mean()),
        "spread": float(old.std()),
        "kl": float(kl),
        "features": float(np.median(_moved(before, after))),
    }


def _moved(before: State, after: State) -> np.ndarray:
    """Relative change of each image's features [images]; NaN where there is nothing to compare."""
    if before.features.shape != after.features.shape:
        return np.full(len(before.features), np.nan)
    with np.errstate(all="ignore"):
        distance = np.linalg.norm(after.features - before.features, axis=1)
        return distance / np.linalg.norm(before.features, axis=1)


def changes(seen: Look) -> pd.DataFrame:
    """`change` and the number of reset entries in words, one row each."""
    found, reset, size = change(seen.before, seen.after), sum(r["reset"] for r in seen.rows), seen.after.weights.size
    rows = {
        "parameters reset": f"{reset:,} of {size:,} ({100 * reset / size:.1f}%)",
        "predictions that flip, of a head not yet trained": f"{round(found['flips'] * seen.images)} of {seen.images}",
        "logits: mean absolute change": f"{found['logits']:.3g} (their standard deviation before: {found['spread']:.3g})",
        "KL divergence, before to after, mean": f"{found['kl']:.3g} nats",
        "features, which the head sees: median relative change": f"{100 * found['features']:.3g}%",
    }
    return pd.DataFrame({"how much": rows})


@style()
def output_change(seen: Look) -> Figure:
    """The same test images before and after: every logit against itself, and how far each image's features moved. Images whose
    prediction flips are crosses, and hatched."""
    flips = seen.before.logits.argmax(1) != seen.after.logits.argmax(1)
    figure, axes = subplots(1, 2, height=5.5, width=8)
    kinds = (("kept", ~flips, BLUE, "o", ""), ("prediction flips", flips, RED, "x", "///"))
    for label, chosen, colour, mark, _ in kinds:
        axes[0, 0].plot(
            seen.before.logits[chosen].ravel(),
            seen.after.logits[chosen].ravel(),
            mark,
            color=colour,
            alpha=0.5,
            markersize=2.5,
            linestyle="",
            label=label,
        )
    axes[0, 0].axline((0, 0), slope=1, color=GREY, linewidth=0.8, linestyle="--")
    moved = 100 * _moved(seen.before, seen.after)
    shown = [moved[chosen & np.isfinite(moved)] for _, chosen, *_ in kinds]
    for part, (_, _, colour, _, hatch) in zip(_stacked(shown), kinds, strict=True):
        axes[0, 1].bar(**part, align="edge", color=colour, alpha=0.75, hatch=hatch, edgecolor="white", linewidth=0.3)
    finish(
        figure, axes, "", "", f"{seen.run.case}: test images before any training, the same new head; dashed: no change."
    )
    axes[0, 0].set(title=f"logits, n = {seen.before.logits.size:,}", xlabel="before", ylabel="after")
    axes[0, 1].set(title=f"features, n = {sum(map(len, shown))} images", xlabel="relative change (%)", ylabel="images")
    for ax in axes.flat:
        ax.ticklabel_format(scilimits=(-3, 4))
    return figure


def _stacked(parts: list[np.ndarray], bins: int = 20) -> list[dict]:
    """Histograms of the parts on each other, as arguments of ``bar``."""
    edges = np.histogram_bin_edges(np.concatenate(parts), bins)
    counts = np.array([np.histogram(part, edges)[0] for part in parts])
    return [
        {"x": edges[:-1], "height": high, "width": np.diff(edges), "bottom": low}
        for high, low in zip(counts, np.cumsum(counts, 0) - counts, strict=True)
    ]


# --- the race ---------------------------------------------------------------------------------------------------------
class _Watch:
    """What `fit` takes for its checkpoint: it keeps nothing, shows each epoch, and ends the run when asked to."""

    def __init__(self, run: Run, seen, stop):
        self.run, self.seen, self.stop, self.resumed = run, seen, stop, []

    def load(self, inputs):
        return None

    def save(self, epoch, state):
        if self.seen:
            self.seen(self.run, list(state["history"]))
        if self.stop and self.stop():
            raise Stopped(
                f"stopped after epoch {epoch} of {self.run.case}, seed {self.run.seed}; of this run nothing is kept"
            )


def race(runs, place: Place, seen=None, stop=None) -> list[dict]:
    """The records of these runs: the grid's or the playground's own where there are some, else from training here, one by one.

    ``seen(run, history)`` is called after each epoch (once for a recorded run), ``stop()`` asked after each epoch. What is trained
    here is recorded under ``results/<profile>/playground``, apart from the grid. A run that diverges comes as a failed record and
    is not kept. Raises `Stopped`; FileNotFoundError or ValueError for data or weights that are missing or wrong.
    """
    return [_finished(run, place, seen, stop) for run in runs]


def _finished(run, place, seen, stop) -> dict:
    if source := _source(run, place):
        record = records.load_run(run, _folders(place)[source])
        if seen:
            seen(run, record["history"])
        return record
    started = time.perf_counter()
    try:
        with ONE, InProcess():
            fitted = train.fit(run, data_folder(place), place.device, checkpoint=_Watch(run, seen, stop))
    except train.Diverged as error:
        return {"config": asdict(run)} | records.failure(str(error), time.perf_counter() - started)
    return _kept(run, records.from_fitted(fitted), place)


def _kept(run, body, place) -> dict:
    own = _folders(place)["playground"]
    if records.path_of(run, own).exists():  # torn, or from other data or weights, else it had been taken
        records.quarantine(records.path_of(run, own), own)
    with contextlib.suppress(FileExistsError):
        records.save(run, body, own)
    return records.load_run(run, own)


def _folders(place: Place) -> dict[str, Path]:
    return {"grid": place.runs, "playground": Path(place.results) / "playground"}


def _source(run: Run, place: Place) -> str:
    """Which folder has a finished record of the run from the very data and weights that are here; "" if none has."""
    found = {name: records.load_whole(run, folder) for name, folder in _folders(place).items()}
    done = [name for name, record in found.items() if record and record["status"] == "done"]
    try:
        return next((name for name in done if found[name].get("inputs") == _inputs(run, place)), "")
    except FileNotFoundError:  # nothing to begin from, so nothing to compare
        return ""


def _inputs(run: Run, place: Place) -> dict[str, str | None]:
    """What `fit` would note of the data and the weights that it began from."""
    folder, sha256 = data_folder(place), None
    if run.intervention().pretrained and run.weights != "none":
        path, sha256 = weights_file(run.architecture, run.weights, folder)
        sha256 = sha256 or models.file_sha256(path)
    return {"data": data_sets.load(folder, run.dataset).sha256, "weights": sha256}


def histories(shown: dict[Run, list[dict]]) -> pd.DataFrame:
    """One row an epoch of runs that may be in progress, as `records.histories` gives for recorded ones."""
    return frames.histories([{"config": asdict(run), "history": history} for run, history in shown.items()])


@style()
def curves(histories: pd.DataFrame) -> Figure:
    """Training loss and validation accuracy by epoch, every run a line; base is black, dashed, with circles."""
    figure, axes = subplots(1, 2, height=5.5, width=8)
    runs = histories.groupby(["case", "seed"], sort=False) if len(histories) else []
    for (case, _), rows in runs:
        look = (
            {"color": "#000000", "linestyle": "--", "marker": "o"} if case == "base" else {"color": BLUE, "marker": "s"}
        )
        for ax, values in zip(axes.flat, (rows.train_loss, 100 * rows.validation_accuracy), strict=True):
            ax.plot(rows.epoch, values, **look, label=case, linewidth=1.1, markersize=3, alpha=0.8)
    finish(figure, axes, "epoch", "", "Line: one run, until it stopped early or at its cap of epochs.")
    for ax, label in zip(axes.flat, ("training loss", "validation accuracy (%)"), strict=True):
        ax.set(title=f"n = {len(runs)} run{'s'[: len(runs) != 1]}", ylabel=label)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def verdict(done: list[dict]) -> str:
    """What came of a race, in a sentence or two, and how little it says."""
    frame = frames.frame(done)
    case = next((case for case in frame.case if case != "base"), "base")
    if lost := [record for record in done if record["status"] == "failed"]:
        return f"{lost[0]['config']['case']} failed with seed {lost[0]['config']['seed']}: {lost[0]['message']}."
    table = 100 * frame.pivot(index="seed", columns="case", values="accuracy")
    if case == "base":
        return f"Test accuracy of base: {table.base.mean():.2f}%. Choose another case to have something beside it."
    found = comparisons.interval((table[case] - table.base).to_numpy())
    items, p = int(frame.test_items.iloc[0]), table.base.mean() / 100
    chance = 100 * float(np.sqrt(p * (1 - p) / items))
    means = f"Test accuracy: base {table.base.mean():.2f}%, {case} {table[case].mean():.2f}%, a difference of {found.mean:+.2f} points"
    if found.n == 1:
        return (
            f"{means}. One seed tells nothing about differences of a few points: another seed moves accuracies by as much, and "
            f"{items} test images alone give one a standard error of {chance:.1f} points."
        )
    inside = found.low <= 0 <= found.high
    says = (
        "has zero inside: no difference is shown"
        if inside
        else "has zero outside: a hint, and no more if you tried several cases"
    )
    return f"{means} (n = {found.n} pairs). The 95% interval, {found.low:+.2f} to {found.high:+.2f}, {says}."
