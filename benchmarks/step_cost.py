"""What a method adds to a training step: steps with it over steps of the base run, in turns, in one process.

    python benchmarks/step_cost.py [--batch 256] [--rounds 10] [--steps 20] [--device cuda] [--methods soft_rescaling "l2_init + ema"]

ResNet-18 without its stem for 32 x 32 images, AdamW, the loop body of ``train.fit``; each method has a network of its own. What
methods do after an epoch is not in it. The calls alone are timed afterwards, one kind at a time: the penalty with its backward
pass, and ``after_step``.
"""

import argparse
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet18

from plasticity.interventions import Intervention, Start
from plasticity.methods import registry as methods
from plasticity.run import Run
from plasticity.running import records
from plasticity.train import build_optimizer

# the architecture is not used
RUN = Run("mini_resnet", "photos", optimizer="adamw", scenario="single", weights="none", patience=0)
METHODS = ("soft_rescaling", "ema", "hare_tortoise", "l2_init", "l2", "redo")


def network() -> nn.Module:
    """ResNet-18 with ten classes, its first convolution 3 x 3 without stride, and no max-pool; the same weights at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = resnet18(num_classes=10)
        model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return model


class Trained:
    """A network, its optimiser and a method in training."""

    def __init__(self, method: Intervention, images: torch.Tensor, labels: torch.Tensor):
        model = network()
        method.reshape(model)
        initial = {name: value.to(images.device, copy=True) for name, value in model.state_dict().items()}
        self.model = model.to(images.device, memory_format=torch.channels_last)
        self.method, self.images, self.labels, self.count = method, images, labels, 0
        self.optimizer = build_optimizer(RUN, self.model)
        draws = torch.Generator().manual_seed(0)
        method.prepare(
            self.model,
            Start(
                RUN,
                draws,
                self.optimizer,
                self.gradients,
                learned=False,
                initial=initial,
                head="fc",
                images=lambda count: images[:count],
            ),
        )
        self.model.train()

    def gradients(self) -> dict[str, torch.Tensor]:
        """The loss gradient on the one batch, in evaluation mode."""
        self.model.eval()
        named, loss = dict(self.model.named_parameters()), F.cross_entropy(self.model(self.images), self.labels)
        return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))

    def step(self) -> None:
        """One training step, as in ``fit``."""
        self.count += 1
        for group in self.optimizer.param_groups:
            group["lr"] = RUN.lr
        logits = self.model(self.images).float()
        loss = F.cross_entropy(logits, self.labels)
        penalty = self.method.penalty(self.model, logits, self.images)
        self.optimizer.zero_grad()
        (loss if penalty is None else loss + penalty).backward()
        self.optimizer.step()
        self.method.after_step(self.count)

    def after(self) -> None:
        """``after_step`` alone."""
        self.count += 1
        self.method.after_step(self.count)

    def penalise(self) -> None:
        """The penalty alone, with its backward pass down to the parameters."""
        penalty = self.method.penalty(self.model, self.logits, self.images)
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


def compare(text: str, images: torch.Tensor, labels: torch.Tensor, rounds: int, steps: int) -> str:
    """A line on one method: the median of the paired ratios and their range, and milliseconds."""
    base, other, device = (
        Trained(Intervention(), images, labels),
        Trained(methods.build(text), images, labels),
        images.device,
    )
    pairs = []
    for i in range(rounds + 1):  # the first is not counted
        order = (base, other) if i % 2 else (other, base)
        taken = {trained: seconds(trained.step, steps, device) for trained in order}
        pairs.append((taken[base], taken[other]))
    pairs, calls = pairs[1:], max(20, steps)
    ratios = sorted(b / a for a, b in pairs)
    one, two = (1000 * statistics.median(pair[i] for pair in pairs) for i in (0, 1))
    other.logits = other.model(images).float()  # once: the forward pass is no part of the penalty's cost
    penalty, after = (1000 * seconds(call, calls, device) for call in (other.penalise, other.after))
    return (
        f"{text}: {statistics.median(ratios):.3f} of the base step ({ratios[0]:.3f} to {ratios[-1]:.3f}, n = {rounds}); base "
        f"{one:.1f} ms, with it {two:.1f}; alone: penalty and its backward {penalty:.2f}, after_step {after:.2f}"
    )


def main():
    """Print where this ran, then a line a method; unknown names are said and skipped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, help="steps a round; 1 on the CPU, 20 on a GPU")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(
        f"{records.machine()}, {name}, torch {torch.__version__}, ResNet-18 at 32 x 32, batch {options.batch}, AdamW, fp32"
    )
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(options.batch, 3, 32, 32, generator=draws).to(device, memory_format=torch.channels_last)
    labels = torch.randint(10, (options.batch,), generator=draws).to(device)
    for text in options.methods:
        try:
            methods.canonical(text)
        except ValueError as error:
            print(f"{text}: skipped, {error}")
            continue
        print(
            compare(text, images, labels, options.rounds, options.steps or (20 if device.type == "cuda" else 1)),
            flush=True,
        )


if __name__ == "__main__":
    main()
