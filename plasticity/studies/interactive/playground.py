"""One case on one network, at once: what it changes before any training, and a race against base.

Functions and their figures; the controls on top of them are in `widgets`.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ... import data, train
from ...analysis import frames
from ...analysis.figures import BLUE, GREY, RED, evenly, finish, style, subplots
from ...analysis.paired import interval
from ...analysis.verdict import MARGINS, verdict
from ...datasets.prepare import ensure
from ...files import file_sha256
from ...networks.competitors import competitors
from ...networks.table import architecture
from ...profiles import Profile
from ...reinit import SCOPES
from ...run import SOURCES, Run
from ...running import records
from ...running.engine import Place, data_folder
from ...running.pretrain import pretrain
from ...running.workers import InProcess
from ...training.batches import forward
from ...training.measures import all_weights
from ...weights import fetch_weights, weights_file

ONE = threading.Lock()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One thread at a time: two would share PyTorch's global random stream. One torch thread, as the grid's workers
    have, so that weights and records are the same."""
    with ONE, InProcess():
        yield


def choose(
    profile: Profile, network: str = "", dataset: str = "", case: str = "25M", reading: str = "", **fields
) -> Run:
    """The run of these choices with the profile's own training settings. Raises ValueError that says what is allowed.

    "" stands for the profile's middle network, its second data set, its reading. ``network`` is a name or a family,
    ``fields`` others of `Run`, such as seed, scope and utility.
    """
    name = profile.family(network) if network else profile.architectures[len(profile.architectures) // 2]
    dataset = dataset or profile.datasets[:2][-1]
    if dataset not in profile.datasets:
        raise ValueError(f"profile {profile.name!r} has no data set {dataset!r}; it has: {', '.join(profile.datasets)}")
    fields = profile.training[name] | {"weights": profile.weights, "reading": reading or profile.reading} | fields
    return Run(name, dataset, case, **fields)


def base_of(run: Run) -> Run:
    """The base case beside ``run``. Scope and utility choose nothing there, so they are the grid's own."""
    return replace(run, case="base", scope="tensor", utility="magnitude")


def pairs(run: Run, seeds: int = 1) -> list[Run]:
    """Base and ``run`` with each of ``seeds`` seeds, beginning with the run's own."""
    if not isinstance(seeds, int) or seeds < 1:
        raise ValueError(f"seeds={seeds!r} must be an integer of at least 1")
    both = [replace(one, seed=seed) for seed in range(run.seed, run.seed + seeds) for one in (base_of(run), run)]
    return [*dict.fromkeys(both if run.case != "base" else both[::2])]


def plan(runs, place: Place, seconds_a_run: float | None = None) -> pd.DataFrame:
    """What `race` would do, one row per run: case, seed, whose record would be taken ("grid", "playground", "" for
    none), and the seconds that training would take: ``seconds_a_run`` where there is no record, NaN without that
    either."""
    rows = [{"case": run.case, "seed": run.seed, "recorded": _source(run, place)} for run in runs]
    guess = seconds_a_run or float("nan")
    return pd.DataFrame([row | {"seconds": 0.0 if row["recorded"] else guess} for row in rows])


def ready(run: Run, place: Place) -> None:
    """Make or find the run's data set and pretrained weights. Raises FileNotFoundError, saying what to put where."""
    folder = data_folder(place)
    ensure(folder, run.dataset)
    with alone():
        if run.weights in SOURCES:
            pretrain(run.architecture, run.weights, folder, place.device)
        else:
            fetch_weights(run.architecture, run.weights, folder)


# --- before any training ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class State:
    """A network as it is: all parameters [n], logits [images, classes], and features [images, k], which are what its
    head sees."""

    weights: np.ndarray
    logits: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class Look:
    """``run``'s network ``before``, as pretrained with its new head, and ``after`` its method, right before the first
    step.

    ``rows``, one per parameter tensor: name, kind, size, reset; ``images``: how many test images the outputs are of.
    """

    run: Run
    before: State
    after: State
    rows: list[dict]
    images: int


def look(run: Run, place: Place, images: int = 200) -> Look:
    """What the run's method does to its network before training; both networks have the same new head.

    Outputs are in evaluation mode, over ``images`` test items taken evenly. Raises FileNotFoundError or ValueError for
    data or weights that are missing or wrong; see `ready`.
    """
    folder = data_folder(place)
    with alone():
        training = train.begin(run, folder, place.device)
        train.begin_phase(training, 1)
        batches, items = training.batches, evenly(training.test, images)
        before = train.build(base_of(run), folder)[0].to(batches.images.device, memory_format=batches.memory_format)
        states = [_state(model, batches, items, run) for model in (before, training.model)]
        return Look(run, *states, training.resets or _changed(before, training.model), len(items))


def by_scope(run: Run, place: Place) -> dict[str, list[dict]]:
    """The rows of `look` for either scope, for `figures.resets_by_layer`."""
    return {f"{run.case}, scope {scope}": look(replace(run, scope=scope), place, images=1).rows for scope in SCOPES}


def _state(model, batches, items, run) -> State:
    seen = []
    head = model.get_submodule(architecture(run.architecture).head)
    hook = head.register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(1).float().cpu()))
    model.eval()
    with torch.inference_mode():
        logits = [forward(model, batches(index)[0], run.precision).cpu() for index in items.split(128)]
    hook.remove()
    return State(all_weights(model), torch.cat(logits).numpy(), torch.cat(seen).numpy())


