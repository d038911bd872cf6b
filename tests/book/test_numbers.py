"""Every result that README and docs/ state stands in a table of reference/. Here is which number in which cell."""

import re
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "reference"
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
NUMBER = re.compile(r"[-+]?\d+(?:,\d{3})*(?:\.\d+)?")
RESULT = re.compile(  # what a reader takes for a result; years, sizes and settings need no table
    r"(?<![\w.,])[-+]\d+\.\d+|\bp = [\d.]+|\d[\d.,]* (?:points|times|images/s)|\d+ of (?:the )?\d+|\d+(?:\.\d+)?%"
)
EXEMPT = [
    "had 5 N ahead of base by 3.9 points on the ResNet's solar cells, p = 0.004",  # an earlier grid, since replaced
    "with 25% more images",
    "that gave H&T -10.2 points against nothing more",  # the averages' first settings, since corrected
    "25 M comes to +0.46 points instead of about nothing, 10 M to -0.26 instead of -0.05",  # before and after
    "25% is ahead of 5%, by an interval",
    "5% is ahead of 25%.",
    "the simulation's own error (0.4 points)",
    "takes to fit 80% of its training data",  # the rule
    "a third of the network, the paper's 18%",
    "Hare & Tortoise cost 3.9 points in an earlier version",  # since corrected
    "13 points by which `biases` is behind",  # a difference of two cells that the page shows
    "10% of each weight tensor",
    "room for half a point (5% of the epochs)",
    "intervals are 95%",
    "its 95% interval",
    "(ratio 6.3, median of 3,",  # `make benchmark` prints these
    "about 3 of 4 rows",  # 74.9% in reference/audit_power.md
    "1250 fits all 13 rows",
    "on copies of 94, 40 and 50 images",
]


@cache
def table(name: str) -> pd.DataFrame:
    return pd.read_csv(REFERENCE / f"{name}.csv", dtype=str, keep_default_na=False)


def numbers(text: str) -> list[float]:
    return [float(found.replace(",", "")) for found in NUMBER.findall(text)]


def cell(name: str, row: str, column: str) -> list[float]:
    """The numbers in a column of the one row that has all of ``row``'s entries, which semicolons separate."""
    wanted = set(row.split("; "))
    (found,) = [i for i, entries in enumerate(table(name).values.tolist()) if wanted <= set(entries)]
    return numbers(table(name)[column][found])


def span(cases: str) -> list[float]:
    """The smallest and the largest mean difference from base of the cases whose names match."""
    frame = table("tables/20_effects")
    found = frame["All"][frame["Case"].str.fullmatch(cases)].astype(float)
    return [found.min(), found.max()]


def count(name: str, column: str, *entries: str) -> list[int]:
    return [list(table(name)[column]).count(entry) for entry in entries]


def best(case: str) -> list[float]:
    """Gain and p of the best case on a target of profile imagenet."""
    return [cell("imagenet/tables/20_beside_paper", case, f"Ours: {column}")[0] for column in ("Gain", "p")]


def spread(dataset: str) -> list[float]:
    frame = table("imagenet/tables/13_all_cases")
    found = [numbers(text)[1] for text in frame["Accuracy ± Std"][frame["Dataset"] == dataset]]
    return [min(found), max(found)]


def rows(heading: str, page: str) -> list[list[str]]:
    """The rows of the tables under a heading of a page of reference/."""
    part = (REFERENCE / page).read_text("utf-8").split(f"# {heading}", 1)[1].split("\n## ")[0]
    return [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]


def on_gpu(*names: str) -> list[int]:
    """Images a second of these rows of reference/gpu.md, or a step's kernels."""
    found = dict(
        re.findall(r"^\| (.+?) \| ([\d.]+) (?:images/s|kernels)", (REFERENCE / "gpu.md").read_text("utf-8"), re.M)
    )
    return [int(found[name]) for name in names]


def speed(job: str) -> list[float]:
    """Training images per second here, and how many times slower the others are, from reference/benchmarks.md."""
    found = {row[0]: row for row in rows(job, "benchmarks.md")}
    others = [found[name] for name in ("lightning", "lightning+persistent", "timm") if name in found]
    return [numbers(found["ours"][1])[0], *(numbers(row[2])[0] for row in others)]


def at(network: str, epochs: str, column: str) -> list[float]:
    """What the study of lengths found for a network at a length."""
    return cell("companions/55_lengths", f"{network}; {epochs}", column)


def ranked(case: str) -> list[float]:
    """A method's difference from base on transfer, and its interval."""
    return cell(RANKING, case, "Difference") + cell(RANKING, case, "95% Interval")


