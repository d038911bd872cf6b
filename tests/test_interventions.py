"""The hooks in their order and number, really trained by ``fit``; and the paper's case behind them."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from helpers import equal, start_of, state_of
from torch import nn
from torch.nn import functional as F

from plasticity import Run, data, fit, reinitialize, train
from plasticity.datasets.prepare import pack
from plasticity.datasets.world import Arrays
from plasticity.interventions import Intervention, Reinitialize, Scratch
from plasticity.methods.averages import Ema
from plasticity.methods.combined import Combined
from plasticity.methods.registry import build, canonical
from plasticity.networks import table as models
from plasticity.networks.loading import load_backbone, read_weights
from plasticity.networks.parts import competing

torch.set_num_threads(1)
SGD = {"optimizer": "sgd", "lr": 0.02, "momentum": 0.9, "batch_size": 8, "max_epochs": 3, "patience": 0}
RUN = Run("mini_simplenet", "photos", augment="flip", **SGD)
STEPS = 3 * 3  # 36 train items, of which 7 validate; 3 whole batches of 8 an epoch


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a packed data set, 3 classes x 16 noisy images of a colour, and a file of pretrained weights."""
    folder = tmp_path_factory.mktemp("world")
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 16)
    images = draw.integers(0, 120, (48, 32, 32, 3)).astype(np.uint8)
    for label in range(3):
        images[labels == label, :, :, label] += 60
    test = np.tile(np.arange(16) < 4, 3)
    names = ("red", "green", "blue")
    pack(folder, "photos", Arrays(images, labels.astype(np.int64), test, names, ["made here"] * 48))
    model = models.build("mini_simplenet", 9, seed=123)
    with torch.no_grad():
        for buffer in model.buffers():  # so that running statistics are not those of a fresh network
            buffer.add_(1)
    torch.save(model.state_dict(), folder / "pretrained.pt")
    return folder


@pytest.fixture(scope="module")
def base(world):
    return go(world)


def go(world, run=RUN, intervention=None):
    return fit(run, folder=world, device="cpu", weights=world / "pretrained.pt", intervention=intervention)


# --- the hooks --------------------------------------------------------------------------------------------------------


class Recorder(Intervention):
    """Writes each moment down in a list shared with others."""

    def __init__(self, name, calls, penalty=None):
        self.name, self.calls, self.value = name, calls, penalty

    def prepare(self, model, start):
        self.calls.append((self.name, "prepare"))
        return [{"name": self.name}]

    def penalty(self, model, logits, images):
        self.calls.append((self.name, "penalty", tuple(logits.shape)))
        return self.value

    def after_step(self, step):
        self.calls.append((self.name, "after_step", step))

    def after_epoch(self, epoch):
        self.calls.append((self.name, "after_epoch", epoch))

    def evaluated(self, model):
        self.calls.append((self.name, "evaluated"))
        return model

    def state_dict(self):
        return {"name": self.name}

    def load_state_dict(self, state):
        self.calls.append((self.name, "load", state["name"]))


# --- through fit ------------------------------------------------------------------------------------------------------
def test_the_base_run_repeats_bit_for_bit(world, base):
    again = go(world)
    assert equal(base.model, again.model) and base.history == again.history
    assert not equal(base.model, go(world, replace(RUN, seed=1)).model.state_dict())


def test_doing_nothing_is_the_base_run(world, base):
    assert equal(base.model, go(world, intervention=Intervention()).model.state_dict())


def test_the_moments_come_in_their_order_and_number(world, base):
    calls = []
    fitted = go(world, intervention=Recorder("a", calls))
    moments = [call[1:] for call in calls]
    expected = [("prepare",)]
    for epoch in (1, 2, 3):
        for step in range(3 * epoch - 2, 3 * epoch + 1):
            expected += [("penalty", (8, 3)), ("after_step", step)]
        expected.append(("after_epoch", epoch))
        expected.append(("evaluated",))
    assert [m for m in moments if m != ("evaluated",)] == [m for m in expected if m != ("evaluated",)]
    positions = [i for i, m in enumerate(moments) if m[0] == "after_epoch"]
    assert all(moments[i + 1] == ("evaluated",) for i in positions), "an epoch ends before it is validated"
    assert fitted.resets == [{"name": "a"}]
    assert equal(fitted.model, base.model)