def _changed(before, after) -> list[dict]:
    """Rows for a method that reports none: the entries that are not what they were; all of a tensor that is new. What
    never competes is left out, as in `reinitialize`'s report."""
    old, rows = dict(before.named_parameters()), []
    for one in competitors(after)[0]:
        name, new = one.name, one.parameter
        same = name in old and old[name].shape == new.shape
        reset = int((old[name] != new).sum()) if same else new.numel()
        rows.append({"name": name, "kind": one.kind, "size": new.numel(), "reset": reset})
    return rows


def change(before: State, after: State) -> dict[str, float]:
    """How far outputs moved: ``flips``, the share of images whose largest logit is another class's; ``logits``, the
    mean absolute change, and ``spread``, the standard deviation before; ``kl``, the mean KL(before || after) in nats;
    ``features``, the median over images of |after - before| / |before| (NaN where their number changed)."""
    old, new = (torch.from_numpy(state.logits).double() for state in (before, after))
    kl = torch.nn.functional.kl_div(new.log_softmax(1), old.log_softmax(1), reduction="batchmean", log_target=True)
    flips, moved = (old.argmax(1) != new.argmax(1)).double().mean(), np.median(_moved(before, after))
    found = {"flips": flips, "logits": (new - old).abs().mean(), "spread": old.std(), "kl": kl, "features": moved}
    return {name: float(value) for name, value in found.items()}


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
        "logits: mean absolute change": f"{found['logits']:.3g} (standard deviation before: {found['spread']:.3g})",
        "KL divergence, before to after, mean": f"{found['kl']:.3g} nats",
        "features, which the head sees: median relative change": f"{100 * found['features']:.3g}%",
    }
    return pd.DataFrame({"how much": rows})


@style()
def output_change(seen: Look) -> Figure:
    """The same test images before and after: every logit against itself, and how far each image's features moved.
    Images whose prediction flips are crosses, and hatched."""
    flips = seen.before.logits.argmax(1) != seen.after.logits.argmax(1)
    moved = 100 * _moved(seen.before, seen.after)
    figure, axes = subplots(1, 2, height=5.5, width=8)
    left, right = axes[0]
    shown = [moved[chosen & np.isfinite(moved)] for chosen in (~flips, flips)]
    edges, base = np.histogram_bin_edges(np.concatenate(shown), 20), np.zeros(20)
    looks = ("kept", ~flips, BLUE, "o", ""), ("prediction flips", flips, RED, "x", "///")
    for (label, chosen, colour, marker, hatch), values in zip(looks, shown, strict=True):
        old, new = seen.before.logits[chosen].ravel(), seen.after.logits[chosen].ravel()
        left.plot(old, new, marker, color=colour, alpha=0.5, markersize=2.5, label=label)
        height = np.histogram(values, edges)[0]
        bars = {"color": colour, "alpha": 0.75, "hatch": hatch, "edgecolor": "white", "linewidth": 0.3}
        right.bar(edges[:-1], height, np.diff(edges), bottom=base, align="edge", **bars)
        base = base + height
    left.axline((0, 0), slope=1, color=GREY, linewidth=0.8, linestyle="--")
    caption = f"{seen.run.case}: test images before any training, the same new head; dashed: no change."
    finish(figure, axes, "", "", caption)
    left.set(title=f"logits, n = {seen.before.logits.size:,}", xlabel="before", ylabel="after")
    right.set(title=f"features, n = {sum(map(len, shown))} images", xlabel="relative change (%)", ylabel="images")
    for ax in axes.flat:
        ax.ticklabel_format(scilimits=(-3, 4))
    return figure


