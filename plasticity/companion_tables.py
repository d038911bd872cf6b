"""The companion notebooks' tables: strings to show, each a pure function of frames of `comparisons.table`."""

import pandas as pd

from . import methods
from .comparisons import METRICS, among, difference, means, only, plain
from .models import ARCHITECTURES

HARDEST = "subset 0.1, noise 0.5"
OURS = {"mlp": "3-layer MLP", "resnet18": "ResNet-18", "vit_tiny": "ViT-Tiny", "vgg": "VGG-16", "cnn": "CNN", "cnn_bn": "CNN-BN"}


def beside_warm_start(cells: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Lee et al. 2024, tables 4 and 5, beside our means: accuracy in percent, train / test, by subset and noise; n of ours."""
    rows, family = [], [ARCHITECTURES[name].family for name in cells.architecture]
    for (name, subset, noise), part in cells.assign(family=family).groupby(["family", "subset", "noise"]):
        theirs = only(published, architecture=OURS[name], subset=subset, noise=noise).set_index("metric")["mean"]
        rows.append({"Network": OURS[name], "Subset": f"{subset:g}", "Noise": f"{noise:g}", "Paper: Train": _percent(theirs.get("train")),
                     "Paper: Test": _percent(theirs.get("test")), "Our Model": part.network.iloc[0],
                     "Ours: Train": _spread(part.train_accuracy), "Ours: Test": _spread(part.accuracy), "n": len(part)})  # fmt: skip
    return _text(rows)


def beside_methods(frame: pd.DataFrame, fresh: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Lee et al. 2024, tables 6 and 7, beside our means: train / test accuracy in percent after the hardest warm start; "fresh" has none."""
    ours = pd.concat([frame, fresh.assign(method="fresh")])
    rows = []
    for name, part in ours.groupby("network", sort=False):
        theirs = only(published, architecture=OURS[ARCHITECTURES[part.architecture.iloc[0]].family])
        for method, runs in part.groupby("method", sort=False):
            numbers = only(theirs, method=method).set_index("metric")["mean"]
            rows.append({"Network": name, "Method": method, "Paper: Train": _percent(numbers.get("train")), "Paper: Test": _percent(numbers.get("test")),
                         "Ours: Train": _spread(runs.train_accuracy), "Ours: Test": _spread(runs.accuracy), "n": len(runs)})  # fmt: skip
    return _text(rows)


def beside_single_task(frames: dict[str, pd.DataFrame], published: pd.DataFrame) -> pd.DataFrame:
    """Oh et al. 2025, single task, beside our means: test accuracy in percent."""
    rows = []
    for title, schedule in (("single task", "constant"), ("single task, decaying", "decay")):
        for name, part in frames[title].groupby("network", sort=False):
            here = only(published, architecture=OURS[ARCHITECTURES[part.architecture.iloc[0]].family], schedule=schedule)
            for method in ("base", "l2", "l2_init", "soft_rescaling"):
                theirs = [f"{_percent(row['mean'])} ({row.dataset})" for _, row in only(here, method=method).iterrows()]
                runs = part[(part.method == method) & ~part.case.str.contains("reinit=true")]
                rows.append({"Learning Rate": schedule, "Our Model": name, "Method": method, "Paper": ", ".join(theirs) or "-",
                             "Ours": _spread(runs.accuracy), "n": len(runs)})  # fmt: skip
    return _text(rows)


def optimisers(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of figure 3 with a column ``setting``: the parameter that is not AdamW's default."""
    defaults = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    settings = [", ".join(f"{name} {row[name]:g}" for name in defaults if row[name] != defaults[name]) for _, row in frame.iterrows()]
    return frame.assign(setting=settings)


def hares(*frames: pd.DataFrame) -> pd.DataFrame:
    """The runs of hare and tortoise, each once, with its ``momentum`` and ``every``."""
    rows = pd.concat(frames)
    rows = rows[rows.method.str.startswith("hare_tortoise")].drop_duplicates(["architecture", "dataset", "case", "seed"])
    parts = [methods.build(case.partition(" + ")[0]) for case in rows.case]
    return rows.assign(momentum=[part.momentum for part in parts], every=[part.every for part in parts])


def swap(swapped: pd.DataFrame, fresh: pd.DataFrame, warm: pd.DataFrame) -> pd.DataFrame:
    """Figure 7 of Lee et al. 2024: what the hardest warm start costs each network on each data set, in percent and points."""
    rows = []
    frame = pd.concat([swapped, only(fresh, method="base"), only(warm, method="base")]).drop_duplicates(["architecture", "dataset", "scenario", "seed"])
    frame = frame[frame.architecture.isin(swapped.architecture) & frame.dataset.isin(swapped.dataset)]
    for (name, dataset), part in frame.groupby(["network", "dataset"], sort=False):
        alone, started = only(part, kind="single"), only(part, kind="warm_start")
        rows.append({"Network": name, "Data Set": dataset, "No Warm Start": _spread(alone.accuracy), "Warm Start": _spread(started.accuracy),
                     "Difference": str(difference(started, alone))})  # fmt: skip
    return _text(rows)


def drops(histories: pd.DataFrame) -> pd.DataFrame:
    """By run: the mean fall, as a share, of test accuracy from a phase's last epoch to the next phase's first; column ``drop``."""
    seen, rows = histories.dropna(subset="test_accuracy"), []
    for keys, run in seen.groupby(["architecture", "dataset", "network", "scenario", "case", "seed"], sort=False):
        ends, begins = (getattr(run.sort_values("epoch").groupby("phase").test_accuracy, name)() for name in ("last", "first"))
        rows.append([*keys, float((ends.shift(1) - begins).mean())])
    names = ["architecture", "dataset", "network", "scenario", "case", "seed", "drop"]
    result = pd.DataFrame(rows, columns=names)
    return result.assign(method=[plain(case) for case in result.case])


def continual(frame: pd.DataFrame, histories: pd.DataFrame) -> pd.DataFrame:
    """At the end, on the way (mean over all epochs) and the drops at new phases: each method minus nothing more done, points."""
    falls, rows = drops(histories), []
    base, flat = only(frame, method="l2 + augmentation"), only(falls, method="l2 + augmentation")
    for case, part in frame.groupby("case", sort=False):
        rows.append({"Method": plain(case), "Final Accuracy": _spread(part.accuracy), "Final, Minus Nothing More": str(difference(part, base)),
                     "On the Way, Minus Nothing More": str(difference(part, base, "online_accuracy")),
                     "Drop": _spread(only(falls, case=case)["drop"]),
                     "Drop, Minus Nothing More": str(difference(only(falls, case=case), flat, "drop"))})  # fmt: skip
    return _text(rows)


def between(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """``one`` minus ``other``, by method and network."""
    rows = [{"Method": plain(case), "Network": name, "Difference": str(difference(part, among(only(other, case=case, network=name), part)))}
            for (case, name), part in one.groupby(["case", "network"], sort=False)]  # fmt: skip
    return _text(rows)


def by_scenario(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Each method minus base, a row a scenario and method, a column a network, and over all."""
    rows = []
    for title, frame in frames.items():
        base = only(frame, case="base")
        groups = frame[frame.case != "base"].assign(method=short(frame[frame.case != "base"].case))
        for method, part in groups.groupby("method", sort=False):
            each = {name: difference(only(part, network=name), only(base, network=name)) for name in frame.network.unique()}
            rows.append({"Scenario": title, "Method": method} | {name: str(d) for name, d in each.items()} | {"All": str(difference(part, base))})
    return _text(rows)


def short(cases: pd.Series) -> list[str]:
    """Cases without numbers, but for the variant that takes new target norms at each decay."""
    return [plain(case) + (", re-init" if "reinit=true" in case else "") for case in cases]


def metric_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Means of the plasticity metrics at the end of the first phase, a row a method."""
    rows = [{"Method": method} | {name.replace("_", " "): _plain_number(part[f"first_{name}"].astype(float).mean()) for name in METRICS} | {"n": len(part)}
            for method, part in frame.groupby("method", sort=False)]  # fmt: skip
    return _text(rows)


def correlation_table(tables) -> pd.DataFrame:
    """Several tables of `comparisons.correlations` below each other, as text."""
    rows = [{"Over": row.over, "Network": row.network, "Metric": row.metric.replace("_", " "), "r": _plain_number(row.r),
             "95% Interval": f"[{row.low:+.2f}, {row.high:+.2f}]" if row.r == row.r else "-", "n": row.n}
            for table in tables for row in table.itertuples()]  # fmt: skip
    return _text(rows)


def written(ranking: pd.DataFrame) -> pd.DataFrame:
    """A ranking as text."""
    rows = [{"Method": row.case, "Difference": f"{row.mean:+.2f}", "95% Interval": f"[{row.low:+.2f}, {row.high:+.2f}]" if row.low == row.low else "-",
             "Cells Above Base": row[-1], "n": row.n} for row in ranking.itertuples(index=False)]  # fmt: skip
    return _text(rows)


def together(frame: pd.DataFrame) -> pd.DataFrame:
    """Combinations minus each of their parts, which must be cases of their own."""
    rows, there = [], set(frame.case)
    for case in dict.fromkeys(case for case in frame.case if " + " in case):
        for part in (part for part in case.split(" + ") if part in there):
            rows.append({"Combination": plain(case), "Minus": plain(part), "Difference": str(difference(only(frame, case=case), only(frame, case=part)))})
    return _text(rows)


def accuracy_means(frame: pd.DataFrame) -> pd.DataFrame:
    """n, mean and std of test accuracy in percent by network and case."""
    table = means(frame, ["network", "case"])
    return _text([{"Network": r.network, "Case": r.case, "Accuracy": f"{r.mean:.1f} ± {r.std:.1f}", "n": r.n} for r in table.itertuples(index=False)])


def _spread(values: pd.Series) -> str:
    values = 100 * values.dropna().astype(float)
    if not len(values):
        return "-"
    return f"{values.mean():.1f}" + (f" ± {values.std():.1f}" if len(values) > 1 else "")


def _percent(value) -> str:
    return "-" if value is None or value != value else f"{100 * value:.1f}"


def _plain_number(value) -> str:
    return "-" if value != value else f"{value:.3g}"


def _text(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(rows).astype(str)