def test_the_best_model_is_the_predictor_of_the_best_epoch(world):
    class Kept(Ema):
        states = ()

        def after_epoch(self, epoch):
            self.states = (*self.states, state_of(self.slow))

    fitted = go(world, intervention=(kept := Kept(0.5)))
    best = min(fitted.history, key=lambda row: row["validation_loss"])["epoch"]
    assert fitted.metrics["best_epoch"] == best and equal(fitted.best_model, kept.states[best - 1])


# --- the paper's case, the controls -----------------------------------------------------------------------------------
class Snapshot(Intervention):
    """What the network is before the first step, and the pixels it then sees."""

    def prepare(self, model, start):
        self.state, self.seen = state_of(model), []

        def see(module, inputs):
            if module.training:
                self.seen.append(inputs[0].clone())

        model.register_forward_pre_hook(see)
        return []


def loaded(world, head_seed=RUN.seed):
    """The pretrained network with the new head of a seed, as fit puts it together."""
    model = models.build("mini_simplenet", 3, seed=train.generator(head_seed, "model").initial_seed())
    load_backbone(model, read_weights(world / "pretrained.pt"), "classifier")
    return model


def test_the_papers_case_is_reinitialize_on_the_pretrained_network(world):
    run = replace(RUN, case="10MN", reading="text")
    snapshot = Snapshot()
    fitted = go(world, run, Combined([run.intervention(), snapshot]))
    expected = loaded(world).to(memory_format=torch.channels_last)
    report = reinitialize(expected, "10MN", reading="text", generator=train.generator(run.seed, "reinit"))
    assert equal(snapshot.state, expected)
    assert [(r["name"], r["kind"], r["size"], r["reset"]) for r in fitted.resets] == [
        (t.name, t.kind, t.size, t.reset) for t in report.tensors
    ]
    assert equal(go(world, run).model.state_dict(), fitted.model.state_dict())


@pytest.mark.parametrize("field, value", [("scope", "global"), ("biases", "keep"), ("reading", "text")])
def test_the_runs_fields_reach_the_method(world, field, value):
    run = replace(RUN, case="10M", **{field: value})
    model, expected = loaded(world), loaded(world)
    run.intervention().prepare(model, start_of())
    reinitialize(expected, "10M", **{field: value})
    assert equal(model, expected)
    reinitialize(expected := loaded(world), "10M")
    assert not equal(model, expected)


