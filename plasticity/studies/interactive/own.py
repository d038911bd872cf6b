"""Your network on your images: a folder packed once, base against a case over some seeds, and what the difference says.

dataset = own.pack_folder("photos", "data", 64)                    # photos/<class>/*.jpg
train.fetch_weights(own.architecture("resnet18"), "imagenet", "data")
done = run_all(own.runs("resnet18", dataset), Place("data", "results/own"))
print(own.sentence(records.frame(done)))
"""

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from scipy import stats as scipy_stats

from ... import data, train
from ...analysis import figures
from ...analysis import paired as comparisons
from ...analysis.frames import PAIR
from ...analysis.paired import Difference
from ...analysis.verdict import CONFIDENCE
from ...networks import table as models
from ...reinit import reinitialize
from ...run import Run

# Chosen on the base case alone, two seeds on the example folder (when one of its classes was another photograph): with half of
# profile imagenet's learning rate the validation loss fell more steadily. Constant, as in the paper, so that early stopping tells how
# fast a case is. Small batches, as such folders are small: 160 images, 128 of them to learn from, make 8 steps an epoch.
TRAINING = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.005, "batch_size": 16, "augment": "flip"}


@dataclass(frozen=True)
class Protocol:
    """How a profile treats an own network: pixels (0: the network's own size), seeds of each case, and fields of `Run`."""

    pixels: int
    repeats: int
    training: dict = field(hash=False)


PROTOCOLS = {
    "mini": Protocol(64, 5, TRAINING | {"max_epochs": 10, "patience": 3}),
    "quick": Protocol(64, 2, TRAINING | {"max_epochs": 2, "patience": 1}),
    "paper": Protocol(0, 10, TRAINING | {"batch_size": 32, "augment": "released", "max_epochs": 200, "patience": 10}),
}
PROTOCOLS |= {"imagenet": PROTOCOLS["mini"], "imagenet_quick": PROTOCOLS["quick"]}


def protocol(profile: str, repeats: int = 0) -> Protocol:
    """The protocol of that profile; ``repeats`` above zero replace its own. Raises ValueError for others."""
    if profile not in PROTOCOLS:
        raise ValueError(
            f"profile={profile!r} has no protocol for your own network; allowed: {', '.join(map(repr, PROTOCOLS))}"
        )
    if not isinstance(repeats, int) or repeats < 0:
        raise ValueError(f"repeats={repeats!r} must be an integer; 0 stands for the profile's own")
    chosen = PROTOCOLS[profile]
    return Protocol(chosen.pixels, repeats or chosen.repeats, chosen.training)


def architecture(model: str) -> str:
    """The name by which `Run` knows a network: one of models.ARCHITECTURES, else timm's. Raises ValueError if neither has it."""
    name = model if model in models.ARCHITECTURES or model.startswith(models.TIMM) else models.TIMM + model
    models.architecture(name)
    return name


def pixels(model: str, wanted: int = 0) -> int:
    """Edge of the images for a network: its own if it takes no other, or if ``wanted`` is 0."""
    network = models.architecture(architecture(model))
    return network.image_size if network.fixed or not wanted else wanted


def contact_sheet(folder: str | Path, dataset: str) -> Figure:
    """Some training images of a packed folder, by class, under the folder's name."""
    packed = data.load(folder, dataset)
    return figures.contact_sheet(replace(packed, name=dataset.removeprefix("folder_").rpartition("-")[0]))


# --- the runs ---------------------------------------------------------------------------------------------------------
def runs(model: str, dataset: str, repeats: int = 5, case: str = "10M", **training) -> tuple[Run, ...]:
    """Base and ``case`` with seeds 0 to ``repeats`` - 1 on a packed folder; ``training``: fields of `Run` that replace `TRAINING`'s.

    A pair of one seed shares head, validation images, batch order and augmentation. Raises ValueError as `Run` does.
    """
    settings = PROTOCOLS["mini"].training | training
    return tuple(
        Run(architecture(model), dataset, each, seed, **settings) for seed in range(repeats) for each in ("base", case)
    )


def resets(run: Run, record: dict, folder: str | Path) -> dict[str, list[dict]]:
    """Rows for figures.resets_by_layer: what the run reset, and where as many of the smallest weights of the whole network lie."""
    report = reinitialize(train.build(run, folder)[0], run.case, reading=run.reading, scope="global", dry_run=True)
    return {
        f"{run.case}, as run": record["resets"],
        "the smallest of all weights": [asdict(tensor) for tensor in report.tensors],
    }


