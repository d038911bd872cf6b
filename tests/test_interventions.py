"""The interface, proved on one method of each moment, really trained by ``fit``; and the paper's case behind it."""

import copy

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from plasticity import Run, data, fit, reinitialize, train
from plasticity.datasets.prepare import pack
from plasticity.datasets.world import Arrays
from plasticity.interventions import Intervention, Reinitialize, Scratch, Start
from plasticity.methods import registry as methods
from plasticity.methods.combined import Combined
from plasticity.methods.registry import build, canonical
from plasticity.networks import table as models
from plasticity.networks.loading import load_backbone, read_weights
from plasticity.networks.parts import competing

torch.set_num_threads(1)
RUN = Run(
    "mini_simplenet",
    "photos",
    optimizer="sgd",
    lr=0.02,
    momentum=0.9,
    batch_size=8,
    max_epochs=3,
    patience=0,
    augment="flip",
)
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


def state_of(model):
    return {n: v.clone() for n, v in model.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def distance(model, anchor):
    return sum((p.detach() - anchor[n]).square().sum() for n, p in model.named_parameters()).sqrt().item()


# --- a method for each moment -----------------------------------------------------------------------------------------
class L2Init(Intervention):
    """penalty: pulls the weights to where they began."""

    def __init__(self, strength):
        self.strength = strength

    def prepare(self, model, start):
        self.anchor = {n: p.detach().clone() for n, p in model.named_parameters()}
        return []

    def penalty(self, model, logits, images):
        return self.strength * sum((p - self.anchor[n]).square().sum() for n, p in model.named_parameters())


class Ema(Intervention):
    """after_step and evaluated: a slow copy, parameters and buffers, that predicts."""

    rate = 0.5

    def prepare(self, model, start):
        self.model, self.slow, self.steps = model, copy.deepcopy(model), []
        return [{"name": "ema"}]

    def after_step(self, step):
        self.steps.append(step)
        for slow, fast in zip(self.slow.state_dict().values(), self.model.state_dict().values(), strict=True):
            slow.lerp_(fast, 1 - self.rate) if slow.is_floating_point() else slow.copy_(fast)

    def evaluated(self, model):
        return self.slow

    def state_dict(self):
        return {"slow": state_of(self.slow), "steps": list(self.steps)}

    def load_state_dict(self, state):
        self.slow.load_state_dict(state["slow"])
        self.steps = list(state["steps"])


class HareTortoise(Ema):
    """after_epoch: the fast network goes back to the slow one; remembers what it saw."""

    def prepare(self, model, start):
        self.epochs, self.same, self.shared = [], [], []
        return super().prepare(model, start)

    def after_step(self, step):
        super().after_step(step)
        pairs = zip(self.slow.parameters(), self.model.parameters(), strict=True)
        self.shared.append(any(s.data_ptr() == f.data_ptr() for s, f in pairs))

    def after_epoch(self, epoch):
        self.epochs.append(epoch)
        before = state_of(self.model)
        self.model.load_state_dict(self.slow.state_dict())
        after = self.model.state_dict()
        self.same.append((equal(before, after), equal(self.slow.state_dict(), after)))


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
    assert equal(base.model.state_dict(), again.model.state_dict()) and base.history == again.history
    assert not equal(base.model.state_dict(), go(world, Run(**vars(RUN) | {"seed": 1})).model.state_dict())


def test_doing_nothing_is_the_base_run(world, base):
    assert equal(base.model.state_dict(), go(world, intervention=Intervention()).model.state_dict())


def test_a_penalty_of_no_strength_is_the_base_run(world, base):
    fitted = go(world, intervention=L2Init(0.0))
    assert equal(base.model.state_dict(), fitted.model.state_dict()) and base.history == fitted.history


def test_a_strong_penalty_keeps_the_network_near_its_start(world, base):
    strong = L2Init(5.0)
    fitted = go(world, intervention=strong)
    assert distance(fitted.model, strong.anchor) < 0.5 * distance(base.model, strong.anchor)


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
    assert equal(fitted.model.state_dict(), base.model.state_dict())


def test_an_average_after_each_step_predicts(world, base):
    ema = Ema()
    fitted = go(world, intervention=ema)
    assert ema.steps == list(range(1, STEPS + 1))
    assert equal(base.model.state_dict(), ema.model.state_dict()), "the average only watches"
    assert equal(fitted.model.state_dict(), ema.slow.state_dict())
    assert not equal(fitted.model.state_dict(), base.model.state_dict())
    assert [h["train_loss"] for h in fitted.history] == [h["train_loss"] for h in base.history]
    assert [h["validation_loss"] for h in fitted.history] != [h["validation_loss"] for h in base.history]


def test_the_average_is_the_one_worked_out_by_hand(world):
    class Watched(Ema):
        def prepare(self, model, start):
            rows = super().prepare(model, start)
            self.expected = model.classifier.weight.detach().clone()
            return rows

        def after_step(self, step):
            super().after_step(step)
            self.expected = 0.5 * self.expected + 0.5 * self.model.classifier.weight.detach()

    fitted = go(world, intervention=(watched := Watched()))
    assert torch.allclose(fitted.model.classifier.weight, watched.expected, atol=1e-6)


def test_the_best_model_is_the_predictor_of_the_best_epoch(world):
    class Kept(Ema):
        def prepare(self, model, start):
            self.states = []
            return super().prepare(model, start)

        def after_epoch(self, epoch):
            self.states.append(state_of(self.slow))

    fitted = go(world, intervention=(kept := Kept()))
    best = min(fitted.history, key=lambda row: row["validation_loss"])["epoch"]
    assert fitted.metrics["best_epoch"] == best and equal(fitted.best_model.state_dict(), kept.states[best - 1])


def test_a_state_dict_takes_a_method_to_where_it_was(world):
    one, other = Ema(), Ema()
    go(world, intervention=one)
    start = Start(torch.Generator(), None, dict)
    other.prepare(models.build("mini_simplenet", 3, seed=5), start)
    assert not equal(one.slow.state_dict(), other.slow.state_dict())
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    assert other.steps == one.steps and equal(one.slow.state_dict(), other.slow.state_dict())
    assert equal(one.state_dict()["slow"], other.state_dict()["slow"])


def test_hare_goes_back_to_tortoise_and_they_never_share_memory(world, base):
    method = HareTortoise()
    fitted = go(world, intervention=method)
    assert method.epochs == [1, 2, 3] and method.shared == [False] * STEPS
    assert method.same == [(False, True)] * 3, "the networks differed before each reset and agree after it"
    hare, tortoise = method.model.classifier.weight, method.slow.classifier.weight
    assert hare.data_ptr() != tortoise.data_ptr()
    assert [h["train_loss"] for h in fitted.history][1:] != [h["train_loss"] for h in base.history][1:]
    assert fitted.history[0]["train_loss"] == base.history[0]["train_loss"]


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
    run = Run(**vars(RUN) | {"case": "10MN", "reading": "text"})
    snapshot = Snapshot()
    fitted = go(world, run, Combined([run.intervention(), snapshot]))
    expected = loaded(world).to(memory_format=torch.channels_last)
    report = reinitialize(expected, "10MN", reading="text", generator=train.generator(run.seed, "reinit"))
    assert equal(snapshot.state, expected.state_dict())
    assert [(r["name"], r["kind"], r["size"], r["reset"]) for r in fitted.resets] == [
        (t.name, t.kind, t.size, t.reset) for t in report.tensors
    ]
    assert equal(go(world, run).model.state_dict(), fitted.model.state_dict())


@pytest.mark.parametrize("field, value", [("scope", "global"), ("biases", "keep"), ("reading", "text")])
def test_the_runs_fields_reach_the_method(world, field, value):
    run = Run(**vars(RUN) | {"case": "10M", field: value})
    model, expected = loaded(world), loaded(world)
    run.intervention().prepare(model, Start(torch.Generator(), None, dict))
    reinitialize(expected, "10M", **{field: value})
    assert equal(model.state_dict(), expected.state_dict())
    reinitialize(expected := loaded(world), "10M")
    assert not equal(model.state_dict(), expected.state_dict())


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
    start = Start(torch.Generator(), None, dict, head=models.architecture(architecture).head)
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
            run.intervention().prepare(models.build(case, 3, seed=0), Start(torch.Generator(), None, dict, head="fc"))


def test_scratch_has_the_head_and_batches_of_base_but_no_pretrained_weights(world, tmp_path):
    of_base, of_scratch = Snapshot(), Scratch()
    go(world, intervention=of_base)
    snapshot = Snapshot()
    run = Run(**vars(RUN) | {"case": "scratch"})
    fitted = go(world, run, Combined([of_scratch, snapshot]))
    fresh = models.build("mini_simplenet", 3, seed=train.generator(RUN.seed, "model").initial_seed())
    assert equal(snapshot.state, fresh.state_dict())
    head = ("classifier.weight", "classifier.bias")
    assert all(torch.equal(snapshot.state[n], of_base.state[n]) for n in head)
    assert equal(of_base.state, loaded(world).state_dict())
    convolutions = [n for n in snapshot.state if snapshot.state[n].ndim == 4]
    assert len(convolutions) == 9 and not any(torch.equal(snapshot.state[n], of_base.state[n]) for n in convolutions)
    assert len(snapshot.seen) == STEPS
    assert all(torch.equal(a, b) for a, b in zip(snapshot.seen, of_base.seen, strict=True))
    assert fitted.inputs["weights"] is None
    plain = fit(run, folder=world, device="cpu", weights=tmp_path / "absent.pt")
    assert equal(plain.model.state_dict(), fitted.model.state_dict())


def test_every_case_of_a_seed_sees_the_same_batches(world):
    seen = []
    for case in ("base", "25N"):
        go(world, Run(**vars(RUN) | {"case": case}), Combined([build(case), snapshot := Snapshot()]))
        seen.append(snapshot.seen)
    assert len(seen[0]) == STEPS and all(torch.equal(a, b) for a, b in zip(*seen, strict=True))


def test_the_gradients_touch_neither_buffers_nor_grad_and_are_the_sum_over_the_train_items(world):
    class Probe(Intervention):
        def prepare(self, model, start):
            before, rng = state_of(model), torch.random.get_rng_state()
            self.gradients = start.gradients()
            self.untouched = equal(before, model.state_dict())
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
    assert equal(fitted.model.state_dict(), go(world).model.state_dict()), "asking for gradients moves no stream"


def test_a_gradient_utility_case_uses_the_gradients(world):
    run = Run(**vars(RUN) | {"case": "10M", "utility": "gradient"})
    asked = {}

    class Between(Intervention):
        def prepare(self, model, start):
            asked.update(start.gradients())
            return []

    snapshot = Snapshot()
    go(world, run, Combined([Between(), run.intervention(), snapshot]))
    expected = loaded(world).to(memory_format=torch.channels_last)
    reinitialize(expected, "10M", utility="gradient", gradients=asked)
    assert equal(snapshot.state, expected.state_dict())
    reinitialize(expected := loaded(world), "10M")
    assert not equal(snapshot.state, expected.state_dict())


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


def test_10m_plus_ema_by_name(world, monkeypatch):
    made = []

    class Watched(Ema):
        def prepare(self, model, start):
            made.append(self)
            return super().prepare(model, start)

    monkeypatch.setitem(methods.NAMED, "ema", Watched)
    run = Run(**vars(RUN) | {"case": "10 M+ema"})
    assert run.case == "10M + ema" and "10M+ema" in str(run)
    fitted = go(world, run)
    assert len(made) == 1 and len(made[0].steps) == STEPS
    assert [row["name"] for row in fitted.resets][-1] == "ema" and fitted.resets[0]["reset"] > 0
    plain = go(world, Run(**vars(RUN) | {"case": "10M"}))
    assert equal(made[0].model.state_dict(), plain.model.state_dict()) and fitted.model is made[0].slow


def test_the_order_of_a_combination_counts(world, monkeypatch):
    """The copy that ema makes at its turn holds the reset weights only if the reset came first."""
    monkeypatch.setitem(methods.NAMED, "ema", Ema)
    start = Start(torch.Generator(), None, dict)
    slow = {}
    for text in ("10M + ema", "ema + 10M"):
        (method := build(text)).prepare(loaded(world), start)
        slow[text] = next(part for part in method.parts if isinstance(part, Ema)).slow.state_dict()
    reset = loaded(world)
    reinitialize(reset, "10M")
    assert equal(slow["10M + ema"], reset.state_dict()) and equal(slow["ema + 10M"], loaded(world).state_dict())


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
def test_canonical_writes_one_way(text, written, monkeypatch):
    monkeypatch.setitem(methods.NAMED, "ema", Ema)
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
