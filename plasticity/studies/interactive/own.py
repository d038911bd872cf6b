"""Your network on your images: a folder packed once, base against 10M over some seeds, and what the difference says.

For example:

    runs = own.prepare("resnet18", "photos", "data")  # photos/<class>/*.jpg
    done = run_all(runs, Place("data", "results/own"))
    print(own.sentence(frames.frame(done)))
"""

import math
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from scipy import stats as scipy_stats

from ... import data, train
from ...analysis import figures
from ...analysis import paired as comparisons
from ...analysis.frames import PAIR
from ...analysis.paired import Difference
from ...analysis.verdict import CONFIDENCE, MARGINS, verdict
from ...datasets.folder import example_folder, pack_folder
from ...networks import table as networks
from ...reinit import reinitialize
from ...run import Run
from ...weights import fetch_weights, weights_file

# Chosen on the base case alone, two seeds on the example folder (when one of its classes was another photograph): with
# half of profile imagenet's learning rate the validation loss fell more steadily. Constant, as in the paper, so that
# early stopping tells how fast a case is. Small batches, as such folders are small: 160 images, 128 of them to learn
# from, make 8 steps an epoch.
TRAINING = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.005, "batch_size": 16, "augment": "flip"}
MINI = 64, 5, TRAINING | {"max_epochs": 10, "patience": 3}
QUICK = 64, 2, TRAINING | {"max_epochs": 2, "patience": 1}
PAPER = 0, 10, TRAINING | {"batch_size": 32, "augment": "released", "max_epochs": 200, "patience": 10}
# Of a profile: the images' edge in pixels (0: the network's own), seeds of each case, and fields of `Run`.
PROTOCOLS = {"mini": MINI, "quick": QUICK, "paper": PAPER, "imagenet": MINI, "imagenet_quick": QUICK}


def prepare(model: str, images: str, folder: str | Path, profile: str = "mini", repeats: int = 0) -> tuple[Run, ...]:
    """Fetch a network's weights, pack a folder of images, and return the runs to do: base and 10M with each seed.

    model: a name of this project's networks or of timm; images: see `folder.listing`, "" makes a small example; folder:
    where data and weights go; repeats: seeds, 0 stands for the profile's own number. Raises ValueError for what is not
    allowed, and FileNotFoundError, saying what to put where, for weights that can't be downloaded.
    """
    if profile not in PROTOCOLS:
        allowed = ", ".join(map(repr, PROTOCOLS))
        raise ValueError(f"profile={profile!r} has no protocol for your own network; allowed: {allowed}")
    if not isinstance(repeats, int) or repeats < 0:
        raise ValueError(f"repeats={repeats!r} must be an integer; 0 stands for the profile's own")
    edge, seeds, training = PROTOCOLS[profile]
    _require_resettable(architecture(model))
    fetch_weights(architecture(model), "imagenet", folder)
    dataset = pack_folder(images or example_folder(folder), folder, pixels(model, edge))
    return runs(model, dataset, repeats or seeds, **training)


def _require_resettable(architecture: str):
    """Refuse a network whose weights 10M can't judge before its base runs are paid for."""
    try:
        reinitialize(networks.build(architecture, 2, seed=0), "10M", dry_run=True)
    except ValueError as error:
        raise ValueError(
            f"network {architecture.removeprefix(networks.TIMM)!r} can't be re-initialised: {error}"
        ) from None


def architecture(model: str) -> str:
    """The name by which `Run` knows a network: of networks.ARCHITECTURES, else timm's. Raises ValueError for others."""
    name = model if model in networks.ARCHITECTURES or model.startswith(networks.TIMM) else networks.TIMM + model
    networks.architecture(name)
    return name


def pixels(model: str, wanted: int = 0) -> int:
    """Edge of the images for a network: its own if it takes no other, or if ``wanted`` is 0."""
    network = networks.architecture(architecture(model))
    return network.image_size if network.fixed or not wanted else wanted


def contact_sheet(folder: str | Path, dataset: str) -> Figure:
    """Some training images of a packed folder, by class, under the folder's name."""
    packed = data.load(folder, dataset)
    return figures.contact_sheet(replace(packed, name=dataset.removeprefix("folder_").rpartition("-")[0]))


# --- the runs ---------------------------------------------------------------------------------------------------------
def runs(model: str, dataset: str, repeats: int = 5, case: str = "10M", **training) -> tuple[Run, ...]:
    """Base and ``case`` with seeds 0 to ``repeats`` - 1 on a packed folder; ``training``: fields of `Run`, if not
    `MINI`'s.

    A pair of one seed shares head, validation images, batch order and augmentation. Raises ValueError as `Run` does.
    """
    cases, settings = ("base", case), MINI[2] | training
    return tuple(Run(architecture(model), dataset, each, seed, **settings) for seed in range(repeats) for each in cases)


def settings(run: Run, folder: str | Path) -> str:
    """How a run is trained, in one line."""
    weights, _ = weights_file(run.architecture, run.weights, folder)
    fields = ", ".join(f"{name} {getattr(run, name)}" for name in MINI[2])
    return f"{run.architecture}, weights {weights.name}; {fields}"


def resets(run: Run, record: dict, folder: str | Path) -> dict[str, list[dict]]:
    """Rows for figures.resets_by_layer: what the run reset, and where the smallest weights of the whole network lie."""
    model, smallest = train.build(run, folder)[0], "the smallest of all weights"
    report = reinitialize(model, run.case, reading=run.reading, scope="global", dry_run=True)
    return {f"{run.case}, as run": record["resets"], smallest: [asdict(tensor) for tensor in report.tensors]}


