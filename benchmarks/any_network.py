"""Is `reinitialize` right on any network? One of each module of timm, torchvision and transformers is re-initialised in
several states and cases; tests/judge.py says each time whether that was right, refused for a good reason, or a fault.

python benchmarks/any_network.py [--library timm] [--only NAME ...] [--out results/any_network.csv]

What the file holds already is not done again. Needs the extras suite and examples; nothing is downloaded.
"""

import argparse
import collections
import csv
import multiprocessing
import os
import random
import sys
import time
import traceback
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "critical"}
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import torch  # noqa: E402
import zoo  # noqa: E402
from judge import FAULT, REFUSED, RIGHT, groups, judge, refusable  # noqa: E402

COLUMNS = ("library", "module", "network", "parameters", "state", "case", "verdict", "why", "seconds")
LIBRARIES = {
    "timm": zoo.timm_networks,
    "torchvision": zoo.torchvision_networks,
    "transformers": zoo.transformers_networks,
}
PAPER = [("10M", "code"), ("10R", "code"), ("10M", "text")]
STATES = {"as built": PAPER, "random": PAPER, "half frozen": [("10M", "text")], "bfloat16": [("10R", "code")]}
NOT_BUILT = "not built"
SECONDS = 300  # that one network may take


@torch.no_grad()
def put_in(state, model):
    """Bring a network as built into one of STATES."""
    generator = torch.Generator().manual_seed(1)
    if state == "half frozen":
        for parameter in model.parameters():
            if torch.rand((), generator=generator) < 0.5:
                parameter.requires_grad_(False)
    elif state == "bfloat16":
        model.to(torch.bfloat16)
    elif state == "random":  # no constants, yet many ties: multiples of 1/1024
        for parameter in model.parameters():
            if parameter.is_floating_point():
                draws = torch.randn(parameter.shape, generator=generator)
                parameter.copy_((draws * 20.48).round() / 1024)


def forward(model, inputs):
    """Whether a forward pass runs; None without inputs."""
    if inputs is None:
        return None
    try:
        with torch.no_grad():
            model.eval()(**inputs) if isinstance(inputs, dict) else model.eval()(*inputs)
        return True
    except Exception:
        return False


def examine(find) -> list[tuple]:
    """All rows of one network, without library and module."""
    rows, (label, make, inputs) = [], find()
    for state, cases in STATES.items():
        torch.manual_seed(0)
        model = make()
        size = sum(p.numel() for p in model.parameters())
        put_in(state, model)
        kept = [(t, t.detach().clone()) for t in (*model.parameters(), *model.buffers())]
        for case, reading in cases:
            started = time.perf_counter()
            for what, (verdict, why) in verdicts(model, case, reading):
                if (state, case, reading) == ("as built", "10M", "code") and verdict == RIGHT:
                    verdict, why = compare_forward(model, kept, inputs)
                took = f"{time.perf_counter() - started:.2f}"
                rows.append((label, size, state, f"{case} {reading}{what}", verdict, why, took))
                restore(kept)
    return rows


def compare_forward(model, kept, inputs):
    """A network that runs with its old weights runs with the new ones."""
    if forward(model, inputs):
        return RIGHT, "runs"
    restore(kept)
    return (FAULT, "its forward pass fails afterwards") if forward(model, inputs) else (RIGHT, "")


@torch.no_grad()
def restore(kept):
    for tensor, values in kept:
        if not tensor.is_meta:
            tensor.copy_(values)


def verdicts(model, case, reading):
    """A verdict; where it is a refusal, another with all excluded that there is a reason to refuse."""
    verdict, why = judge(model, case, reading)
    yield "", (verdict, why)
    if verdict == REFUSED:
        refused = refusable(model, case)
        if any(g.is_weight and not g.frozen and g.names[0] not in refused for g in groups(model)):
            yield ", the rest", judge(model, case, reading, exclude=refused)


def attempt(find, pipe):
    """Send the rows of one network, in a process of its own: a crash or an endless loop there ends nothing else."""
    torch.set_num_threads(1)
    try:
        rows = examine(find)
    except zoo.NotBuilt as error:
        rows = [("", "", "", "", NOT_BUILT, str(error), "")]
    except Exception:
        rows = [("", "", "", "", FAULT, traceback.format_exc(limit=-3), "")]
    pipe.send(rows)


def in_a_process(find, seconds=SECONDS) -> list[tuple]:
    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=attempt, args=(find, there))
    process.start()
    there.close()
    try:
        return here.recv() if here.poll(seconds) else [("", "", "", "", FAULT, f"took over {seconds} s", "")]
    except EOFError:
        process.join()
        return [("", "", "", "", FAULT, f"the process ended with {process.exitcode}", "")]
    finally:
        process.kill()
        process.join()


def warm_up(libraries):
    """Import once, before the processes fork, what each of them would: it takes seconds."""
    examples = {"timm": "resnet", "torchvision": "resnet", "transformers": "bert"}
    for library in libraries:
        label, make, _ = LIBRARIES[library]()[examples[library]]()
        judge(make(), "10R", exclude=refusable(make(), "10R"))


def sweep(libraries, only, path):
    """Append the rows of every network that the file lacks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done = {(row["library"], row["module"]) for row in read(path)}
    with path.open("a", newline="") as file:
        table = csv.writer(file)
        if not done:
            table.writerow(COLUMNS)
        for library in libraries:
            networks = list(LIBRARIES[library]().items())
            random.Random(0).shuffle(networks)  # so that what is done when it is stopped is a fair sample
            for module, find in networks:
                if (library, module) in done or (only and module not in only):
                    continue
                rows = in_a_process(find)
                table.writerows((library, module, *row) for row in rows)
                file.flush()
                counts = collections.Counter(row[4] for row in rows)
                print(f"{library:12s} {module:30s} {rows[0][0]:40s} {dict(counts)}", flush=True)


def read(path) -> list[dict]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


def summary(rows) -> str:
    """Networks and verdicts per library, and every fault."""
    lines = []
    for library in LIBRARIES:
        mine = [r for r in rows if r["library"] == library]
        counts = collections.Counter(r["verdict"] for r in mine)
        networks = {r["module"] for r in mine if r["verdict"] != NOT_BUILT}
        numbers = ", ".join(f"{counts[v]} {v}" for v in (RIGHT, REFUSED, FAULT, NOT_BUILT))
        lines.append(f"{library}: {len(networks)} networks; {numbers}")
    faults = [r for r in rows if r["verdict"] == FAULT]
    lines += [f"{r['module']} ({r['network']}, {r['state']}, {r['case']}): {r['why'][:300]}" for r in faults]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", choices=LIBRARIES, action="append")
    parser.add_argument("--only", nargs="+", default=(), help="modules by name")
    parser.add_argument("--out", type=Path, default=ROOT / "results/any_network.csv")
    asked = parser.parse_args()
    warm_up(asked.library or LIBRARIES)
    sweep(asked.library or LIBRARIES, asked.only, asked.out)
    print(summary(read(asked.out)))


if __name__ == "__main__":
    main()
