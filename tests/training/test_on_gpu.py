"""Training on a pretended GPU: the CPU's results, no wait for it in any step, and the same by CUDA graphs."""

from types import SimpleNamespace

import pytest
import torch
from helpers import Interrupted, Interrupting, Resuming, equal, photographs, seeded, tiny_arrays
from pretended_gpu import pretended

from plasticity import Run, train
from plasticity.cli.cost import measure
from plasticity.datasets.prepare import pack
from plasticity.interventions import Intervention
from plasticity.methods.registry import NAMED
from plasticity.training.augment import AUGMENTATIONS
from plasticity.training.batches import Batches
from plasticity.training.graph import Graph

GPU = "cuda:0"
ACTING = {  # parameters with which a method acts in so short a run
    "hare_tortoise": "hare_tortoise(momentum=0.5, steps=3)",
    "ema": "ema(momentum=0.5)",
    "self_distillation": "self_distillation(momentum=0.5)",
    "redo": "redo(threshold=0.9, every=1)",
    "continual_backprop": "continual_backprop(rate=0.2, maturity=1)",
    "selective_reinit": "selective_reinit(every=4)",
}
CHAINS = ("crelu", "layer_norm")  # change layers, of plain chains
CASES = ["base", "10M", "25MN", "10NS", "5N", "10R", "biases", *(ACTING.get(name, name) for name in NAMED)]
CASES += ["10M + ema", "l2_sp + hare_tortoise(steps=3)", "head_only + continual_backprop(rate=0.2, maturity=1)"]


@pytest.fixture
def world(world):
    pack(world, "digits", tiny_arrays(size=16))
    return world


def run_of(case, **fields):
    usual = {"batch_size": 8, "max_epochs": 2, "patience": 0, "augment": "crop_flip", "lr": 0.01, "momentum": 0.9}
    name, data, weights = ("mini_vgg", "digits", "none") if case in CHAINS else ("mini_resnet", "photos", "source")
    usual |= {"architecture": name, "dataset": data, "case": case, "weights": weights}
    return Run(**usual | fields)


def fitted(run, world, device=GPU, **more):
    path = world / f"{run.architecture}.pt"
    return train.fit(run, world, device, weights=path if path.exists() else None, **more)


def on_gpu(run, world, **more):
    """What `fitted` gives, and the waits in each of its steps."""
    with pretended() as gpu, pytest.MonkeyPatch.context() as patch:
        waits, step = [], train.train_step

        def watched(training, index):
            before = gpu.waits.copy()
            loss = step(training, index)
            waits.append(gpu.waits - before)
            return loss

        patch.setattr(train, "train_step", watched)
        return fitted(run, world, **more), waits


def agree(one, two):
    """Whether two runs have one result: their networks may lie on different devices."""
    states = [{name: getattr(v, "held", v) for name, v in each.model.state_dict().items()} for each in (one, two)]
    numbers = ("history", "metrics", "histogram", "resets")
    return equal(*states) and all(getattr(one, name) == getattr(two, name) for name in numbers)


def slow_but(*quick):
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in CASES]


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("case", slow_but("base", "10M", ACTING["hare_tortoise"], ACTING["continual_backprop"]))
def test_each_method_does_what_it_does_on_a_cpu_and_no_step_waits(world, case, graph):
    run = run_of(case, graph=graph)
    result, waits = on_gpu(run, world)
    assert agree(result, fitted(run, world, "cpu"))
    if case.startswith("selective_reinit"):  # it asks for thresholds when it acts, every fourth step
        waits = [wait for step, wait in enumerate(waits, 1) if step % 4]
    assert len(waits) > 5 and not any(waits)


FAMILIES = {
    "mini_simplenet": {},
    "mini_vit": {"optimizer": "adamw", "lr": 1e-3},
    "mini_vgg": {"dataset": "digits", "weights": "none"},
    "efficientnet_lite0": {"weights": "none", "max_epochs": 1, "channels_last": False},  # last: other rounding
    "timm/test_convnext": {"weights": "none", "max_epochs": 1},
}
SETTINGS = [
    *({"architecture": name} | fields for name, fields in FAMILIES.items()),
    *({"case": "10M"} | fields for fields in ({"reading": "text"}, {"utility": "gradient"}, {"scope": "global"})),
    *({name: value} for name, value in (("channels_last", False), ("precision", "bf16"), ("precision", "tf32"))),
    *({"augment": name} for name in AUGMENTATIONS if name != "released"),
    {"clip": 0.1, "schedule": "cosine", "warmup": 0.3, "weight_decay": 0.01},
    {"scenario": "warm_start(subset=0.5)", "validation": 0.0, "measure": 1, "case": "shrink_perturb"},
    {"scenario": "warm_start(subset=0.5)", "validation": 0.0, "case": "l2_init", "monitor": "validation"},
]


@pytest.mark.slow
@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("fields", SETTINGS, ids=str)
def test_each_network_and_setting(world, fields, graph):
    fields = {"case": "base"} | fields
    cpu, (gpu, waits) = fitted(run_of(**fields), world, "cpu"), on_gpu(run_of(**fields, graph=graph), world)
    assert not any(waits)
    if "measure" in fields or graph and {"schedule", "optimizer"} & fields.keys():  # a graph's rate has 24 bits
        assert all(one == pytest.approx(two, rel=1e-4) for one, two in zip(gpu.history, cpu.history, strict=True))
    else:
        assert agree(gpu, cpu)