# --- the verdict ------------------------------------------------------------------------------------------------------
def verdict(frame: pd.DataFrame) -> pd.DataFrame:
    """Base against the other case of a frame of runs, as strings: accuracy (%) and epochs, their paired difference with its 95%
    interval (Student's t over seeds), n pairs, and the verdict in words. Raises ValueError unless there are base and one other case.

    An interval is never taken for narrower than the grain of the numbers allows: one test image, one epoch.
    """
    case = _case(frame)
    grain = 100 / frame.test_items.min() if "test_items" in frame else 0.0
    rows = [
        _row(frame, case, "Test accuracy (%)", "accuracy", 100, grain, (f"{case} helps", f"{case} hurts", "points")),
        _row(
            frame,
            case,
            "Epochs until stopped",
            "epochs",
            1,
            1.0,
            (f"{case} stops later", f"{case} stops earlier", "epochs"),
        ),
    ]
    return pd.DataFrame(rows)


def _row(
    frame: pd.DataFrame, case: str, title: str, value: str, scale: float, grain: float, words: tuple[str, str, str]
) -> dict:
    base, other = (_done(frame, each).reindex(columns=[*PAIR, "case", "scenario", value]) for each in ("base", case))
    found = widened(comparisons.difference(other, base, value, scale), grain)
    means = {name: scale * rows[value].mean() for name, rows in (("Base", base), (case, other))}
    shown = {name: f"{mean:.1f}" if mean == mean else "-" for name, mean in means.items()}
    text = str(found).partition(" (n")[0]
    return {"Measure": title} | shown | {"Difference": text, "n": str(found.n), "Verdict": says(found, *words)}


def sentence(frame: pd.DataFrame) -> str:
    """The first line of `verdict` in words, failed runs counted."""
    case, row = _case(frame), verdict(frame).iloc[0]
    failed = int((frame.status != "done").sum())
    return (
        f"Base reaches {row['Base']}%, {case} {row[case]}%: {row['Difference']} points over {row['n']} seeds; {row['Verdict']}."
        + (f" {failed} runs failed and count nowhere." if failed else "")
    )


def widened(found: Difference, grain: float) -> Difference:
    """The difference with an interval at least as wide as that of numbers which are known to ``grain`` alone.

    Where each of five seeds gains exactly one test image, the spread is zero only because images can't be split.
    """
    if found.n < 2:
        return found
    half = scipy_stats.t.ppf(0.5 + CONFIDENCE / 2, found.n - 1) * grain / math.sqrt(12 * found.n)
    return Difference(found.n, found.mean, min(found.low, found.mean - half), max(found.high, found.mean + half))


def says(found: Difference, more: str, less: str, unit: str) -> str:
    """What an interval says, in plain words."""
    if found.n < 2:
        return "not tested: it takes two pairs of finished runs"
    if found.low > 0 or found.high < 0:
        return more if found.low > 0 else less
    return f"no difference seen; {found.n} seeds show one only beyond about {(found.high - found.low) / 2:.1f} {unit}"


def _case(frame: pd.DataFrame) -> str:
    others = sorted(set(frame.case) - {"base"})
    if "base" not in set(frame.case) or len(others) != 1:
        raise ValueError(
            f"a verdict needs runs of base and of one other case, got: {', '.join(sorted(set(frame.case))) or 'none'}"
        )
    return others[0]


def _done(frame: pd.DataFrame, case: str) -> pd.DataFrame:
    return frame[(frame.case == case) & (frame.status == "done")]


@figures.style()
def by_seed(frame: pd.DataFrame) -> Figure:
    """Test accuracy of base and of the other case, a pair of dots a seed side by side, and both means."""
    case, figure = _case(frame), Figure(figsize=(12 * figures.CM, 7.5 * figures.CM), layout="constrained")
    axes = figure.subplots()
    table = (100 * frame[frame.status == "done"].pivot(index="seed", columns="case", values="accuracy")).reindex(
        columns=["base", case]
    )
    for seed, pair in table.iterrows():
        axes.plot([seed - 0.1, seed + 0.1], pair, color=figures.GREY, linewidth=0.8, zorder=1)
    for name, shift, colour, marker in (("base", -0.1, figures.COLOURS["base"], "o"), (case, 0.1, figures.BLUE, "s")):
        axes.plot(table.index + shift, table[name], marker, color=colour, label=name, markersize=5)
        axes.axhline(table[name].mean(), color=colour, linestyle="--", linewidth=0.8)
    axes.set(xlabel="seed", ylabel="test accuracy (%)", xticks=sorted(set(frame.seed)))
    axes.set_title(
        f"{figures.network_title(frame.architecture.iloc[0])}, n = {len(table.dropna())} pairs; dashed: means"
    )
    axes.margins(y=0.15)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def example(name: str) -> str:
    """A script of the ``examples`` folder as Markdown. Raises FileNotFoundError, naming the known, for another name."""
    folder = Path(__file__).resolve().parents[3] / "examples"
    if not (folder / f"{name}.py").is_file():
        raise FileNotFoundError(
            f"{folder / name}.py is missing; there are: {', '.join(sorted(f.stem for f in folder.glob('*.py')))}"
        )
    return f"```python\n{(folder / f'{name}.py').read_text()}```"
