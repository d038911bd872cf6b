"""The training loop: what it must repeat, when it must stop, and what it must not touch."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from helpers import Interrupted, Interrupting, same
from torch.nn import functional as F

from plasticity import data, interventions, train
from plasticity.cli.inventory import has_weights
from plasticity.datasets.prepare import pack
from plasticity.files import file_sha256
from plasticity.methods import registry as methods
from plasticity.run import Run
from plasticity.running.checkpoints import Checkpoint
from plasticity.running.pretrain import pretrain
from plasticity.training import measures
from plasticity.training.augment import AUGMENTATIONS
from plasticity.training.batches import sum_of_gradients
from plasticity.weights import weights_file


def weights_of(fitted):
    return torch.cat([v.flatten().float() for v in fitted.model.state_dict().values()])


@pytest.mark.parametrize("architecture", ["mini_simplenet", "mini_resnet", "mini_vit"])
def test_repeats_bit_for_bit(world, tiny_run, architecture):
    run = tiny_run(architecture, "10N")
    first, second = (train.fit(run, world, "cpu", weights=world / f"{architecture}.pt") for _ in range(2))
    assert torch.equal(weights_of(first), weights_of(second))
    assert first.history == second.history and first.metrics == second.metrics


def test_global_random_state_neither_matters_nor_moves(world, tiny_run):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = train.fit(tiny_run(case="10NS"), world, "cpu", weights=world / "mini_resnet.pt")
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(
        weights_of(first), weights_of(train.fit(tiny_run(case="10NS"), world, "cpu", weights=world / "mini_resnet.pt"))
    )


def test_another_seed_is_another_run(world, tiny_run):
    first, second = (train.fit(tiny_run(seed=s), world, "cpu", weights=world / "mini_resnet.pt") for s in (0, 1))
    assert not torch.equal(weights_of(first), weights_of(second))


def test_seeds_are_paired_across_cases(world, tiny_run):
    """Split, head and batch order are the same for every case of a seed: only the re-initialised entries differ at the
    start."""
    seen = {}

    class Spy(interventions.Intervention):
        def __init__(self, inner):
            self.inner, self.pretrained, self.logits = inner, inner.pretrained, []

        def prepare(self, model, start):
            rows = self.inner.prepare(model, start)
            self.head = copy.deepcopy(model.fc.state_dict())
            return rows

    for case in ("base", "10M", "scratch"):
        spy = Spy(methods.build(case))
        fitted = train.fit(
            tiny_run(case=case, max_epochs=1), world, "cpu", weights=world / "mini_resnet.pt", intervention=spy
        )
        seen[case] = (spy.head, fitted)
    assert torch.equal(seen["base"][0]["weight"], seen["scratch"][0]["weight"])
    changed = (seen["base"][0]["weight"] != seen["10M"][0]["weight"]).sum()
    assert 0 < changed <= seen["base"][0]["weight"].numel() * 0.1
    orders = [train.generator(3, "order") for _ in range(2)]
    assert torch.equal(torch.randperm(50, generator=orders[0]), torch.randperm(50, generator=orders[1]))
    assert train.generator(3, "order").initial_seed() != train.generator(3, "split").initial_seed()


def test_split_is_disjoint_seeded_and_never_test(world):
    packed = data.load(world, "photos")
    parts = [data.split(packed, 0.25, train.generator(s, "split")) for s in (0, 0, 1)]
    fit_items, validation = parts[0]
    assert len(validation) == 12 and len(fit_items) == 36
    assert not set(fit_items.tolist()) & set(validation.tolist())
    assert not packed.test[torch.cat(parts[0])].any()
    assert torch.equal(validation, parts[1][1]) and not torch.equal(validation, parts[2][1])


def test_without_groups_the_split_is_the_first_of_one_permutation(world):
    packed = data.load(world, "photos")
    items = torch.arange(72)[torch.arange(72) % 3 > 0]
    for share, count in ((0.2, 10), (0.25, 12), (0, 0)):
        shuffled = items[torch.randperm(48, generator=train.generator(7, "split"))]
        parts = data.split(packed, share, train.generator(7, "split"))
        assert torch.equal(parts[0], shuffled[count:]) and torch.equal(parts[1], shuffled[:count])


@pytest.mark.parametrize(("share", "held"), [(0, 0), (0.05, 1), (0.2, 1), (0.4, 2), (0.99, 3)])
def test_groups_are_held_out_whole_by_class_and_never_all(world, share, held):
    packed = data.load(world, "photos")
    groups = torch.where(
        packed.test, -1, torch.arange(72) // 6
    )  # four of each class, of four items that are learned from
    packed, seen = replace(packed, groups=groups), set()
    for seed in range(20):
        learned, checked = data.split(packed, share, train.generator(seed, "split"))
        assert len({*learned.tolist(), *checked.tolist()}) == 48 and len(checked) == 12 * held
        assert not set(groups[learned].tolist()) & set(groups[checked].tolist())
        assert [len(groups[checked][packed.labels[checked] == label].unique()) for label in range(3)] == [held] * 3
        seen |= set(groups[checked].tolist())
    assert len(seen) == (12 if held else 0), "each group is drawn at times"


def test_early_stopping_counts_patience_epochs(world, tiny_run, monkeypatch):
    losses = iter([5.0, 3.0, 4.0, 3.5, 3.0, 9.0])  # lowest in epoch 2; an equal loss in epoch 5 is no improvement
    real = train.evaluate

    def scripted(model, batches, items, *rest):
        loss, accuracy = real(model, batches, items, *rest)
        return (next(losses) if len(items) == 10 else loss), accuracy

    monkeypatch.setattr(train, "evaluate", scripted)
    fitted = train.fit(tiny_run(max_epochs=50, patience=3), world, "cpu", weights=world / "mini_resnet.pt")
    assert (fitted.metrics["epochs"], fitted.metrics["best_epoch"]) == (5, 2)
    assert [row["epoch"] for row in fitted.history] == [1, 2, 3, 4, 5]
    assert fitted.metrics["best_validation_loss"] == 3.0


def test_last_and_best_weights_are_both_tested(world, tiny_run):
    fitted = train.fit(tiny_run(max_epochs=6, lr=0.05), world, "cpu", weights=world / "mini_resnet.pt")
    packed = data.load(world, "photos")
    batches, test = train.Batches(packed, torch.device("cpu")), packed.test.nonzero().flatten()
    assert train.evaluate(fitted.model, batches, test)[1] == fitted.metrics["accuracy"]
    assert train.evaluate(fitted.best_model, batches, test)[1] == fitted.metrics["best_accuracy"]
    assert fitted.metrics["test_items"] == 24
    best = min(fitted.history, key=lambda row: row["validation_loss"])
    assert best["epoch"] == fitted.metrics["best_epoch"]


def test_test_items_that_are_monitored_decide_and_the_same_items_are_trained_on(world, tiny_run, monkeypatch):
    run, real, seen = tiny_run(max_epochs=50, patience=2), train.evaluate, []
    # of the test items, lowest in epoch 2; the last is the measurement at the end
    losses = iter([5.0, 3.0, 4.0, 3.5, 9.0])

    def scripted(model, batches, items, *rest):
        seen.append(len(items))
        return (next(losses, 9.0) if len(items) == 24 else real(model, batches, items, *rest)[0]), real(
            model, batches, items, *rest
        )[1]

    monkeypatch.setattr(train, "evaluate", scripted)
    found = train.fit(replace(run, monitor="test"), world, "cpu", weights=world / "mini_resnet.pt")
    assert (found.metrics["epochs"], found.metrics["best_epoch"], found.metrics["best_test_loss"]) == (4, 2, 3.0)
    assert set(seen) == {24}, "the 10 validation items are held out, and never looked at"
    assert set(found.history[0]) == {"epoch", "train_loss", "test_loss", "test_accuracy"}
    monkeypatch.setattr(train, "evaluate", real)
    usual = train.fit(replace(run, max_epochs=4, patience=0), world, "cpu", weights=world / "mini_resnet.pt")
    assert [row["train_loss"] for row in found.history] == [row["train_loss"] for row in usual.history]
    assert torch.equal(weights_of(found), weights_of(usual)), "until the stop it is the same run"
    second = train.fit(replace(run, max_epochs=2, patience=0), world, "cpu", weights=world / "mini_resnet.pt")
    assert found.metrics["best_accuracy"] == second.metrics["accuracy"] == found.metrics["best_test_accuracy"]


def test_a_run_that_monitors_test_items_resumes_bit_for_bit(world, tiny_run, tmp_path):
    run = tiny_run(max_epochs=5, patience=2, monitor="test", lr=0.05)
    whole = train.fit(run, world, "cpu", weights=world / "mini_resnet.pt")
    with pytest.raises(Interrupted), Interrupting(tmp_path / "running", 2) as checkpoint:
        train.fit(run, world, "cpu", weights=world / "mini_resnet.pt", checkpoint=checkpoint)
    with Checkpoint(tmp_path / "running") as checkpoint:
        again = train.fit(run, world, "cpu", weights=world / "mini_resnet.pt", checkpoint=checkpoint)
    assert again.resumed == [2] and same(whole, again)


def test_learns_the_tiny_task(world, tiny_run):
    fitted = train.fit(tiny_run(max_epochs=12, lr=0.02), world, "cpu", weights=world / "mini_resnet.pt")
    assert fitted.metrics["accuracy"] > 0.8 and fitted.history[-1]["train_loss"] < fitted.history[0]["train_loss"] / 2


@pytest.mark.filterwarnings("ignore")
def test_divergence_is_a_clear_failure(world, tiny_run):
    with pytest.raises(train.Diverged, match=r"training loss is .* in epoch 1 .*lr 1e\+30.*lower the learning rate"):
        train.fit(tiny_run(lr=1e30), world, "cpu", weights=world / "mini_resnet.pt")


def test_equals_a_plain_loop(world, tiny_run):
    """One epoch of fit against the obvious loop written here: same items, same numbers."""
    run = tiny_run("mini_simplenet", max_epochs=1, augment="none", clip=1.0, weight_decay=0.01)
    fitted = train.fit(run, world, "cpu", weights=world / "mini_simplenet.pt")
    packed = data.load(world, "photos")
    model, *_ = train.build(run, world, weights=world / "mini_simplenet.pt")
    items, _ = data.split(packed, run.validation, train.generator(0, "split"))
    items = items[torch.randperm(len(items), generator=train.generator(0, "order"))]
    optimizer = torch.optim.SGD(model.parameters(), run.lr, momentum=0.9, weight_decay=0.01, foreach=False, fused=False)
    for start in range(0, len(items) - 7, 8):
        batch = items[start : start + 8]
        pixels = packed.images[batch].permute(0, 3, 1, 2).float() / 255
        pixels = (pixels - packed.mean.view(1, 3, 1, 1)) / packed.std.view(1, 3, 1, 1)
        optimizer.zero_grad()
        F.cross_entropy(model(pixels), packed.labels[batch]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    theirs = torch.cat([v.flatten().float() for v in model.state_dict().values()])
    torch.testing.assert_close(weights_of(fitted), theirs, rtol=1e-3, atol=1e-4)


def test_schedule_by_hand():
    run = Run("mini_vit", "photos", lr=1.0, schedule="cosine", warmup=0.1)
    factors = [train.lr_factor(run, step, 100) for step in (1, 5, 10, 51)]
    assert factors == pytest.approx(
        [0.1, 0.5 * (0.5 + 0.5 * math.cos(math.pi * 0.04)), 0.5 + 0.5 * math.cos(math.pi * 0.09), 0.5]
    )
    assert train.lr_factor(Run("mini_vit", "photos"), 7, 10) == 1.0


def test_resets_are_reported_in_the_run(world, tiny_run):
    fitted = train.fit(tiny_run(case="25Z"), world, "cpu", weights=world / "mini_resnet.pt")
    rows = {row["name"]: row for row in fitted.resets}
    assert rows["conv1.weight"] == {"name": "conv1.weight", "kind": "weight", "size": 432, "reset": 108}
    assert rows["bn1.bias"]["kind"] == "bias" and rows["bn1.bias"]["reset"] == 4


def test_gradients_touch_nothing(world, tiny_run):
    run = tiny_run()
    model, *_ = train.build(run, world, weights=world / "mini_resnet.pt")
    before = copy.deepcopy(model.state_dict())
    batches = train.Batches(data.load(world, "photos"), torch.device("cpu"))
    gradients = sum_of_gradients(model, batches, torch.arange(20), 8)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert set(gradients) == {name for name, _ in model.named_parameters()} and gradients["fc.weight"].abs().sum() > 0


def test_histogram_counts_every_parameter(world, tiny_run):
    fitted = train.fit(tiny_run(max_epochs=1), world, "cpu", weights=world / "mini_resnet.pt")
    assert sum(fitted.histogram) == sum(p.numel() for p in fitted.model.parameters())
    assert len(fitted.histogram) == len(measures.HISTOGRAM_EDGES) - 1


def test_augmentations_keep_shape_and_draw_per_image():
    images = torch.arange(6 * 8 * 8 * 3).reshape(6, 8, 8, 3).to(torch.uint8)
    for name, augment in AUGMENTATIONS.items():
        first, again = (augment(images, torch.Generator().manual_seed(4)) for _ in range(2))
        assert (
            first.shape == images.shape and first.dtype in (torch.uint8, torch.float32) and torch.equal(first, again)
        ), name
    mirrored = AUGMENTATIONS["flip"](images, torch.Generator().manual_seed(0))
    same = [torch.equal(a, b) for a, b in zip(mirrored, images, strict=True)]
    flipped = [torch.equal(a, b.flip(1)) for a, b in zip(mirrored, images, strict=True)]
    assert any(same) and any(flipped) and all(a or b for a, b in zip(same, flipped, strict=True))


def test_missing_weights_and_wrong_devices_say_what_to_do(world, tiny_run):
    with pytest.raises(FileNotFoundError, match="resnet50-11ad3fa6.pth.*put it there.*11ad3fa62ca7"):
        train.fit(Run("resnet50", "photos"), world, "cpu")
    with pytest.raises(ValueError, match="no 'imagenet' weights of 'mini_vit'"):
        train.fit(Run("mini_vit", "photos"), world, "cpu")
    with pytest.raises(ValueError, match="device='tpu' is unknown.*'cpu'"):
        train.fit(tiny_run(), world, "tpu")


def test_pretraining_is_cached_by_its_content(world, tiny_run, monkeypatch):
    from helpers import tiny_arrays

    from plasticity.profiles import PRETRAINING

    pack(world, "source_small", tiny_arrays(classes=4, per_class=30))
    quick = {"max_epochs": 2}
    monkeypatch.setitem(PRETRAINING, "mini_resnet", PRETRAINING["mini_resnet"] | quick)
    with pytest.raises(FileNotFoundError, match="00_data_prep"):
        weights_file("mini_resnet", "source_small", world)
    log = pretrain("mini_resnet", "source_small", world, "cpu")
    path, sha256 = weights_file("mini_resnet", "source_small", world)
    stamp = path.stat().st_mtime_ns
    assert log["sha256"] == sha256 and pretrain("mini_resnet", "source_small", world, "cpu") == log
    assert path.stat().st_mtime_ns == stamp
    path.with_suffix(".json").unlink()
    assert pretrain("mini_resnet", "source_small", world, "cpu")["sha256"] == sha256, "the same training, the same file"
    monkeypatch.setitem(PRETRAINING, "mini_resnet", PRETRAINING["mini_resnet"] | {"max_epochs": 3})
    assert not has_weights("mini_resnet", "source_small", world)


@pytest.mark.slow
def test_full_size_network_through_the_released_recipe(tmp_path):
    """ResNet-50 from a local weights file with its own hash, the authors' augmentation, one epoch of two steps."""
    from helpers import tiny_arrays

    from plasticity.networks import table as models

    pack(tmp_path, "dtd", tiny_arrays(classes=2, per_class=6, size=64))
    torch.save(models.build("resnet50", 5, seed=1).state_dict(), tmp_path / "resnet.pt")
    run = Run("resnet50", "dtd", "5MN", max_epochs=1, batch_size=3)
    fitted = train.fit(run, tmp_path, "cpu", weights=tmp_path / "resnet.pt")
    assert fitted.metrics["epochs"] == 1 and fitted.metrics["test_items"] == 4
    assert fitted.inputs["weights"] == file_sha256(tmp_path / "resnet.pt")
    assert sum(row["reset"] for row in fitted.resets if row["kind"] == "weight") > 1_000_000