@pytest.mark.parametrize("graph", [False, True])
def test_the_released_augmentation_differs_by_rounding_alone(world, graph):
    run = run_of("10M", augment="released", graph=graph)
    (result, waits), cpu = on_gpu(run, world), fitted(run, world, "cpu")
    assert result.history[0]["train_loss"] == pytest.approx(cpu.history[0]["train_loss"], rel=1e-4)
    assert not any(waits)


@pytest.mark.slow
@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("case", ["10M", ACTING["hare_tortoise"], ACTING["continual_backprop"], "l2_sp"])
def test_an_interrupted_run_goes_on_to_the_same_result(world, tmp_path, case, graph):
    run = run_of(case, graph=graph, max_epochs=3, augment="flip", optimizer="adamw", lr=1e-3)
    whole, _ = on_gpu(run, world)
    with pytest.raises(Interrupted), Interrupting(tmp_path / "state", 1) as checkpoint:
        on_gpu(run, world, checkpoint=checkpoint)
    with Resuming(tmp_path / "state") as checkpoint:
        resumed, waits = on_gpu(run, world, checkpoint=checkpoint)
    assert resumed.resumed == [1] and agree(resumed, whole) and not any(waits)


def test_few_kernels_of_one_shape_augment_a_batch(world):
    """At most 60 for a batch of 32, its normalisation included; as many whatever is drawn."""
    counts = set()
    for seed in range(5):
        with pretended() as gpu:
            made = {"images": photographs(32, 64, 64), "labels": torch.zeros(32)}
            batches = Batches(SimpleNamespace(**made, mean=torch.ones(3), std=torch.ones(3)), torch.device(GPU))
            index, table = torch.arange(32).to(GPU), AUGMENTATIONS["released"].draw(32, 64, 64, seeded(seed))
            table = table.to(GPU)
            gpu.kernels.clear()
            gpu.waits.clear()
            batches(index, AUGMENTATIONS["released"], table)
        assert not gpu.waits
        counts.add(tuple(sorted(gpu.kernels.items())))
    assert len(counts) == 1 and sum(dict(*counts).values()) <= 60


def test_plan_measures_steps_on_a_gpu():
    with pretended():
        assert measure(run_of("10M", weights="none"), 32, 3, torch.device(GPU)) > 0


class Asking(Intervention):
    """A penalty that asks the GPU for a number."""

    def penalty(self, model, logits, images):
        return logits.sum() * logits.max().item()


class Counting(Intervention):
    """A penalty that depends on a number of the host."""

    steps = 0

    def penalty(self, model, logits, images):
        self.steps += 1
        return logits.square().mean() * self.steps


def test_what_waits_is_found_and_can_not_be_captured(world):
    _, waits = on_gpu(run_of("base"), world, intervention=Asking())
    assert all(sum(wait.values()) == 1 for wait in waits)
    with pytest.raises(RuntimeError, match="use graph=False: operation not permitted"):
        on_gpu(run_of("base", graph=True), world, intervention=Asking())


def test_a_graph_keeps_the_numbers_of_its_capture_so_that_a_method_that_changes_them_is_found(world):
    result, _ = on_gpu(run_of("base", graph=True), world, intervention=Counting())
    assert not agree(result, fitted(run_of("base"), world, "cpu", intervention=Counting()))


def test_the_pretended_gpu_refuses_what_a_gpu_refuses():
    with pretended() as gpu:
        here, there = torch.ones(3), torch.ones(3).to(GPU)
        gpu.waits.clear()
        for wrong in (lambda: here + there, lambda: torch.cat([here, there]), lambda: here[there.long()]):
            with pytest.raises(RuntimeError, match="device|cuda"):
                wrong()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(3, generator=seeded(), device=GPU)
        assert not gpu.waits and there.device.type == "cuda" and (there + 1).is_cuda and there.mul_(2) is there
        for asks in (there.sum().item, there.nonzero, there.cpu, there.tolist, lambda: here.to(GPU)):
            before = sum(gpu.waits.values())
            asks()
            assert sum(gpu.waits.values()) == before + 1
        here.to(GPU, non_blocking=True)
        assert any("not pinned" in wait for wait in gpu.waits)
        before = gpu.waits.copy()
        assert here.pin_memory().to(GPU, non_blocking=True).cpu().tolist() == [1, 1, 1]
        assert sum((gpu.waits - before).values()) == 1, "the copy back alone"


def test_a_capture_leaves_the_training_as_it_was(world):
    with pretended():
        training = train.begin(run_of("base", graph=True), world, GPU, weights=world / "mini_resnet.pt")
        train.begin_phase(training, 1)
        before = {name: value.held.clone() for name, value in training.model.state_dict().items()}
        random = torch.get_rng_state()
        index = training.phase.items[:8].to(GPU)
        table = train.augmentation(training).draw(8, 32, 32, training.draws).to(GPU)
        training.model.train()
        graph = Graph(training, train.update, index, table)
        after = {name: value.held for name, value in training.model.state_dict().items()}
        assert equal(before, after) and torch.equal(random, torch.get_rng_state())
        moments = [state["momentum_buffer"] for state in training.optimizer.state.values()]
        assert moments and not any(moment.held.any() for moment in moments)
        graph(index, table, 0.01)
        assert not equal(before, after) and training.optimizer.param_groups[0]["lr"] == training.run.lr
