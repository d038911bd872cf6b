"""What a method adds to a training step: steps with it over steps of the base run, in turns, in one process.

    python benchmarks/step_cost.py [--batch 256] [--rounds 10] [--steps 20] [--device cuda] [--methods soft_rescaling
    "l2_init + ema"]
    python benchmarks/step_cost.py --recycling [--rounds 3]

ResNet-18 without its stem for 32 x 32 images, AdamW, the loop body of ``train.fit``; each method has a network of its
own. What methods do after an epoch is not in it. The calls alone are timed afterwards, one kind at a time: the penalty
with its backward pass, and ``after_step``. ``--recycling`` takes continual backprop's ``after_step`` on VGG-16 (64
pixels, rate 1e-4, all units mature, batch 16) apart: its redraws, as they are and by drawing the whole layer, in turns
over the same 200 steps, and its utilities.
"""

import argparse
import statistics
import time
from dataclasses import replace

import torch

from plasticity import train
from plasticity.data import Dataset
from plasticity.methods import units as recycled
from plasticity.methods.units import ContinualBackprop
from plasticity.networks import table as networks
from plasticity.networks.initialisers import draw_initial, sample
from plasticity.run import Run
from plasticity.running import provenance

RUN = Run("resnet18", "cifar10", optimizer="adamw", scenario="single", weights="none", patience=0, validation=0)
RUN = replace(RUN, augment="none")
METHODS = ("soft_rescaling", "ema", "hare_tortoise", "l2_init", "l2", "redo")


def noise(batch: int) -> Dataset:
    """One batch of training items, and one test item: noise of 32 x 32 pixels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (batch + 1, 32, 32, 3), generator=generator, dtype=torch.uint8)
    labels, test = torch.arange(batch + 1) % 10, torch.arange(batch + 1) == batch
    names, half = tuple(map(str, range(10))), torch.full((3,), 0.5)
    return Dataset("cifar10", images, labels, test, names, (), half, half, "noise")


class Trained:
    """A run in training on one batch."""

    def __init__(self, case: str, data: Dataset, device: torch.device):
        run = replace(RUN, case=case, batch_size=len(data.labels) - 1)
        self.training = train.begin(run, device=str(device), data=data)
        train.begin_phase(self.training, 1)
        self.training.model.train()
        self.index, self.calls = self.training.phase.items.to(device), 0

    def step(self) -> None:
        """One training step of ``fit``."""
        train.train_step(self.training, self.index)

    def after(self) -> None:
        """``after_step`` alone."""
        self.calls += 1
        self.training.method.after_step(self.training.step + self.calls)

    def forward(self) -> None:
        """The forward pass, which is no part of the penalty's cost."""
        self.images = self.training.batches(self.index)[0]
        self.logits = self.training.network(self.images).float()

    def penalise(self) -> None:
        """The penalty alone, with its backward pass down to the parameters."""
        penalty = self.training.method.penalty(self.training.model, self.logits, self.images)
        if penalty is not None and penalty.requires_grad:
            penalty.backward(retain_graph=True)


def seconds(call, times: int, device: torch.device) -> float:
    """Wall time of one call, the mean of some."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    for _ in range(times):
        call()
    wait()
    return (time.perf_counter() - started) / times


def compare(text: str, data: Dataset, device: torch.device, rounds: int, steps: int) -> str:
    """A line on one method: the median of the paired ratios and their range, and milliseconds."""
    base, other = Trained("base", data, device), Trained(text, data, device)
    pairs = []
    for i in range(rounds + 1):  # the first is not counted
        order = (base, other) if i % 2 else (other, base)
        taken = {trained: seconds(trained.step, steps, device) for trained in order}
        pairs.append((taken[base], taken[other]))
    pairs, calls = pairs[1:], max(20, steps)
    ratios = sorted(b / a for a, b in pairs)
    one, two = (1000 * statistics.median(pair[i] for pair in pairs) for i in (0, 1))
    other.forward()
    penalty, after = (1000 * seconds(call, calls, device) for call in (other.penalise, other.after))
    spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f}, n = {rounds}"
    return (
        f"{text}: {statistics.median(ratios):.3f} of the base step ({spread}); base {one:.1f} ms, with it {two:.1f}; "
        f"alone: penalty and its backward {penalty:.2f}, after_step {after:.2f}"
    )


def recycling(device: torch.device, rounds: int) -> str:
    """What continual backprop costs a step on VGG-16, by its parts, in milliseconds: each of the ``rounds``."""
    model, images = networks.build("vgg16", 200, seed=0).to(device), torch.rand(16, 3, 64, 64, device=device)
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    method, outputs, found = ContinualBackprop(maturity=0), {}, []
    parts = {"generator": torch.Generator().manual_seed(0), "gradients": dict, "images": lambda n: images[:n]}
    optimizer = torch.optim.AdamW(model.parameters())
    method.prepare(model, train.Start(optimizer=optimizer, initial=initial, **parts))
    layers = {id(initial[f"{units.name}.weight"]): units.producer for units in method.units}
    for units in method.units:
        units.source.register_forward_hook(lambda module, _, output: outputs.update({module: output.detach()}))
    model(images).square().mean().backward()
    optimizer.step()  # so that there are moments to clear

    def whole(values, count, generator):
        return draw_initial(layers[id(values)], "weight", count, generator)

    recycle, taken = recycled.recycle, []
    recycled.recycle = lambda *args: taken.append(seconds(lambda: recycle(*args), 1, device))
    for i in range(rounds):
        ways = {}
        for name in ("now", "whole")[:: 1 if i % 2 else -1]:
            recycled.sample = sample if name == "now" else whole
            method.due = [0.0] * len(method.due)
            taken.clear()
            for step in range(200):
                method.after_step(step)
            ways[name] = 5 * sum(taken)
        ways["outgoing"] = 1000 * seconds(lambda: [units.outgoing() for units in method.units], 5, device)
        ways["activations"] = 1000 * seconds(lambda: [u.magnitude(outputs[u.source]) for u in method.units], 5, device)
        found.append(ways | {"ratio": ways["whole"] / ways["now"]})
    recycled.recycle, recycled.sample = recycle, sample
    said = {k: ", ".join(f"{ways[k]:.2f}" for ways in found) for k in found[0]}
    return (
        f"continual backprop on VGG-16, ms per step, n = {rounds}: redraws {said['now']}, by whole layers "
        f"{said['whole']}, ratio {said['ratio']}; sums of outgoing weights {said['outgoing']}; mean activations of 16 "
        f"images {said['activations']}"
    )


def main():
    """Print where this ran, then one line per method; unknown names are said and skipped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, help="steps a round; 1 on the CPU, 20 on a GPU")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--recycling", action="store_true", help="continual backprop's parts, instead")
    options = parser.parse_args()
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    about = f"ResNet-18 at 32 x 32, batch {options.batch}, AdamW, fp32"
    print(f"{provenance.machine()}, {name}, torch {torch.__version__}{'' if options.recycling else f', {about}'}")
    if options.recycling:
        return print(recycling(device, options.rounds))
    data, steps = noise(options.batch), options.steps or (20 if device.type == "cuda" else 1)
    for text in options.methods:
        try:
            print(compare(text, data, device, options.rounds, steps), flush=True)
        except ValueError as error:
            print(f"{text}: skipped, {error}")


if __name__ == "__main__":
    main()
