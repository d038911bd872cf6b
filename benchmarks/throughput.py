"""Training throughput of the miniatures, one torch thread: images a second in ``fit``, and where a step's time goes.

python benchmarks/throughput.py [data folder]
"""

import sys

import torch
from torch.profiler import ProfilerActivity, profile

from plasticity import run as config
from plasticity import train
from plasticity.profiles import get_profile
from plasticity.running import provenance

KINDS = {
    "convolution": ("conv",),
    "batch and layer norm": ("norm",),
    "matrix products": ("mm", "linear", "scaled_dot"),
    "optimiser": ("fused_sgd", "fused_adamw", "Optimizer"),
}


def main(folder: str = "data"):
    """Fit each miniature on ``photos`` for six epochs, once timed and once profiled."""
    torch.set_num_threads(1)
    protocol = get_profile("mini")
    print(f"{provenance.machine()}, one thread, torch {torch.__version__}, batch 32, six epochs of photos, n = 3")
    for name in protocol.architectures:
        fields = protocol.training[name] | {"max_epochs": 6, "patience": 0}
        run = config.Run(name, "photos", weights=protocol.weights, **fields)
        train.fit(run, folder, "cpu")
        seconds = sorted(train.fit(run, folder, "cpu").seconds for _ in range(3))
        images = 6 * 12 * 32
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            train.fit(run, folder, "cpu")
        print(
            f"{name}: {images / seconds[1]:.0f} training images a second, validation and test included; "
            f"{shares(profiler)}"
        )


def shares(profiler) -> str:
    """Share of the operators' own time by kind."""
    events = profiler.key_averages()
    total, left, parts = sum(event.self_cpu_time_total for event in events), 1.0, []
    for kind, names in KINDS.items():
        chosen = [
            e
            for e in events
            if any(name in e.key for name in names) and not (kind == "convolution" and "conversion" in e.key)
        ]
        share = sum(event.self_cpu_time_total for event in chosen) / total
        left -= share
        parts.append(f"{kind} {share:.0%}")
    return ", ".join([*parts, f"the rest {left:.0%}"])


if __name__ == "__main__":
    main(*sys.argv[1:])