# --- the race ---------------------------------------------------------------------------------------------------------
class _Watch:
    """A `train.Checkpoint` that keeps nothing and shows each epoch."""

    resumed = ()

    def __init__(self, run: Run, seen):
        self.run, self.seen = run, seen

    def load(self, inputs):
        return None

    def due(self):
        return True

    def save(self, epoch, state):
        self.seen(self.run, list(state["history"]))


def race(runs, place: Place, seen=lambda run, history: None) -> list[dict]:
    """The records of these runs: the grid's or the playground's own where there are some, else from training here, one
    by one.

    ``seen(run, history)`` is called after each epoch (once for a recorded run). What is trained here is recorded under
    ``results/<profile>/playground``, apart from the grid; of a run that is interrupted nothing is kept. A run that
    diverges comes as a failed record and is not kept. Raises FileNotFoundError or ValueError for data or weights that
    are missing or wrong.
    """
    return [_finished(run, place, seen) for run in runs]


def _finished(run, place, seen) -> dict:
    if source := _source(run, place):
        record = records.load_run(run, _folders(place)[source])
        seen(run, record["history"])
        return record
    started = time.perf_counter()
    try:
        with alone():
            fitted = train.fit(run, data_folder(place), place.device, checkpoint=_Watch(run, seen))
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
        sha256 = sha256 or file_sha256(path)
    return {"data": data.load(folder, run.dataset).sha256, "weights": sha256}


def histories(shown: dict[Run, list[dict]]) -> pd.DataFrame:
    """One row per epoch of runs that may be in progress, as `frames.histories` gives for recorded ones."""
    return frames.histories([{"config": asdict(run), "history": history} for run, history in shown.items()])


@style()
def curves(histories: pd.DataFrame) -> Figure:
    """Training loss and validation accuracy by epoch, every run a line; base is black, dashed, with circles."""
    figure, axes = subplots(1, 2, height=5.5, width=8)
    runs = histories.groupby(["case", "seed"], sort=False) if len(histories) else []
    for (case, _), rows in runs:
        base = {"color": "#000000", "linestyle": "--", "marker": "o"}
        look = base if case == "base" else {"color": BLUE, "marker": "s"}
        for ax, values in zip(axes.flat, (rows.train_loss, 100 * rows.validation_accuracy), strict=True):
            ax.plot(rows.epoch, values, **look, label=case, linewidth=1.1, markersize=3, alpha=0.8)
    finish(figure, axes, "epoch", "", "Line: one run, until it stopped early or at its cap of epochs.")
    for ax, label in zip(axes.flat, ("training loss", "validation accuracy (%)"), strict=True):
        ax.set(title=f"n = {len(runs)} run{'s'[: len(runs) != 1]}", ylabel=label)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def summary(done: list[dict]) -> str:
    """The result of a race, in a sentence or two, and how little it says."""
    return " ".join(f"{said}." for said in found(frames.frame(done)))


def found(frame: pd.DataFrame) -> list[str]:
    """The same of `frames.frame` of a race's records, sentence by sentence, without full stops."""
    case = next((case for case in frame.case if case != "base"), "base")
    if len(lost := frame[frame.status == "failed"]):
        return [f"{lost.case.iloc[0]} failed with seed {lost.seed.iloc[0]}: {lost.message.iloc[0]}"]
    table = 100 * frame.pivot(index="seed", columns="case", values="accuracy")
    base, mean = table.base.mean(), table[case].mean()
    if case == "base":
        return [f"Test accuracy of base: {base:.2f}%", "Choose another case to have something beside it"]
    pairs = interval((table[case] - table.base).to_numpy())
    said = f"Test accuracy: base {base:.2f}%, {case} {mean:.2f}%, a difference of {pairs.mean:+.2f} points"
    if pairs.n == 1:
        items = int(frame.test_items.iloc[0])
        chance = float(np.sqrt(base * (100 - base) / items))
        noise = f"{items} test images alone give one a standard error of {chance:.1f} points"
        return [
            f"{said}, of which one seed tells nothing",
            f"Another seed moves accuracies by a few points, and {noise}",
        ]
    says = verdict(pairs.low, pairs.high, 1, MARGINS["points"])
    hint = "; if you tried several cases, take it for a hint" if says in ("supported", "contradicted") else ""
    bounds = f"95% interval {pairs.low:+.2f} to {pairs.high:+.2f}, n = {pairs.n} pairs"
    return [f"{said} ({bounds})", f"That {case} helps is {says}{hint}"]