EFFECTS, CLAIMS, BEST = "tables/20_effects", "checks/41_claims", "tables/20_beside_paper"
ALL, RANKING = "imagenet/tables/13_all_cases", "companions/54_ranking"
CHANCE, SETTINGS, PARTS, SIZES = (
    f"checks/{name}" for name in ("41_published_together", "42_effects", "42_parts", "40_sizes")
)
AS_PRINTED = "one n a row, divisor n - 1"
RUNS, IMAGENET = (pd.read_csv(REFERENCE / name) for name in ("runs.csv", "imagenet/runs.csv"))
IMAGENET_EFFECTS = table("imagenet/tables/20_effects").set_index("Case")["All"].astype(float)
HARM = IMAGENET_EFFECTS.filter(regex=r"^\d+ MN?$").agg(["max", "min"])
BESIDE = "checks/41_claims_by_profile"
GAINS = table("tables/00_transfer")["Gain"].astype(float)
MILD, NS, N = span(r"\d+ MN?"), span(r"\d+ NS")[::-1], span(r"\d+ N")[::-1]
BIASES, ADVICE = cell(EFFECTS, "Biases (control)", "All"), cell(EFFECTS, "10 M", "All")
ADVISED = cell(CLAIMS, "10M is worth recommending: it beats base", "Effect")
WINS = [sum(numbers(p)[0] < 0.05 and "base >" not in p for p in table(BEST)["Ours: p"]), len(table(BEST))]
TEN_RUNS = count("checks/40_runs", "10 runs", "no", "possible", "yes")
P_VALUES = count("checks/40_p_values", "Is the printed p possible?", "no", "only by a table of z", "not excluded")
TRUSTED = rows("How far to trust the audit of a table", "audit_power.md")
CELLS = "solar cells, 64 pixels"
NETWORKS, LENGTHS = ("miniature ResNet-18", "miniature VGG"), ("12", "48", "192")
HARES, FRESH = "hare_tortoise, Minus Nothing More", "Fresh, Minus Nothing More"
HARE = "hare_tortoise(momentum=0.95, steps=38)"

