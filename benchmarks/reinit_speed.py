"""Re-initialising ViT-B/16 (86 M parameters): ``reinitialize(model, "10M")`` against the obvious per-tensor topk, in
one run.

python benchmarks/reinit_speed.py [repeats]
"""

import copy
import statistics
import sys
import time

import torch

from plasticity import reinitialize
from plasticity.networks import table as models
from plasticity.running import provenance


@torch.no_grad()
def obvious(model, fraction=0.1):
    """Case 10M with the code reading's biases, as one writes it first."""
    for name, parameter in model.named_parameters():
        flat, count = parameter.view(-1), int(fraction * parameter.numel())
        if "bias" in name or parameter.ndim >= 2:
            index = torch.topk(flat.abs(), count, largest=False).indices
            flat[index] = 0.0 if "bias" in name else parameter.mean()


def timed(function, model):
    """Seconds for one call on a fresh copy, and the copy."""
    fresh = copy.deepcopy(model)
    started = time.perf_counter()
    function(fresh)
    return time.perf_counter() - started, fresh


def main(repeats: int = 7):
    """Alternate both, after one warm-up each; print medians and the ratio, and check that both did the same."""
    model = models.build("vit_b_16", 1000, seed=0)
    rounds = []
    for _ in range(repeats + 1):
        (ours, mine), (theirs, other) = timed(lambda m: reinitialize(m, "10M"), model), timed(obvious, model)
        differing = sum(int((a != b).sum()) for a, b in zip(mine.parameters(), other.parameters(), strict=True))
        rounds.append((ours, theirs))
    rounds = rounds[1:]
    ours, theirs = (statistics.median(pair[side] for pair in rounds) for side in (0, 1))
    ratios = sorted(slow / fast for fast, slow in rounds)
    print(
        f"reinitialize {ours:.3f} s, obvious topk {theirs:.3f} s, ratio {theirs / ours:.1f} (per round "
        f"{ratios[0]:.1f} to "
        f"{ratios[-1]:.1f}), n = {repeats}; {differing} entries differ (ties); {provenance.machine()}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