# --- the verdict ------------------------------------------------------------------------------------------------------
def comparison(frame: pd.DataFrame) -> pd.DataFrame:
    """Base against the other case of a frame of runs, as strings: accuracy (%) and epochs, and the verdicts on "it
    helps" and "it stops earlier" (`analysis.verdict`), by the paired difference and its 95% interval (Student's t
    over seeds).

    An interval is never taken for narrower than the grain of the numbers allows: one test image, one epoch. Raises
    ValueError unless there are base and one other case.
    """
    case = _case(frame)
    grain = 100 / frame.test_items.min() if "test_items" in frame else 0.0
    rows = {
        "Test accuracy (%)": _row(frame, "accuracy", 100, grain, f"{case} helps", 1, "points"),
        "Epochs until stopped": _row(frame, "epochs", 1, 1.0, f"{case} stops earlier", -1, "epochs"),
    }
    return pd.DataFrame([{"Measure": title} | row for title, row in rows.items()])


def _row(frame: pd.DataFrame, value: str, scale: float, grain: float, claim: str, side: int, unit: str) -> dict:
    case, done = _case(frame), frame[frame.status == "done"]
    sides = {
        name: done[done.case == name].reindex(columns=[*PAIR, "case", "scenario", value]) for name in ("base", case)
    }
    means = {name: scale * rows[value].mean() for name, rows in sides.items()}
    found = widened(comparisons.difference(sides[case], sides["base"], value, scale), grain)
    margin = MARGINS["points"] if unit == "points" else MARGINS["% of base's epochs"] / 100 * means["base"]
    said = verdict(found.low, found.high, side, margin)
    if said == "undecided":
        said += f", {found.n} seeds show a difference only beyond about {(found.high - found.low) / 2:.1f} {unit}"
    if found.n < 2:
        said += ", it takes two pairs of finished runs"
    texts = {"Base": means.pop("base")} | means
    texts = {name: f"{mean:.1f}" if mean == mean else "-" for name, mean in texts.items()}
    text = str(found).partition(" (n")[0]
    return texts | {"Difference": text, "n": str(found.n), "Verdict": f"{claim}: {said}"}


def sentence(frame: pd.DataFrame) -> str:
    """The accuracy of `comparison` in words, failed runs counted."""
    failed = int((frame.status != "done").sum())
    return " ".join(f"{said}." for said in found(comparison(frame), failed))


def found(table: pd.DataFrame, failed: int = 0) -> list[str]:
    """The first row of `comparison`, sentence by sentence, without full stops."""
    row = table.iloc[0]
    case = next(name for name in table.columns if name not in ("Measure", "Base", "Difference", "n", "Verdict"))
    means = f"Base reaches {row['Base']}%, {case} {row[case]}%: {row['Difference']} points over {row['n']} seeds"
    return [means, row["Verdict"], *[f"{failed} runs failed and count nowhere"] * bool(failed)]


def widened(found: Difference, grain: float) -> Difference:
    """The difference with an interval at least as wide as that of numbers which are known to ``grain`` alone.

    Where each of five seeds gains exactly one test image, the spread is zero only because images can't be split.
    """
    if found.n < 2:
        return found
    half = scipy_stats.t.ppf(0.5 + CONFIDENCE / 2, found.n - 1) * grain / math.sqrt(12 * found.n)
    return Difference(found.n, found.mean, min(found.low, found.mean - half), max(found.high, found.mean + half))


def _case(frame: pd.DataFrame) -> str:
    cases = sorted(set(frame.case))
    others = [case for case in cases if case != "base"]
    if "base" not in cases or len(others) != 1:
        raise ValueError(f"a verdict needs runs of base and of one other case, got: {', '.join(cases) or 'none'}")
    return others[0]


@figures.style()
def by_seed(frame: pd.DataFrame) -> Figure:
    """Test accuracy of base and of the other case, a pair of dots for each seed side by side, and both means."""
    case, figure = _case(frame), Figure(figsize=(12 * figures.CM, 7.5 * figures.CM), layout="constrained")
    axes = figure.subplots()
    accuracy = frame[frame.status == "done"].pivot(index="seed", columns="case", values="accuracy")
    table = 100 * accuracy.reindex(columns=["base", case])
    for seed, pair in table.iterrows():
        axes.plot([seed - 0.1, seed + 0.1], pair, color=figures.GREY, linewidth=0.8, zorder=1)
    for name, shift, colour, marker in (("base", -0.1, figures.COLOURS["base"], "o"), (case, 0.1, figures.BLUE, "s")):
        axes.plot(table.index + shift, table[name], marker, color=colour, label=name, markersize=5)
        axes.axhline(table[name].mean(), color=colour, linestyle="--", linewidth=0.8)
    axes.set(xlabel="seed", ylabel="test accuracy (%)", xticks=sorted(set(frame.seed)))
    title = figures.network_title(frame.architecture.iloc[0])
    axes.set_title(f"{title}, n = {len(table.dropna())} pairs; dashed: means")
    axes.margins(y=0.15)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def example(name: str) -> str:
    """A script of the ``examples`` folder as Markdown. Raises FileNotFoundError, naming the known, for another name."""
    folder = Path(__file__).resolve().parents[3] / "examples"
    if not (folder / f"{name}.py").is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.py")))
        raise FileNotFoundError(f"{folder / name}.py is missing; there are: {known}")
    return f"```python\n{(folder / f'{name}.py').read_text('utf-8')}```"