STATED = {  # the page's words, and the numbers that belong into them
    "README.md": [
        (
            "{} real training runs, three small networks, three data sets, {} seeds per case",
            [len(RUNS), RUNS.seed.nunique()],
        ),
        ("{:+.2f} to {:+.2f} points on average (n = {:.0f} pairs each)", [*MILD, *cell(EFFECTS, "10 M", "n")]),
        ("a control that touches no weight comes to {:+.2f}", BIASES),
        ("10 M, comes to {:+.2f} [{:+.2f}, {:+.2f}]", ADVISED),
        ("no cell gains significantly, {} of {}", WINS),
        ("{:.2f} to {:.2f} and {:.2f} to {:.2f} points on average", [*NS, *N]),
        ("EfficientNet-Lite0, {} runs, {} seeds", [len(IMAGENET), IMAGENET.seed.nunique()]),
        ("M and MN come to {:.2f} to {:.2f} points on average", HARM),
        ("10 M to {:.2f} [{:.2f}, {:.2f}]", cell(BESIDE, "10M is worth recommending: it beats base", "imagenet")),
        ("and no weight, costs {:.2f}", [-IMAGENET_EFFECTS["Biases (control)"]]),
        ("for {} of the paper's {} rows", [TEN_RUNS[0], sum(TEN_RUNS)]),
        ("{:.1f} to {:.1f} times as fast as Lightning", [speed("resnet50")[1], speed("mini_resnet")[1]]),
    ],
    "docs/front.md": [
        ("comes to {:+.2f} [{:+.2f}, {:+.2f}] points of test accuracy against base", ADVISED),
        ("in {} runs of three small networks on three data sets", [len(RUNS)]),
        (
            "10 M comes to {:.2f} [{:.2f}, {:.2f}] points",
            cell(BESIDE, "10M is worth recommending: it beats base", "imagenet"),
        ),
        ("in {} runs of one network", [len(IMAGENET)]),
        ("in miniature {:.2f} to {:.2f} and {:.2f} to {:.2f} points", [*NS, *N]),
    ],
    "docs/results.md": [
        ("Profile `mini`: {} runs, {} seeds for each case", [len(RUNS), RUNS.seed.nunique()]),
        (
            "helps in {} of {} cells (by {:+.1f} to {:+.1f} points",
            [sum(GAINS > 0), len(GAINS), GAINS.min(), GAINS.max()],
        ),
        (
            "{:+.2f} to {:+.2f} points on average; the control `biases`, in which no weight is touched, "
            "comes to {:+.2f}",
            [*MILD, *BIASES],
        ),
        ("10 M, comes to {:.2f}.", ADVICE),
        ("({:.2f} to {:.2f} and {:.2f} to {:.2f} on average)", [*NS, *N]),
        (
            "Of the nine comparisons of the best of twelve cases with base (the paper's test), {} have p < 0.05",
            WINS[:1],
        ),
        (
            "ended {:.0f}% of the runs before the cap of {} epochs",
            [100 * (RUNS.epochs < 16).mean(), RUNS.max_epochs.max()],
        ),
        ("the median run took {:.0f} epochs. {} runs failed", [RUNS.epochs.median(), sum(RUNS.status != "done")]),
        ("augmentation, {} runs, {} seeds", [len(IMAGENET), IMAGENET.seed.nunique()]),
        ("beat scratch by {:.1f} and {:.1f} points", table("imagenet/tables/00_transfer")["Gain"].astype(float)),
        ("5 MN on photographs ({:+.1f}, p = {:.2f})", best("5 MN")),
        ("5 M on solar cells ({:+.1f})", best("5 M; solar cells, 64 pixels")[:1]),
        ("M and MN come to {:.2f} to {:.2f} points on average", HARM),
        ("10 M to {:.2f} [{:.2f}, {:.2f}]", cell(BESIDE, "10M is worth recommending: it beats base", "imagenet")),
        (
            "ahead in {:.0f} of {:.0f} comparisons",
            cell(BESIDE, "base never beats a re-initialised case significantly", "imagenet"),
        ),
        ("no weight is touched, comes to {:.2f}. So", [IMAGENET_EFFECTS["Biases (control)"]]),
        ("anything from {} to {} epochs", IMAGENET[IMAGENET.dataset == "elpv_64"].epochs.agg(["min", "max"])),
        (
            "{:.0f}% of all runs reached the cap of {} epochs",
            [100 * (IMAGENET.epochs >= 30).mean(), IMAGENET.max_epochs.max()],
        ),
        ("standard deviations of {:.0f} to {:.0f} points", spread(CELLS)),
    ],
    "docs/claims.md": [
        ("call {:.0f}% of cells", [100 * x for x in cell(CHANCE, "12; 10", "Rate")]),
        ("({:.0f}% if only M and MN can win)", [100 * x for x in cell(CHANCE, "6; 10", "Rate")]),
        ("that makes {:.1f} ({:.1f})", [*cell(CHANCE, "12; 10", "Expected"), *cell(CHANCE, "6; 10", "Expected")]),
        ("with probability {:.2f} ({:.2f})", [*cell(CHANCE, "12; 10", "Chance"), *cell(CHANCE, "6; 10", "Chance")]),
        ("the smallest p before it is {:.2f}", [min(numbers(p)[0] for p in table(SETTINGS)["p"] if p != "-")]),
        (
            "10 M is behind by {:.2f} [{:.2f}, {:.2f}]",
            [-cell(SETTINGS, "patience; double", "10M minus base")[k] + 0.0 for k in (0, 2, 1)],
        ),
        ("same weights to zero differ by {:+.2f} [{:+.2f}, {:+.2f}]", cell(PARTS, "10M minus 10Z", "difference")),
        ("({:.1f} points, standard deviation over pairs)", cell(PARTS, "another head minus base", "spread")),
        ("than 10 M does ({:.1f})", cell(PARTS, "10M minus base", "spread")),
        ("flatters by {:+.1f} [{:+.1f}, {:+.1f}]", cell("checks/42_flattery", "best weights, both", "difference")),
    ],
    "docs/audit.md": [
        ("{:.0f} items for DTD", cell(SIZES, f"DTD; {AS_PRINTED}", "Test items")[:1]),
        ("{:.0f} for Brain Tumor", cell(SIZES, f"Brain Tumor; {AS_PRINTED}", "Test items")[:1]),
        (
            "{} and {} sizes would fit by luck",
            [*(cell(SIZES, f"{name}; {AS_PRINTED}", "Expected by luck")[0] for name in ("DTD", "Brain Tumor"))],
        ),
        (
            "impossible for {} of the {} rows, possible for {}, and certain for {}",
            [TEN_RUNS[0], sum(TEN_RUNS), *TEN_RUNS[1:]],
        ),
        (
            "{} p-values, {} can't come from a Mann-Whitney test of such rows, {} only by a table of z, {} are not",
            [sum(P_VALUES), *P_VALUES],
        ),
        (
            "(in {:.0f}% if they went through float32)",
            [min(numbers(row[5])[0] for row in TRUSTED if row[2] == "float32")],
        ),
    ],
    "docs/companions.md": [
        ("is at {:+.1f} points in ResNet-18 and at {:+.1f} in VGG", [at(name, "12", HARES)[0] for name in NETWORKS]),
        ("at 192 it is at {:+.1f} and {:+.1f}", [at(name, "192", HARES)[0] for name in NETWORKS]),
        ("ResNet-18 is at {:+.1f}, {:+.1f} and {:+.1f}", [at(NETWORKS[0], n, FRESH)[0] for n in LENGTHS]),
        ("VGG at {:+.1f}, {:+.1f} and {:+.1f}", [at(NETWORKS[1], n, FRESH)[0] for n in LENGTHS]),
        ("The best of {} methods and combinations", [len(table(RANKING)) - 1]),  # scratch is a control
        ("is self-distillation, {:+.2f} [{:+.2f}, {:+.2f}]", ranked("self_distillation(momentum=0.95)")),
        ("hare and tortoise follow with {:+.2f} [{:+.2f}, {:+.2f}]", ranked(HARE)),
        ("the plain EMA with {:+.2f} [{:+.2f}, {:+.2f}]", ranked("ema(momentum=0.95)")),
        ("10 M is at {:.2f} [{:.2f}, {:+.2f}]", ranked("10M")),
        ("soft rescaling at {:+.2f} [{:.2f}, {:+.2f}]", ranked("soft_rescaling")),
        ("Pretraining itself is worth {:.1f}", [-ranked("scratch")[0]]),
        (
            "Training the head alone costs {:.1f} points, augmentation {:.1f}",
            [-ranked(name)[0] for name in ("head_only", "augmentation")],
        ),
    ],
    "docs/speed.md": [
        (
            "losses at most {:.1f}% apart",
            [100 * max(map(float, re.findall(r"([\d.e-]+) of them apart", (REFERENCE / "gpu.md").read_text("utf-8"))))],
        ),
        ("started {:,} kernels a step", on_gpu("resnet50")),
        (
            "{} images/s of ResNet-50 in TF32, {} of ViT-B/16, {:,} of SimpleNet",
            on_gpu(*(f"{name}, precision=tf32, channels_last=True" for name in ("resnet50", "vit_b_16", "simplenet"))),
        ),
        (
            "ResNet-50 in bf16 did {:,} images/s together, with NVIDIA's MPS {:,}",
            on_gpu("resnet50, bf16, 4 processes", "resnet50, bf16, 4 processes, with NVIDIA's MPS (*)"),
        ),
        (
            "ResNet-50 to {:,} images/s in bf16, ViT-B/16 to {:,} and SimpleNet to {:,}",
            on_gpu(*(f"{name}, precision=bf16, graph=True" for name in ("resnet50", "vit_b_16", "simplenet"))),
        ),
        ("{:.1f} images/s here; Lightning is {:.1f} times slower, timm {:.1f} times", speed("resnet50")),
        (
            "{:.0f} images/s here; Lightning is {:.1f} times slower ({:.1f} with persistent workers), timm {:.1f}",
            speed("efficientnet_lite0"),
        ),
        (
            "{:,.0f} images/s here; Lightning is {:.1f} times slower ({:.1f} with persistent workers), timm {:.1f}",
            speed("mini_resnet"),
        ),
    ],
}
SENTENCES = [(page, words, values) for page, lines in STATED.items() for words, values in lines]


def prose(page: str) -> str:
    """A page without its code, links and line breaks."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text("utf-8"), flags=re.S | re.M)
    text = re.sub(r"^(?:    .*|\| .*)$", "", text, flags=re.M)
    return " ".join(re.sub(r"\[([^\]]*)\]\([^)\s]*\)", r"\1", text).split())


@pytest.mark.parametrize(
    ("page", "words", "values"), SENTENCES, ids=[f"{page}-{words[:40]}" for page, words, _ in SENTENCES]
)
def test_what_a_page_says_is_what_the_table_has(page, words, values):
    assert words.format(*values) in prose(page)


@pytest.mark.parametrize("page", PAGES)
def test_no_result_is_stated_without_its_table(page):
    text = prose(page)
    for said in [words.format(*values) for words, values in STATED.get(page, [])] + EXEMPT:
        text = text.replace(said, "")
    assert RESULT.findall(text) == []
