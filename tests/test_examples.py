"""The scripts for others' loops really run, and their callbacks reset once: not for validation, not on resuming."""

import copy
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from plasticity import reinitialize
from plasticity.studies.interactive import own

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.slow
sys.modules.setdefault("datasets", None)  # transformers would take tests/datasets for Hugging Face's package


def script(name):
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three classes of ten images of 32 pixels: a colour each, under noise."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for label, name in enumerate(("blue", "green", "red")):
        (folder / name).mkdir()
        for i in range(10):
            picture = rng.normal(80, 30, (32, 32, 3)) + 90 * (np.arange(3) == label)
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small timm network with seven classes as pretrained weights in a folder, which timm loads as from the hub."""
    import timm
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("network")
    settings = {"input_size": [3, 32, 32], "classifier": "fc", "num_classes": 7}
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=7)
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"architecture": "test_resnet", "num_classes": 7, "pretrained_cfg": settings}
    (folder / "config.json").write_text(json.dumps(config))
    return f"local-dir:{folder}"


def parameters(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def once(model, case="10M"):
    """The parameters after one reset of a copy; a second one would change them again."""
    model = copy.deepcopy(model)
    reinitialize(model, case)
    result = parameters(model)
    reinitialize(model, case)
    assert not same(result, parameters(model))
    return result


def test_each_example_is_short_and_shown_as_it_is():
    files = sorted(EXAMPLES.glob("*.py"))
    assert [file.stem for file in files] == ["hf_trainer", "lightning_callback", "plain_loop"]
    for file in files:
        text = file.read_text()
        assert len(text.splitlines()) <= 90 and own.example(file.stem) == f"```python\n{text}```"


def test_the_plain_loop_resets_the_pretrained_weights_and_learns(images, network, capsys):
    import timm

    script("plain_loop").main(["--images", str(images), "--model", network, "--epochs", "10"])
    said = capsys.readouterr().out.splitlines()
    report = reinitialize(timm.create_model(network, num_classes=3), "10M", dry_run=True)
    assert said[0] == f"10M: {report.reset:,} entries reset" and len(said) == 11
    assert float(said[-1].rpartition(" ")[2]) > 0.5


# --- few images -------------------------------------------------------------------------------------------------------
def copied(images, folder, counts):
    """A folder with so many images of each class."""
    for source, count in zip(sorted(images.iterdir()), counts, strict=False):
        (folder / source.name).mkdir(parents=True)
        for file in sorted(source.iterdir())[:count]:
            shutil.copy(file, folder / source.name)
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["plain_loop", "lightning_callback", "hf_trainer"])
@pytest.mark.parametrize("counts", [(6, 6, 6), (3, 2)])
def test_a_folder_smaller_than_a_batch_is_trained_on(
    images, network, hub_model, tmp_path, monkeypatch, capsys, name, counts
):
    monkeypatch.chdir(tmp_path)  # where Lightning keeps checkpoints
    arguments = ["--images", str(copied(images, tmp_path / "few", counts)), "--epochs", "2"]
    more = {"hf_trainer": ["--model", str(hub_model), "--output", str(tmp_path / "out")]}
    script(name).main(arguments + more.get(name, ["--model", network]))
    assert "test accuracy" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["plain_loop", "lightning_callback", "hf_trainer"])
@pytest.mark.parametrize(
    "counts, said",
    [
        ((10,), "10 images in 1 classes; it takes 5 in 2 folders, or more"),
        ((2, 2), "4 images in 2 classes"),
        ((), "Couldn't find any class folder"),
        ((5, 0), "no valid file for the classes green"),
        (None, "No such file or directory"),
    ],
)
def test_a_folder_with_too_little_ends_in_one_line(images, tmp_path, capsys, name, counts, said):
    folder = tmp_path / "few"
    if counts is not None:
        folder.mkdir()
        copied(images, folder, counts)
    with pytest.raises(SystemExit) as end:
        script(name).main(["--images", str(folder)])
    assert end.value.code == 2 and said in capsys.readouterr().err


# --- Lightning --------------------------------------------------------------------------------------------------------
@pytest.fixture
def lightning(network, tmp_path):
    """The example, a maker of modules of given learning rate that begin alike, and one of trainers with loaders."""
    example = script("lightning_callback")
    first = example.Classifier(network, 3).state_dict()
    draws = torch.Generator().manual_seed(0)
    loader = DataLoader(TensorDataset(torch.randn(8, 3, 32, 32, generator=draws), torch.arange(8) % 3), 4)

    def module(lr):
        made = example.Classifier(network, 3)
        made.load_state_dict(first)
        made.configure_optimizers = lambda: torch.optim.SGD(made.parameters(), lr=lr)
        return made

    def trainer(callbacks, epochs=1, **place):
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        place |= {"accelerator": "cpu", "default_root_dir": tmp_path}
        return example.L.Trainer(max_epochs=epochs, callbacks=callbacks, **place, **quiet)

    return example.Reinitialize, module, trainer, loader


@pytest.mark.filterwarnings("ignore")
def test_the_lightning_callback_acts_once_whatever_the_stages(lightning):
    Reinitialize, module, trainer, loader = lightning
    still, callback = module(lr=0.0), Reinitialize("10M")
    before, expected = parameters(still), once(still)
    watching = trainer([callback])
    watching.validate(still, loader, verbose=False)
    assert same(parameters(still), before) and callback.report is None
    watching.fit(still, loader, loader)  # with Lightning's sanity check before
    assert same(parameters(still), expected) and callback.report.case == "10M"
    watching.validate(still, loader, verbose=False)
    watching.fit(still, loader, loader)
    assert same(parameters(still), expected)
    other = module(lr=0.0)
    trainer([callback]).fit(other, loader, loader)  # another network gets its own
    assert same(parameters(other), expected)


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_lightning_fit_is_not_reset_again_and_says_so(lightning, tmp_path, caplog):
    Reinitialize, module, trainer, loader = lightning
    begun = trainer([Reinitialize("10M")])
    begun.fit(module(lr=0.1), loader, loader)
    begun.save_checkpoint(tmp_path / "one.ckpt")
    resumed, plain, callback = module(lr=0.1), module(lr=0.1), Reinitialize("10M")
    with caplog.at_level("INFO"):
        trainer([callback], 2).fit(resumed, loader, loader, ckpt_path=tmp_path / "one.ckpt")
    assert callback.report is None
    assert [m for m in caplog.messages if m.endswith("one.ckpt: nothing is reset; load its weights and fit for that")]
    trainer([], 2).fit(plain, loader, loader, ckpt_path=tmp_path / "one.ckpt")
    assert same(parameters(resumed), parameters(plain)) and not same(parameters(plain), parameters(module(lr=0.1)))


LOADED = {"weight": torch.arange(100.0).view(10, 10) + 1, "bias": torch.ones(10)}


def late_module(L, hook, makes):
    """A module whose first layer is made, or else loaded, in one of its hooks."""

    def act(self, stage=None):
        if makes and not hasattr(self, "net"):
            self.net = torch.nn.Linear(10, 10)
        self.net.load_state_dict(LOADED)

    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(10, 3)
            if not makes:
                self.net = torch.nn.Linear(10, 10)

        def training_step(self, batch):
            return torch.nn.functional.cross_entropy(self.head(self.net(batch[0])), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

        def on_train_end(self):
            self.everywhere = self.all_gather(self.net.weight.detach().clone()).view(-1, 10, 10)
            assert all(torch.equal(weight, self.everywhere[0]) for weight in self.everywhere), "in each process"
            assert not torch.equal(self.everywhere[0], LOADED["weight"]), "reset"

    setattr(Module, hook, act)
    return Module()


@pytest.fixture
def fit_late(lightning):
    """A function that fits such a module with the callback, and a loader of vectors."""
    Reinitialize, _, trainer, _ = lightning
    loader = DataLoader(TensorDataset(torch.randn(8, 10), torch.arange(8) % 3), 4)

    def fit(module, case="10M", **place):
        callback = Reinitialize(case)
        trainer([callback], **place).fit(module, loader)
        return callback

    return fit


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "hook, makes",
    [
        *(("setup", True), ("setup", False), ("configure_model", True), ("configure_model", False)),
        *(("on_fit_start", False), ("on_train_start", False)),
    ],
)
def test_the_lightning_callback_resets_the_weights_that_a_hook_makes_or_loads(fit_late, hook, makes):
    import lightning as L

    module = late_module(L, hook, makes)
    callback = fit_late(module)
    assert {tensor.name for tensor in callback.report.tensors} >= {"net.weight", "head.weight"}
    expected = LOADED["weight"].clone()
    expected.view(-1)[:10] = expected.mean()  # 1 to 10 are the smallest
    assert torch.equal(module.net.weight, expected)


def fit_two_copies(folder):
    """Two processes by DDP fit a module, which compares its copies itself."""
    example = script("lightning_callback")
    loader = DataLoader(TensorDataset(torch.randn(8, 10), torch.arange(8) % 3), 4)
    place = {"accelerator": "cpu", "strategy": "ddp_fork", "devices": 2, "default_root_dir": folder}
    trainer = example.L.Trainer(max_epochs=1, callbacks=[example.Reinitialize("10N")], logger=False, **place)
    trainer.fit(late_module(example.L, "setup", False), loader)


def test_the_copies_of_ddp_draw_the_same(tmp_path):
    # In a process of its own: one in which some test has started autograd's threads must not fork a trainer.
    code = f"import runpy; runpy.run_path({__file__!r})['fit_two_copies']({str(tmp_path)!r}); print('fitted')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "fitted" in done.stdout, done.stderr[-3000:]


def test_strategies_that_train_other_tensors_are_refused(lightning):
    from lightning.pytorch.strategies import FSDPStrategy

    Reinitialize, module, _, _ = lightning
    made = module(lr=0.0)
    before = parameters(made)
    with pytest.raises(ValueError, match="FSDPStrategy trains other tensors"):
        Reinitialize("10M").on_train_epoch_start(SimpleNamespace(strategy=FSDPStrategy()), made)
    assert same(parameters(made), before)


@pytest.mark.filterwarnings("ignore")
def test_the_lightning_script_runs(images, network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    script("lightning_callback").main(["--images", str(images), "--model", network, "--epochs", "1"])
    assert "test accuracy 0." in capsys.readouterr().out


# --- Hugging Face -----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def hub_model(tmp_path_factory):
    """A small ResNet of transformers with seven classes and its image processor, saved as the hub has them."""
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

    folder = tmp_path_factory.mktemp("hub")
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    ResNetForImageClassification(ResNetConfig(**sizes, num_labels=7)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture
def hugging_face(hub_model, tmp_path):
    """The example, and a maker of trainers of given learning rate and epochs on models that begin alike."""
    from transformers import ResNetForImageClassification, Trainer, TrainingArguments

    example = script("hf_trainer")
    draws = torch.Generator().manual_seed(0)
    items = [{"pixel_values": torch.randn(3, 32, 32, generator=draws), "labels": i % 7} for i in range(8)]

    def trainer(lr, epochs, callbacks):
        loop = {"num_train_epochs": epochs, "per_device_train_batch_size": 4, "save_strategy": "epoch"}
        sgd = {"optim": "sgd", "learning_rate": lr, "lr_scheduler_type": "constant"}
        quiet = {"report_to": "none", "use_cpu": True, "disable_tqdm": True}
        model = ResNetForImageClassification.from_pretrained(hub_model)
        settings = TrainingArguments(str(tmp_path / "out"), **loop, **sgd, **quiet)
        return Trainer(model, settings, train_dataset=items, callbacks=callbacks)

    return example.Reinitialize, trainer, tmp_path / "out"


def test_the_hugging_face_callback_acts_once_for_each_model(hugging_face):
    Reinitialize, trainer, _ = hugging_face
    callback = Reinitialize("10M")
    still = trainer(0.0, 1, [callback])
    expected = once(still.model)
    for _ in range(2):  # a second training of the same model goes on from where it is
        still.train()
        assert same(parameters(still.model), expected) and callback.report.case == "10M"
    other = trainer(0.0, 1, [callback])
    other.train()
    assert same(parameters(other.model), expected)


def test_weights_that_arrive_as_a_training_begins_are_reset_for_each_model_of_model_init(hugging_face):
    from transformers import TrainerCallback

    class Loads(TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **kwargs):
            model.load_state_dict(loaded)

    Reinitialize, trainer, _ = hugging_face
    callback = Reinitialize("10M")
    still = trainer(0.0, 1, [callback, Loads()])
    other = copy.deepcopy(still.model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    loaded, expected = other.state_dict(), once(other)
    still.model_init = lambda: copy.deepcopy(first)
    first, made = copy.deepcopy(still.model), []
    for _ in range(2):
        still.train()
        assert same(parameters(still.model), expected) and still.model not in made
        made.append(still.model)


def test_a_resumed_hugging_face_training_is_not_reset_again_and_says_so(hugging_face, capsys):
    Reinitialize, trainer, out = hugging_face
    trainer(0.1, 1, [Reinitialize("10M")]).train()
    checkpoint, callback = str(out / "checkpoint-2"), Reinitialize("10M")
    resumed, plain = trainer(0.1, 2, [callback]), trainer(0.1, 2, [])
    for each in (resumed, plain):
        each.train(resume_from_checkpoint=checkpoint)
    assert callback.report is None and resumed.state.global_step == 4
    assert "resumed at step 2: nothing is reset; load its weights and train for that" in capsys.readouterr().out
    assert same(parameters(resumed.model), parameters(plain.model))


def test_the_hugging_face_script_runs(images, hub_model, tmp_path, capsys):
    arguments = ["--images", str(images), "--model", str(hub_model), "--epochs", "1", "--output", str(tmp_path / "out")]
    script("hf_trainer").main(arguments)
    assert "test accuracy 0." in capsys.readouterr().out