# --- how it is computed -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("architecture", ["mini_simplenet", "mini_resnet", "mini_vit"])
def test_channels_last_changes_rounding_alone(world, tiny_run, architecture):
    runs = [tiny_run(architecture, max_epochs=1, channels_last=order) for order in (True, False)]
    one, other = (train.fit(run, world, "cpu", weights=world / f"{architecture}.pt") for run in runs)
    assert one.history[0]["train_loss"] == pytest.approx(other.history[0]["train_loss"], rel=1e-4)
    torch.testing.assert_close(weights_of(one), weights_of(other), rtol=1e-2, atol=2e-3)
    assert runs[0].key != runs[1].key


def test_bf16_computes_in_bf16_and_keeps_float32_weights(world, tiny_run):
    seen = set()

    class Spy(interventions.Intervention):
        def prepare(self, model, start):
            model.layers[0].conv1.register_forward_hook(
                lambda module, inputs, output: seen.add((module.training, output.dtype))
            )
            return []

        def penalty(self, model, logits, images):
            seen.add(logits.dtype)

    run = tiny_run(max_epochs=2, precision="bf16")
    fitted = train.fit(run, world, "cpu", weights=world / "mini_resnet.pt", intervention=Spy())
    assert seen == {(True, torch.bfloat16), (False, torch.bfloat16), torch.float32}
    assert {p.dtype for p in fitted.model.parameters()} == {torch.float32}
    plain = train.fit(tiny_run(max_epochs=2), world, "cpu", weights=world / "mini_resnet.pt")
    assert fitted.history[0]["train_loss"] == pytest.approx(plain.history[0]["train_loss"], rel=0.05)
    assert fitted.history != plain.history


