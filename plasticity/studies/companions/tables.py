"""The companion notebooks' tables: strings to show, each a pure function of frames of `frames.run_table`."""

import pandas as pd

from ...analysis.frames import METRICS, only, plain
from ...analysis.paired import difference
from ...analysis.writing import format_number
from ...methods import registry as methods
from ...networks.table import ARCHITECTURES

OURS = {"mlp": "3-layer MLP", "resnet18": "ResNet-18", "vit_tiny": "ViT-Tiny", "vgg": "VGG-16"}  # H&T, by family
SINGLE = {
    "mlp": "MLP",
    "cnn": "CNN",
    "cnn_bn": "CNN-BN",
    "vgg": "VGG-16",
    "vgg16": "VGG-16",
}  # SWR; CNN-BN has no family of its own
NOTHING = "l2 + augmentation"  # what every method of H&T section 5 has, too
RUN = ["architecture", "dataset", "network", "scenario", "case", "seed"]
ADAMW = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}


def beside_warm_start(cells: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Lee et al. 2024, tables 4 and 5, beside our means: accuracy in percent, train / test, by subset and noise; n of
    ours."""
    rows, family = [], [ARCHITECTURES[name].family for name in cells.architecture]
    for (name, subset, noise), part in cells.assign(family=family).groupby(["family", "subset", "noise"]):
        theirs = only(published, architecture=OURS[name], subset=subset, noise=noise)
        row = {"Network": OURS[name], "Subset": f"{subset:g}", "Noise": f"{noise:g}"} | _theirs(theirs)
        rows.append(row | {"Our Model": part.network.iloc[0]} | _ours(part))
    return text_table(rows)


def beside_methods(frame: pd.DataFrame, fresh: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Lee et al. 2024, tables 6 and 7, beside our means: train / test accuracy in percent after the hardest warm start;
    "fresh" has none."""
    rows = []
    for name, part in frame.groupby("network", sort=False):
        theirs = only(published, architecture=OURS[ARCHITECTURES[part.architecture.iloc[0]].family])
        for method, runs in (*part.groupby("method", sort=False), ("fresh", only(fresh, network=name))):
            rows.append({"Network": name, "Method": method} | _theirs(only(theirs, method=method)) | _ours(runs))
    return text_table(rows)


def beside_single_task(frames: dict[str, pd.DataFrame], published: pd.DataFrame) -> pd.DataFrame:
    """Oh et al. 2025, single task, beside our means: test accuracy in percent."""
    rows = []
    for title, schedule in (("single task", "constant"), ("single task, decaying", "decay")):
        for name, part in frames[title].groupby("network", sort=False):
            here = only(
                published, architecture=SINGLE[part.architecture.iloc[0].removeprefix("mini_")], schedule=schedule
            )
            for method in ("base", "l2", "l2_init", "soft_rescaling"):
                theirs = [f"{_percent(row['mean'])} ({row.dataset})" for _, row in only(here, method=method).iterrows()]
                runs = part[(part.method == method) & ~part.case.str.contains("reinit=true")]
                row = {
                    "Learning Rate": schedule,
                    "Our Model": name,
                    "Method": method,
                    "Paper": ", ".join(theirs) or "-",
                }
                rows.append(row | {"Ours": format_spread(runs.accuracy), "n": len(runs)})
    return text_table(rows)


def optimisers(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of figure 3 with a column ``setting``: the parameter that is not AdamW's default."""
    rows = frame[[*ADAMW]].to_dict("records")
    settings = [", ".join(f"{name} {row[name]:g}" for name in ADAMW if row[name] != ADAMW[name]) for row in rows]
    return frame.assign(setting=settings)


def hares(*frames: pd.DataFrame) -> pd.DataFrame:
    """The runs of hare and tortoise, each once, with its ``momentum`` and ``epochs`` between resets."""
    rows = pd.concat([frame[frame.method.str.startswith("hare_tortoise")] for frame in frames])
    rows = rows.drop_duplicates(["architecture", "dataset", "case", "seed"])
    parts = [methods.build(case.partition(" + ")[0]) for case in rows.case]
    return rows.assign(momentum=[part.momentum for part in parts], epochs=[part.epochs for part in parts])


def swap(swapped: pd.DataFrame, fresh: pd.DataFrame, warm: pd.DataFrame) -> pd.DataFrame:
    """Figure 7 of Lee et al. 2024: what the hardest warm start costs each network on each data set, in percent and
    points."""
    frame = pd.concat([swapped, only(fresh, method="base"), only(warm, method="base")])
    frame = frame.drop_duplicates(["architecture", "dataset", "scenario", "seed"])
    frame, rows = frame[frame.architecture.isin(swapped.architecture) & frame.dataset.isin(swapped.dataset)], []
    for (name, dataset), part in frame.groupby(["network", "dataset"], sort=False):
        alone, started = only(part, kind="single"), only(part, kind="warm_start")
        row = {"Network": name, "Data Set": dataset, "No Warm Start": format_spread(alone.accuracy)}
        rows.append(
            row | {"Warm Start": format_spread(started.accuracy), "Difference": str(difference(started, alone))}
        )
    return text_table(rows)


def drops(histories: pd.DataFrame) -> pd.DataFrame:
    """By run: the mean fall, as a share, of test accuracy from a phase's last epoch to the next phase's first; column
    ``drop``."""
    seen, rows = histories.dropna(subset="test_accuracy"), []
    for keys, run in seen.groupby(RUN, sort=False):
        phases = run.sort_values("epoch").groupby("phase").test_accuracy
        rows.append([*keys, float((phases.last().shift(1) - phases.first()).mean())])
    result = pd.DataFrame(rows, columns=[*RUN, "drop"]).astype({"drop": float})
    return result.assign(method=[plain(case) for case in result.case])


def continual(frame: pd.DataFrame, histories: pd.DataFrame) -> pd.DataFrame:
    """At the end, on the way (mean over all epochs) and the drops at new phases: means over networks and seeds, and
    each method minus nothing more done, points."""
    falls, rows = drops(histories), []
    base, flat = only(frame, method=NOTHING), only(falls, method=NOTHING)
    for method, part in frame.groupby("method", sort=False):  # not by case: the digits have another augmentation
        fall = only(falls, method=method)
        found = difference(part, base), difference(part, base, "online_accuracy"), difference(fall, flat, "drop")
        final, online, drop = ("-" if method == NOTHING else str(each) for each in found)
        means = _percent(part.accuracy.mean()), _percent(fall["drop"].mean())
        row = {"Method": method, "Final Accuracy": means[0], "Final, Minus Nothing More": final}
        row |= {"On the Way, Minus Nothing More": online, "Drop": means[1], "Drop, Minus Nothing More": drop}
        rows.append(row)
    return text_table(rows)


def between(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """``one`` minus ``other``, by method and network."""
    rows = []
    for (case, name), part in one.groupby(["case", "network"], sort=False):
        found = difference(part, only(other, case=case, network=name))
        rows.append({"Method": plain(case), "Network": name, "Difference": str(found)})
    return text_table(rows)


def by_scenario(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Each method minus base, one row per scenario and method, one column per network, and over all."""
    rows = []
    for title, frame in frames.items():
        base, names = only(frame, case="base"), frame.network.unique()
        for method, part in frame.assign(method=short(frame.case))[frame.case != "base"].groupby("method", sort=False):
            each = {name: str(difference(only(part, network=name), base)) for name in names}
            rows.append({"Scenario": title, "Method": method} | each | {"All": str(difference(part, base))})
    return text_table(rows)


def short(cases: pd.Series) -> list[str]:
    """Cases without numbers, but for the variant that takes new target norms at each decay."""
    return [plain(case) + (", re-init" if "reinit=true" in case else "") for case in cases]


def metric_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Means of the plasticity metrics at the end of the first phase, one row per method, over the networks that it
    fits."""
    rows = []
    for method, part in frame.groupby("method", sort=False):
        means = {name.replace("_", " "): format_number(part[f"first_{name}"].mean(), ".3g") for name in METRICS}
        rows.append({"Method": method} | means | {"Networks": part.network.nunique(), "n": len(part)})
    return text_table(rows)


def correlation_table(tables) -> pd.DataFrame:
    """Several tables of `paired.correlations` below each other, as text."""
    rows = []
    for row in (row for table in tables for row in table.itertuples()):
        named = {"Over": row.over, "Network": row.network, "Metric": row.metric.replace("_", " ")}
        rows.append(named | {"r": format_number(row.r, ".3g"), "95% Interval": _bounds(row), "n": row.n})
    return text_table(rows)


def written(ranking: pd.DataFrame) -> pd.DataFrame:
    """A ranking as text."""
    rows = []
    for row in ranking.itertuples(index=False):
        shown = {"Method": row.case, "Difference": f"{row.mean:+.2f}" if row.n else "-", "95% Interval": _bounds(row)}
        rows.append(shown | {"Cells Above Base": row[-1], "n": row.n})
    return text_table(rows)


def together(frame: pd.DataFrame) -> pd.DataFrame:
    """Combinations minus each of their parts, which must be cases of their own."""
    there, rows = {case: only(frame, case=case) for case in frame.case.unique()}, []
    for case, runs in there.items():
        for part in case.split(" + "):
            if part in there and part != case:
                found = str(difference(runs, there[part]))
                rows.append({"Combination": plain(case), "Minus": plain(part), "Difference": found})
    return text_table(rows)


def _theirs(published: pd.DataFrame) -> dict[str, str]:
    numbers = published.set_index("metric")["mean"]
    return {f"Paper: {metric.title()}": _percent(numbers.get(metric)) for metric in ("train", "test")}


def _ours(runs: pd.DataFrame) -> dict:
    return {
        "Ours: Train": format_spread(runs.train_accuracy),
        "Ours: Test": format_spread(runs.accuracy),
        "n": len(runs),
    }


def format_spread(values: pd.Series) -> str:
    """Mean and standard deviation of shares, in percent."""
    values = 100 * values.dropna()
    if not len(values):
        return "-"
    return f"{values.mean():.1f}" + (f" ± {values.std():.1f}" if len(values) > 1 else "")


def _bounds(row) -> str:
    return f"[{row.low:+.2f}, {row.high:+.2f}]" if row.low == row.low else "-"


def _percent(value: float | None) -> str:
    return "-" if value is None or value != value else f"{100 * value:.1f}"


def text_table(rows: list[dict]) -> pd.DataFrame:
    """Rows as a table of text; what is missing is "-"."""
    table = pd.DataFrame(rows, columns=None if rows else ["No Runs"])  # a file without columns would be no table
    return table.where(table.notna(), "-").astype(str)
