"""A run that is taken up again gives the very record of one that was left alone; torn, foreign and busy states do no harm."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import fill
from torch import nn

from plasticity import interventions, train
from plasticity.running import checkpoints, identity
from plasticity.running.checkpoints import Checkpoint
from plasticity.running.workers import Busy


class Interrupted(Exception):
    pass


class Interrupting(Checkpoint):
    """Fails right after the state of an epoch was written, as a kill would."""

    def __init__(self, folder, epoch):
        super().__init__(folder)
        self.last = epoch

    def save(self, epoch, state):
        super().save(epoch, state)
        if epoch == self.last:
            raise Interrupted


def fit(run, world, checkpoint=None, **more):
    return train.fit(run, world, "cpu", weights=world / f"{run.architecture}.pt", checkpoint=checkpoint, **more)


def interrupted(run, world, folder, epoch, **more):
    with pytest.raises(Interrupted), Interrupting(folder, epoch) as checkpoint:
        fit(run, world, checkpoint, **more)


def resumed(run, world, folder, **more):
    with Checkpoint(folder) as checkpoint:
        return fit(run, world, checkpoint, **more)


def same(one, two):
    weights = zip(one.model.state_dict().values(), two.model.state_dict().values(), strict=True)
    best = zip(one.best_model.state_dict().values(), two.best_model.state_dict().values(), strict=True)
    everything = [
        (one.history, two.history),
        (one.metrics, two.metrics),
        (one.histogram, two.histogram),
        (one.resets, two.resets),
    ]
    return all(a == b for a, b in everything) and all(torch.equal(a, b) for pair in (weights, best) for a, b in pair)


class Averaged(interventions.Intervention):
    """An exponential moving average that predicts: a method with a state and a network of its own."""

    def prepare(self, model, start):
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
        self.model, self.average = model, torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=average)
        return []

    def after_step(self, step):
        self.average.update_parameters(self.model)

    def evaluated(self, model):
        return self.average

    def state_dict(self):
        return self.average.state_dict()

    def load_state_dict(self, state):
        self.average.load_state_dict(state)


RUNS = {
    "momentum": {"case": "10MN"},
    "no momentum": {"momentum": 0.0, "case": "25N"},
    "AdamW, cosine, warm-up, clipping": {
        "optimizer": "adamw",
        "momentum": 0.0,
        "schedule": "cosine",
        "warmup": 0.3,
        "clip": 1.0,
        "architecture": "mini_vit",
        "lr": 1e-3,
    },
    "released augmentation": {"augment": "released", "architecture": "mini_simplenet"},
    "channels first": {"channels_last": False},
    "bf16": {"precision": "bf16"},
    "gradient utility": {"case": "10M", "utility": "gradient"},
    "patience": {"patience": 1, "max_epochs": 9, "lr": 0.2},
}


@pytest.mark.parametrize("fields", RUNS.values(), ids=RUNS)
def test_resumed_after_any_epoch_bit_for_bit(world, tiny_run, tmp_path, fields):
    run = tiny_run(**fields)
    whole = fit(run, world)
    for epoch in range(1, whole.metrics["epochs"] + 1):
        interrupted(run, world, tmp_path / "state", epoch)
        again = resumed(run, world, tmp_path / "state")
        assert same(whole, again) and again.resumed == [epoch]
        Checkpoint(tmp_path / "state").remove()


def test_resumed_twice_with_a_method_that_has_a_state(world, tiny_run, tmp_path):
    run = tiny_run(max_epochs=4)
    whole = fit(run, world, intervention=Averaged())
    assert whole.metrics != fit(run, world).metrics
    interrupted(run, world, tmp_path / "state", 1, intervention=Averaged())
    interrupted(run, world, tmp_path / "state", 3, intervention=Averaged())
    again = resumed(run, world, tmp_path / "state", intervention=Averaged())
    assert same(whole, again) and again.resumed == [1, 3] and again.seconds > 0


def test_dropout_goes_on_in_the_same_stream(world, tiny_run, tmp_path, monkeypatch):
    real = train.networks.build

    def with_dropout(*arguments, **more):
        model = real(*arguments, **more)
        model.fc = nn.Sequential(nn.Dropout(0.5), model.fc)
        return model

    monkeypatch.setattr(train.networks, "build", with_dropout)
    monkeypatch.setattr(train, "load_backbone", lambda *_: None)
    run = tiny_run()
    whole = fit(run, world)
    interrupted(run, world, tmp_path / "state", 2)
    torch.manual_seed(12345)  # whatever else the process does with the global stream
    assert same(whole, resumed(run, world, tmp_path / "state"))


def test_of_two_states_the_newest_whole_one_counts(world, tiny_run, tmp_path, capsys):
    run = tiny_run(max_epochs=4)
    whole = fit(run, world)
    for tear in (
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: flip(path, -10),
        lambda path: flip(path, 20),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(os.urandom(5000)),
    ):
        interrupted(run, world, tmp_path / "state", 3)
        tear(tmp_path / "state" / "state-1")
        again = resumed(run, world, tmp_path / "state")
        assert same(whole, again) and again.resumed == [2]
        Checkpoint(tmp_path / "state").remove()
    interrupted(run, world, tmp_path / "state", 3)
    for path in (tmp_path / "state").glob("state-*"):
        flip(path, -10)
    again = resumed(run, world, tmp_path / "state")
    assert same(whole, again) and again.resumed == [], "with both torn it begins anew"


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_a_state_of_another_source_is_not_gone_on_from(world, tiny_run, tmp_path, monkeypatch, capsys):
    run = tiny_run()
    interrupted(run, world, tmp_path / "state", 2)
    here = identity.source()
    monkeypatch.setattr(identity, "source", lambda: "0ther000")
    again = resumed(run, world, tmp_path / "state")
    assert again.resumed == [] and same(again, fit(run, world))
    said = capsys.readouterr().out
    assert here in said and "0ther000" in said and "the run begins anew" in said


def test_any_state_survives_as_it_was(tmp_path):
    order = {"none": None, "text": "x", 3: [1, 2.5, float("inf"), True, {"deep": torch.zeros(())}]}
    tensors = [
        torch.randn(3, 5),
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.randn(4, 6).T,
        torch.arange(7),
        torch.tensor([True, False, True]),
        torch.randn(5).bfloat16(),
        torch.tensor(3.5, dtype=torch.float64),
        torch.empty(0, 4),
        torch.tensor(float("nan")),
        torch.randn(1, 3, 1, 1),
    ]
    with Checkpoint(tmp_path / "state") as checkpoint:
        checkpoint.save(1, order | {"tensors": tensors})
        state = checkpoint.load({})
    assert {key: state[key] for key in ("none", "text")} == {"none": None, "text": "x"}
    assert state[3][:4] == [1, 2.5, float("inf"), True] and state[3][4]["deep"].shape == ()
    for old, new in zip(tensors, state["tensors"], strict=True):
        assert old.dtype == new.dtype and old.shape == new.shape and torch.equal(old.nan_to_num(), new.nan_to_num())
        assert old.is_contiguous(
            memory_format=torch.channels_last if old.dim() == 4 else torch.contiguous_format
        ) == new.is_contiguous(memory_format=torch.channels_last if new.dim() == 4 else torch.contiguous_format)


HOLD = """
import sys, time
from plasticity.checkpoints import Checkpoint
with Checkpoint(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_lock_lives_as_long_as_its_owner_however_it_dies(tmp_path):
    owner = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "state"], stdout=subprocess.PIPE, text=True)
    assert owner.stdout.readline() == "held\n"
    with pytest.raises(Busy, match="another process is at state"), Checkpoint(tmp_path / "state"):
        pass
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    with Checkpoint(tmp_path / "state") as checkpoint:
        checkpoint.remove()
    assert not (tmp_path / "state").exists()