@pytest.mark.parametrize("precision", ["fp32", "bf16", "tf32", "fp32"])
def test_tf32_only_where_it_is_asked_for(world, tiny_run, precision):
    train.fit(tiny_run(max_epochs=1, precision=precision), world, "cpu", weights=world / "mini_resnet.pt")
    asked = precision == "tf32"
    assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == asked
    assert (torch.backends.cudnn.conv.fp32_precision == "tf32") == asked
    assert (torch.backends.cuda.matmul.fp32_precision == "tf32") == asked
    assert torch.get_float32_matmul_precision() == ("high" if asked else "highest")


def test_on_a_cpu_tf32_is_float32_bit_for_bit(world, tiny_run):
    one, other = (
        train.fit(tiny_run(max_epochs=1, precision=precision), world, "cpu", weights=world / "mini_resnet.pt")
        for precision in ("fp32", "tf32")
    )
    assert one.history == other.history and one.metrics == other.metrics
    assert all(torch.equal(a, b) for a, b in zip(*(f.model.state_dict().values() for f in (one, other)), strict=True))


@pytest.mark.slow
def test_compiled_steps_change_rounding_alone(world, tiny_run):
    one, other = (
        train.fit(tiny_run(max_epochs=2, lr=0.002, compiled=on), world, "cpu", weights=world / "mini_resnet.pt")
        for on in (True, False)
    )
    for mine, plain in zip(one.history, other.history, strict=True):
        assert mine == pytest.approx(plain, rel=1e-3)
    torch.testing.assert_close(weights_of(one), weights_of(other), rtol=1e-2, atol=1e-3)
