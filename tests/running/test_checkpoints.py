"""A run that is taken up again gives the very record of one that was left alone; torn, foreign and busy states do no
harm."""

import os
import pickle
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers import fill, fit, interrupted, resumed, same
from torch import nn

from plasticity import interventions, train
from plasticity.running import identity
from plasticity.running.checkpoints import Busy, Checkpoint


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


VIT = {"architecture": "mini_vit", "optimizer": "adamw", "momentum": 0.0, "lr": 1e-3}
RUNS = {
    "momentum": {"case": "10MN"},
    "no momentum": {"momentum": 0.0, "case": "25N"},
    "AdamW, cosine, warm-up, clipping": VIT | {"schedule": "cosine", "warmup": 0.3, "clip": 1.0},
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


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


TEARS = {
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "one bit": flip,
    "zeros": lambda path: path.write_bytes(path.read_bytes()[:9000] + bytes(path.stat().st_size - 9000)),
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(os.urandom(5000)),
}


@pytest.mark.parametrize("tear", TEARS.values(), ids=TEARS)
def test_of_two_states_the_newest_whole_one_counts(world, tiny_run, tmp_path, tear):
    run = tiny_run(max_epochs=4)
    whole = fit(run, world)
    interrupted(run, world, tmp_path / "state", 3)
    tear(tmp_path / "state" / "state-3.pt")
    again = resumed(run, world, tmp_path / "state")
    assert same(whole, again) and again.resumed == [2]
    for path in (tmp_path / "state").glob("state-*"):
        tear(path)
    again = resumed(run, world, tmp_path / "state")
    assert same(whole, again) and again.resumed == [], "with both torn it begins anew"


class Harmful:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_loading_a_state_runs_no_code(tmp_path):
    torch.save({"state": Harmful(tmp_path / "ran")}, tmp_path / "state-1.pt")
    (tmp_path / "state-2.pt").write_bytes(pickle.dumps(Harmful(tmp_path / "ran")))
    with Checkpoint(tmp_path) as checkpoint:
        assert checkpoint.load({}) is None
    assert not (tmp_path / "ran").exists()


def test_states_are_written_every_few_seconds_and_two_are_kept(world, tiny_run, tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    folder = tmp_path / "state"
    with Checkpoint(folder, every=5.0) as checkpoint:
        for epoch in range(1, 12):
            now += 2.0
            if checkpoint.due():
                checkpoint.save(epoch, {})
        assert sorted(path.name for path in folder.glob("state-*")) == ["state-6.pt", "state-9.pt"]
        fit(tiny_run(), world, checkpoint=checkpoint)
        assert checkpoint.load({}) is None, (
            "no epoch of a fit took as long, and the state that was there is not of this run"
        )


def test_the_setting(monkeypatch):
    monkeypatch.delenv("PLASTICITY_CHECKPOINT_SECONDS")
    for gpu, seconds in ((False, 5.0), (True, 60.0)):
        monkeypatch.setattr("torch.cuda.is_available", lambda gpu=gpu: gpu)
        assert Checkpoint("x").every == seconds and Checkpoint("x", 0).every == 0
    monkeypatch.setenv("PLASTICITY_CHECKPOINT_SECONDS", "0.5")
    assert Checkpoint("x").every == 0.5
    monkeypatch.setenv("PLASTICITY_CHECKPOINT_SECONDS", "often")
    with pytest.raises(ValueError, match="PLASTICITY_CHECKPOINT_SECONDS='often' must be a number of seconds"):
        Checkpoint("x")


def test_what_a_killed_writer_left_is_removed(tmp_path):
    (tmp_path / ".state-1.pt.123-abc.partial.pt").touch()
    with Checkpoint(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]


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
        assert old.stride() == new.stride()


HOLD = """
import sys, time
from plasticity.running.checkpoints import Checkpoint
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
        why = "No space left on device, while writing a checkpoint; the one before is whole"
        with pytest.raises(OSError, match=why):
            checkpoint.save(2, {"weights": torch.randn(100_000)})
        assert torch.equal(checkpoint.load({})["weights"], state["weights"]) and checkpoint.resumed == [1]
        filler.unlink()
        checkpoint.save(2, state)
        checkpoint.load({})
    assert checkpoint.resumed == [1, 2]


def test_no_clock_is_asked(world, tiny_run, tmp_path, monkeypatch):
    """States carry their epoch; a file's time says nothing about which is newer."""
    run = tiny_run(max_epochs=4)
    interrupted(run, world, tmp_path / "state", 3)
    os.utime(tmp_path / "state" / "state-3.pt", (0, 0))
    monkeypatch.setattr(time, "time", lambda: -1e9)
    assert resumed(run, world, tmp_path / "state").resumed == [3]