def test_a_lock_file_that_its_owner_removed_guards_nothing(tmp_path):
    first, second = Checkpoint(tmp_path / "state"), Checkpoint(tmp_path / "state")
    with first:
        first.remove()
        with second:  # a new folder and a new file
            with pytest.raises(Busy), Checkpoint(tmp_path / "state"):
                pass


def test_a_full_disk_keeps_the_state_before(small_disk):
    state = {"weights": torch.randn(100_000)}
    with Checkpoint(small_disk / "state") as checkpoint:
        checkpoint.save(1, state)
        filler = fill(small_disk, leave=200_000)
        with pytest.raises(
            OSError, match="No space left on device, while writing a checkpoint; the one before is whole"
        ):
            checkpoint.save(2, {"weights": torch.randn(100_000)})
        assert torch.equal(checkpoint.load({})["weights"], state["weights"]) and checkpoint.resumed == [1]
        filler.unlink()
        checkpoint.save(2, state)
        checkpoint.load({})
    assert checkpoint.resumed == [1, 2]


def test_a_header_fits_its_room_after_many_resumptions(tmp_path):
    with Checkpoint(tmp_path / "state") as checkpoint:
        checkpoint.resumed = list(range(100_000, 100_500))
        checkpoint.load({"data": "f" * 64, "weights": "e" * 64})
        checkpoint.save(100_500, {})
        assert len((tmp_path / "state" / "state-0").read_bytes().partition(b"\n")[0]) + 1 == checkpoints.HEADER
        assert checkpoint.load({"data": "f" * 64, "weights": "e" * 64}) == {}
    assert json.loads((tmp_path / "state" / "state-0").read_bytes()[: checkpoints.HEADER])["epoch"] == 100_500


def test_no_clock_is_asked(world, tiny_run, tmp_path, monkeypatch):
    """States carry their epoch; a file's time says nothing about which is newer."""
    run = tiny_run(max_epochs=4)
    interrupted(run, world, tmp_path / "state", 3)
    os.utime(tmp_path / "state" / "state-1", (0, 0))
    monkeypatch.setattr(time, "time", lambda: -1e9)
    assert resumed(run, world, tmp_path / "state").resumed == [3]