@pytest.mark.parametrize(
    "architecture, tensors, left_out, added",
    [
        ("mini_simplenet", "no_head", {"classifier.weight", "classifier.bias"}, set()),
        ("mini_vit", "no_head", {"heads.head.weight", "heads.head.bias"}, set()),
        (
            "mini_vit",
            "no_embeddings",
            {"class_token", "encoder.pos_embedding", "conv_proj.weight", "conv_proj.bias"},
            set(),
        ),
        (
            "mini_resnet",
            "with_gains",
            set(),
            {"bn1.weight"}
            | {f"layers.{i}.bn{j}.weight" for i in range(4) for j in (1, 2, 3)}
            | {f"layers.{i}.downsample.1.weight" for i in (0, 1, 3)},
        ),
        (
            "mini_vit",
            "with_gains",
            set(),
            {f"encoder.layers.encoder_layer_{i}.ln_{j}.weight" for i in range(4) for j in (1, 2)}
            | {"encoder.ln.weight"},
        ),
        ("mini_vit", "weights", set(), set()),
    ],
)
def test_which_tensors_compete(architecture, tensors, left_out, added):
    run = Run(architecture, "photos", "10M", tensors=tensors)
    start = start_of(head=models.architecture(architecture).head)
    model = models.build(architecture, 5, seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rows = {row["name"]: row for row in run.intervention().prepare(model, start)}
    usual = {t.name for t in reinitialize(models.build(architecture, 5, seed=0), "10M", dry_run=True).tensors}
    assert usual - rows.keys() == left_out and not left_out & rows.keys()
    new = rows.keys() - usual
    assert new == added
    assert all(row["reset"] == row["size"] // 10 for row in rows.values()), "floor(P x size), each a tensor of its own"
    assert all(rows[name]["kind"] == "weight" for name in new)
    touched = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert touched <= {name for name, row in rows.items() if row["reset"]}


def test_the_embeddings_of_another_librarys_vision_transformer():
    model = timm.models.VisionTransformer(img_size=16, patch_size=8, embed_dim=16, depth=1, num_heads=1, num_classes=3)
    run = Run("mini_vit", "photos", "10M", tensors="no_embeddings")
    found = competing(model, run.tensors, "")
    assert found == {"exclude": ["cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"]}


def test_a_network_without_such_tensors_says_so():
    for case, tensors, model in (
        ("mini_resnet", "no_embeddings", "MiniResNet has no class token, position embedding or patch"),
        ("mlp", "with_gains", "Chain has no gain of a norm layer"),
    ):
        run = Run(case, "photos", "10M", tensors=tensors)
        with pytest.raises(ValueError, match=f"tensors='{tensors}': {model}.*use tensors='weights'"):
            run.intervention().prepare(models.build(case, 3, seed=0), start_of(head="fc"))


def test_scratch_has_the_head_and_batches_of_base_but_no_pretrained_weights(world, tmp_path):
    of_base, of_scratch = Snapshot(), Scratch()
    go(world, intervention=of_base)
    snapshot = Snapshot()
    run = replace(RUN, case="scratch")
    fitted = go(world, run, Combined([of_scratch, snapshot]))
    fresh = models.build("mini_simplenet", 3, seed=train.generator(RUN.seed, "model").initial_seed())
    assert equal(snapshot.state, fresh)
    head = ("classifier.weight", "classifier.bias")
    assert all(torch.equal(snapshot.state[n], of_base.state[n]) for n in head)
    assert equal(of_base.state, loaded(world).state_dict())
    convolutions = [n for n in snapshot.state if snapshot.state[n].ndim == 4]
    assert len(convolutions) == 9 and not any(torch.equal(snapshot.state[n], of_base.state[n]) for n in convolutions)
    assert len(snapshot.seen) == STEPS
    assert all(torch.equal(a, b) for a, b in zip(snapshot.seen, of_base.seen, strict=True))
    assert fitted.inputs["weights"] is None
    plain = fit(run, folder=world, device="cpu", weights=tmp_path / "absent.pt")
    assert equal(plain.model, fitted.model)


def test_every_case_of_a_seed_sees_the_same_batches(world):
    seen = []
    for case in ("base", "25N"):
        go(world, replace(RUN, case=case), Combined([build(case), snapshot := Snapshot()]))
        seen.append(snapshot.seen)
    assert len(seen[0]) == STEPS and all(torch.equal(a, b) for a, b in zip(*seen, strict=True))


def test_the_gradients_touch_neither_buffers_nor_grad_and_are_the_sum_over_the_train_items(world):
    class Probe(Intervention):
        def prepare(self, model, start):
            before, rng = state_of(model), torch.random.get_rng_state()
            self.gradients = start.gradients()
            self.untouched = equal(before, model)
            self.grads = [p.grad for p in model.parameters()]
            self.state, self.quiet = before, torch.equal(rng, torch.random.get_rng_state())
            return []

    fitted = go(world, intervention=(probe := Probe()))
    assert probe.untouched and probe.quiet and all(grad is None for grad in probe.grads)
    packed = data.load(world, "photos")
    items, _ = data.split(packed, RUN.validation, train.generator(RUN.seed, "split"))
    model = loaded(world).eval()
    for index in items.split(RUN.batch_size):  # .grad sums by itself: the obvious reference
        pixels = packed.images[index].permute(0, 3, 1, 2).float() / 255
        pixels = (pixels - packed.mean.view(3, 1, 1)) / packed.std.view(3, 1, 1)
        F.cross_entropy(model(pixels), packed.labels[index]).backward()
    assert probe.gradients.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        assert torch.allclose(probe.gradients[name], parameter.grad, rtol=1e-3, atol=1e-4), name
    assert equal(fitted.model, go(world).model.state_dict()), "asking for gradients moves no stream"


def test_a_gradient_utility_case_uses_the_gradients(world):
    run = replace(RUN, case="10M", utility="gradient")
    asked = {}

    class Between(Intervention):
        def prepare(self, model, start):
            asked.update(start.gradients())
            return []

    snapshot = Snapshot()
    go(world, run, Combined([Between(), run.intervention(), snapshot]))
    expected = loaded(world).to(memory_format=torch.channels_last)
    reinitialize(expected, "10M", utility="gradient", gradients=asked)
    assert equal(snapshot.state, expected)
    reinitialize(expected := loaded(world), "10M")
    assert not equal(snapshot.state, expected)


# --- combinations -----------------------------------------------------------------------------------------------------
def test_a_combination_runs_its_parts_in_order():
    calls = []
    penalties = {"a": torch.tensor(2.0), "b": None, "c": torch.tensor(0.5)}
    both = Combined([Recorder(name, calls, penalty) for name, penalty in penalties.items()])
    model, logits = nn.Linear(2, 2), torch.zeros(4, 2)
    assert both.prepare(model, None) == [{"name": "a"}, {"name": "b"}, {"name": "c"}]
    assert both.penalty(model, logits, None).item() == 2.5
    both.after_step(7)
    both.after_epoch(2)
    assert both.evaluated(model) is model
    both.load_state_dict(both.state_dict())
    moments = [("prepare",), ("penalty", (4, 2)), ("after_step", 7), ("after_epoch", 2), ("evaluated",)]
    expected = [(name, *moment) for moment in moments for name in "abc"]
    assert calls == expected + [(name, "load", name) for name in "abc"]
    assert Combined([Recorder("a", [])]).penalty(model, logits, None) is None


def test_a_combination_by_name(world):
    run = replace(RUN, case="10 M+ema(momentum=0.5)")
    assert run.case == "10M + ema(momentum=0.5)" and "10M+ema" in str(run)
    fitted, plain = go(world, run), go(world, replace(RUN, case="10M"))
    assert fitted.resets == plain.resets and not equal(fitted.model, plain.model)
    assert [row["train_loss"] for row in fitted.history] == [row["train_loss"] for row in plain.history]


@pytest.mark.parametrize("text, case", [("10M + ema", "10M"), ("ema + 10M", "base")])
def test_the_order_of_a_combination_counts(world, text, case):
    """The copy that ema makes at its turn holds the reset weights only if the reset came first."""
    method, expected = build(text), loaded(world)
    method.prepare(loaded(world), start_of())
    reinitialize(expected, case, biases="smallest" if case == "10M" else "keep")
    assert equal(method.evaluated(None), expected)


def test_one_part_without_pretrained_weights_decides():
    assert not build("scratch").pretrained and not build("base + scratch").pretrained
    assert build("base").pretrained and build("10M + base").pretrained


# --- spelling ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text, written",
    [
        ("10M", "10M"),
        ("10 M", "10M"),
        ("10.0M", "10M"),
        (" 2.50 MN ", "2.5MN"),
        ("base", "base"),
        ("biases", "biases"),
        ("scratch", "scratch"),
        ("10 M+ema", "10M + ema"),
        ("ema  +  25NS", "ema + 25NS"),
        ("0.0001M", "0.0001M"),
        ("12.3456789N", "12.3456789N"),
    ],
)
def test_canonical_writes_one_way(text, written):
    assert canonical(text) == written and canonical(written) == written


KINDS = {"10M": Reinitialize, "base": Reinitialize, "scratch": Scratch, "5M + 5N": Combined}


@pytest.mark.parametrize("text, kind", KINDS.items())
def test_build_gives_the_method(text, kind):
    assert type(build(text)) is kind


@pytest.mark.parametrize(
    "text, message",
    [
        ("10X", r"case '10X': unknown case '10X'.*methods: M, MN.*or a method by name: scratch"),
        ("10M + emma", r"case '10M \+ emma': unknown case 'emma'"),
        ("10M +", r"case '10M \+'"),
        ("", "case ''"),
        ("MN", "case 'MN' lacks the percentage to reset, as in '10MN'"),
        ("0M", r"case '0M': fraction 0\.0 is outside"),
        ("150M", r"case '150M': fraction 1\.5 is outside"),
        ("-10M", "case '-10M'"),
        ("10m", "case '10m'"),
    ],
)
@pytest.mark.parametrize("function", [canonical, build])
def test_unknown_cases_are_value_errors_that_name_them(text, message, function):
    with pytest.raises(ValueError, match=message):
        function(text)
