"""A folder of images becomes a data set once, any of timm's networks a run, and a few paired runs one sentence."""

import http.server
import math
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from plasticity import Run, data
from plasticity.analysis import figures, frames
from plasticity.analysis.paired import Difference
from plasticity.datasets import decode
from plasticity.datasets.folder import EXAMPLE, about, example_folder, listing, pack_folder
from plasticity.datasets.prepare import prepare
from plasticity.networks import table as models
from plasticity.networks.loading import read_weights
from plasticity.running import records
from plasticity.running.engine import Place, run_all
from plasticity.studies.interactive import own
from plasticity.weights import fetch_weights, weights_file

pytestmark = pytest.mark.filterwarnings("error")


def write(path, value=None, seed=0):
    """An image of 24 x 16 pixels at ``path``: noise, or of one value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, *"/".join(path.parts[-3:]).encode()])
    Image.fromarray(
        rng.integers(0, 256, (16, 24, 3), np.uint8) if value is None else np.full((16, 24, 3), value, np.uint8)
    ).save(path)


@pytest.fixture
def images(tmp_path):
    """Three classes of ten images, two of them one level deeper, beside what is none."""
    folder = tmp_path / "My Photos"
    for name in ("ant", "bee", "cow"):
        for i in range(10):
            write(folder / name / ("more" if i > 7 else "") / f"{i}.png")
    (folder / "ant" / ".hidden.png").write_text("no image")
    (folder / "ant" / "notes.txt").write_text("no image")
    (folder / "__MACOSX" / "ant").mkdir(parents=True)
    return folder


# --- the folder -------------------------------------------------------------------------------------------------------
def test_a_folder_is_listed_by_class_then_by_name(images):
    found = listing(images)
    assert (
        found.class_names == ("ant", "bee", "cow")
        and found.test is None
        and found.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    )
    assert found.files[:2] == ["ant/0.png", "ant/1.png"] and found.files[9] == "ant/more/9.png"


def test_a_packed_folder_is_a_data_set_with_a_stratified_test_fifth(images, tmp_path):
    name = pack_folder(images, tmp_path / "data", 8)
    assert data.FOLDER.fullmatch(name) and name.startswith("folder_my_photos-")
    packed = data.load(tmp_path / "data", name)
    assert packed.images.shape == (30, 8, 8, 3) and packed.class_names == ("ant", "bee", "cow")
    assert packed.sources[9] == "ant/more/9.png"
    assert torch.bincount(packed.labels[packed.test]).tolist() == [2, 2, 2]
    expected = Image.open(images / "bee" / "3.png").resize((8, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(packed.images[13], np.asarray(expected))
    assert about(tmp_path / "data", name) == (
        "30 images of 3 classes, brought to 8 pixels; 6 of them for testing (drawn with "
        "seed 0); groups of equal images: 0."
    )


def test_a_folder_is_packed_once_and_a_changed_one_is_another(images, tmp_path):
    folder = tmp_path / "data"
    name = pack_folder(images, folder, 8)
    before = (folder / name / "images.npy").stat().st_mtime_ns
    assert pack_folder(images, folder, 8) == name and (folder / name / "images.npy").stat().st_mtime_ns == before
    larger = pack_folder(images, folder, 12)
    write(images / "ant" / "0.png", seed=1)
    assert len({name, larger, pack_folder(images, folder, 8)}) == 3
    assert sorted(path.name.partition("-")[0] for path in folder.iterdir()) == ["folder_my_photos"] * 3


def test_equal_images_stay_on_one_side(images, tmp_path):
    for i in range(5):
        shutil.copy(images / "cow" / "0.png", images / "cow" / f"copy{i}.png")
    name = pack_folder(images, tmp_path / "data", 8)
    packed = data.load(tmp_path / "data", name)
    alike = [i for i, source in enumerate(packed.sources) if source.startswith("cow/copy") or source == "cow/0.png"]
    assert len(alike) == 6 and not packed.test[alike].any() and packed.test[packed.labels == 2].sum() == 3
    assert "groups of equal images: 1, of them both in training and in test: 0." in about(tmp_path / "data", name)


@pytest.mark.parametrize(
    ("parts", "tested"),
    [
        (("train", "test"), "test"),
        (("train", "val"), "val"),
        (("train", "val", "test"), "test"),
        (("train", "validation"), "validation"),
    ],
)
def test_a_folders_own_split_is_kept(tmp_path, parts, tested):
    for part in parts:
        for name in ("ant", "bee"):
            for i in range(6 if part == "train" else 2):
                write(tmp_path / "set" / part / name / f"{part}{i}.png")
    name = pack_folder(tmp_path / "set", tmp_path / "data", 8)
    packed = data.load(tmp_path / "data", name)
    assert {source for source, test in zip(packed.sources, packed.test, strict=True) if test} == {
        f"{tested}/{each}/{tested}{i}.png" for each in ("ant", "bee") for i in range(2)
    }
    assert "4 of them for testing (as the folder has them)" in about(tmp_path / "data", name)


def test_a_class_may_be_called_train(images):
    (images / "ant").rename(images / "train")
    assert listing(images).class_names == ("bee", "cow", "train")


def test_the_contact_sheet_goes_by_the_folders_name(images, tmp_path):
    figure = own.contact_sheet(tmp_path / "data", pack_folder(images, tmp_path / "data", 8))
    assert figure.get_suptitle().startswith("my_photos: 3 of 3 classes")


def remove(*names):
    return lambda folder: [shutil.rmtree(folder / name) for name in names]


def as_split(folder, test=("ant", "bee", "cow")):
    inner = [folder / name for name in ("ant", "bee", "cow")]
    for path in inner:
        path.rename(folder.parent / path.name)
        for part in ("train", "test") if path.name in test else ("train",):
            shutil.copytree(folder.parent / path.name, folder / part / path.name)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (
            lambda folder: shutil.rmtree(folder),
            FileNotFoundError,
            r"My Photos'.* does not exist; give a folder with one subfolder",
        ),
        (
            lambda folder: (shutil.rmtree(folder), folder.write_text("")),
            ValueError,
            r"My Photos' is a file; give a folder",
        ),
        (
            remove("ant", "bee", "cow"),
            ValueError,
            r"My Photos should hold one subfolder per class .*\.jpg.*no images were found",
        ),
        (remove("ant", "bee"), ValueError, "only one class was found, 'cow'"),
        (
            lambda folder: [write(folder / "dog" / f"{i}.png") for i in range(4)],
            ValueError,
            r"My Photos: class 'dog' has 4 images, at least 5 are needed \(1 such classes\)",
        ),
        (lambda folder: as_split(folder, ("ant", "bee")), ValueError, r"My Photos/test has no images of class 'cow'"),
        (
            lambda folder: (as_split(folder), [(folder / "train" / "bee" / f"{i}.png").unlink() for i in range(7)]),
            ValueError,
            r"My Photos/train: class 'bee' has 3 images",
        ),
    ],
)
def test_a_wrong_folder_is_one_error_that_names_it(images, tmp_path, change, kind, message):
    change(images)
    with pytest.raises(kind, match=message):
        pack_folder(images, tmp_path / "data", 8)
    assert not (tmp_path / "data").exists()


def test_unreadable_images_are_counted_and_the_first_is_named(images, tmp_path):
    (images / "bee" / "3.png").write_bytes((images / "bee" / "3.png").read_bytes()[:200])
    (images / "cow" / "5.png").write_text("this is no image")
    with pytest.raises(
        ValueError,
        match=r"2 of 30 images in .*My Photos can't be read; the first: .*bee/3\.png is no whole image.*\. "
        r"Replace them, or move them out of the folder, and start again",
    ):
        pack_folder(images, tmp_path / "data", 8)
    assert not list((tmp_path / "data").iterdir())


def test_the_example_folder_is_written_once_and_holds_what_it_says(tmp_path):
    folder = example_folder(tmp_path)
    files = sorted(folder.rglob("*.png"))
    contents = {file: file.read_bytes() for file in files}
    assert len(set(contents.values())) == 200 and {path.name for path in folder.iterdir()} == set(EXAMPLE)
    assert {decode.read(file, 64).tobytes() for file in files} == {
        np.asarray(Image.open(file)).tobytes() for file in files
    }
    assert np.bincount(listing(folder).labels).tolist() == [40] * 5
    files[0].write_bytes(b"changed by its owner")
    assert example_folder(tmp_path) == folder and files[0].read_bytes() == b"changed by its owner"
    shutil.rmtree(folder)
    assert {file: file.read_bytes() for file in sorted(example_folder(tmp_path).rglob("*.png"))} == contents


# --- names ------------------------------------------------------------------------------------------------------------
def test_a_run_takes_timms_names_and_packed_folders():
    run = Run("timm/resnet18", "folder_my_photos-0123abcd", "10M", 2)
    assert str(run) == f"timm-resnet18/folder_my_photos-0123abcd-10M-s2-{run.key}"
    assert records.path_of(run, "runs").parent.name == "timm-resnet18"
    with pytest.raises(ValueError, match=r"dataset='folder_my_photos' is unknown"):
        Run("timm/resnet18", "folder_my_photos")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnt18", "timm .* has no network 'resnt18'; the nearest are: resnet18"),
        ("timm/qqqqqqqqqqqq", r"no network 'qqqqqqqqqqqq'; timm\.list_models\(\) has its names"),
        ("timm/levit_128s", "'levit_128s' of timm has 2 heads; only networks with one"),
    ],
)
def test_an_unknown_network_is_an_error_with_the_nearest_names(name, message):
    with pytest.raises(ValueError, match=message):
        Run(name, "photos")


@pytest.mark.parametrize(
    ("name", "head", "size", "fixed"),
    [
        ("test_resnet", "fc", 160, False),
        ("test_vit", "head", 160, True),
        ("test_convnext.r160_in1k", "head.fc", 160, False),
    ],
)
def test_timms_networks_have_their_head_and_size(name, head, size, fixed):
    network = models.architecture(own.architecture(name))
    assert (network.head, network.image_size, network.fixed) == (head, size, fixed)
    model = models.build(f"timm/{name}", 6, seed=0)
    assert (
        model.get_submodule(head).out_features == 6
        and own.pixels(name, 64) == (size if fixed else 64)
        and own.pixels(name) == size
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.parameters(), models.build(f"timm/{name}", 6, seed=0).parameters(), strict=True)
    )


def test_the_suites_own_networks_keep_their_names_and_lite0_its_package():
    assert own.architecture("mini_resnet") == "mini_resnet" and own.architecture("timm/test_vit") == "timm/test_vit"
    assert weights_file(own.architecture("tf_efficientnet_lite0"), "imagenet", "nowhere") == weights_file(
        "efficientnet_lite0", "imagenet", "nowhere"
    )


def test_a_packed_folder_that_is_not_there_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'folder_gone-0123abcd'.*: pack these images again"):
        prepare(tmp_path, "folder_gone-0123abcd")


# --- weights ----------------------------------------------------------------------------------------------------------
def test_missing_weights_say_which_file_is_wanted_where(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"'test_vit' are missing: put model\.safetensors of https://huggingface\.co/timm/test_vit\."
        r"r160_in1k at .*weights/test_vit\.safetensors \(or, as \.pth, at .*test_vit\.pth\).*PLASTICITY_OFFLINE is set.*"
        "'tf_efficientnet_lite0' has its weights in a pip package",
    ):
        fetch_weights("timm/test_vit", "imagenet", tmp_path)
    with pytest.raises(ValueError, match="no 'imagenet' weights of 'timm/mixer_s16_224'"):
        fetch_weights("timm/mixer_s16_224", "imagenet", tmp_path)


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_weights_that_lie_there_are_taken(tmp_path, ending):
    path, state = (
        tmp_path / "weights" / f"test_resnet.{ending}",
        models.build("timm/test_resnet", 1000, seed=1).state_dict(),
    )
    path.parent.mkdir()
    (save_file if ending == "safetensors" else torch.save)(state, path)
    assert fetch_weights("timm/test_resnet", "imagenet", tmp_path) == path
    found = read_weights(path)
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=rf"test_resnet\.{ending} is not a plain state dict"):
        read_weights(path)


class Hub(http.server.BaseHTTPRequestHandler):
    """What huggingface.co answers for one file of one repository."""

    content = b""

    def do_HEAD(self):
        there = self.path == "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
        self.send_response(200 if there else 404)
        for name, value in {
            "X-Repo-Commit": "0" * 40,
            "ETag": '"abc"',
            "Content-Length": len(self.content) if there else 0,
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        return there

    def do_GET(self):
        if self.do_HEAD():
            self.wfile.write(self.content)

    def log_message(self, *_):
        pass


FETCH = """
import os
from plasticity import train
print(train.fetch_weights("timm/test_resnet", "imagenet", "data"))
try:
    train.fetch_weights("timm/test_vit", "imagenet", "data")
except FileNotFoundError as error:
    print(error)
os.environ["PLASTICITY_OFFLINE"] = "1"
print(train.fetch_weights("timm/test_resnet", "imagenet", "data2"))
"""


@pytest.mark.slow
def test_weights_come_from_the_hub_and_then_from_its_cache(tmp_path):
    state = models.build("timm/test_resnet", 1000, seed=1).state_dict()
    save_file(state, tmp_path / "served")
    Hub.content = (tmp_path / "served").read_bytes()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path / "hub"),
            "PLASTICITY_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, "-c", FETCH]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        server.shutdown()
    assert result.returncode == 0, result.stderr[-3000:]
    first, failed, second = result.stdout.splitlines()
    assert (first, second) == ("data/weights/test_resnet.safetensors", "data2/weights/test_resnet.safetensors")
    assert (
        "'test_vit' are missing" in failed
        and "not downloaded from here: " in failed
        and "PLASTICITY_OFFLINE" not in failed
    )
    for folder in ("data", "data2"):
        found = read_weights(tmp_path / folder / "weights" / "test_resnet.safetensors")
        assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


# --- runs -------------------------------------------------------------------------------------------------------------
def test_runs_are_pairs_by_seed_with_the_settings_asked_for():
    runs = own.runs("test_resnet", "folder_my_photos-0123abcd", 2, max_epochs=3)
    assert [(run.case, run.seed) for run in runs] == [("base", 0), ("10M", 0), ("base", 1), ("10M", 1)]
    assert {(run.architecture, run.momentum, run.patience, run.max_epochs) for run in runs} == {
        ("timm/test_resnet", 0.9, 3, 3)
    }
    assert own.protocol("quick").repeats == 2 and own.protocol("mini", 3).repeats == 3
    with pytest.raises(
        ValueError, match="profile='companions' has no protocol for your own network; allowed: 'mini', 'quick',"
    ):
        own.protocol("companions")
    with pytest.raises(ValueError, match="repeats=-1"):
        own.protocol("mini", -1)


def fitted(images, folder, results, workers):
    name = pack_folder(images, folder, 32)
    save = models.build("timm/test_resnet", 1000, seed=1).state_dict()
    (folder / "weights").mkdir()
    save_file(save, folder / "weights" / "test_resnet.safetensors")
    runs = own.runs("test_resnet", name, 2, batch_size=8, max_epochs=2)
    return runs, run_all(runs, Place(str(folder), str(results), workers, "cpu"))


def test_a_timm_network_is_fine_tuned_on_a_folder(images, tmp_path, capsys):
    runs, done = fitted(images, tmp_path / "data", tmp_path / "results", 1)
    assert {record["status"] for record in done} == {"done"} and records.missing(
        runs, tmp_path / "results" / "runs"
    ) == []
    table = own.verdict(frames.frame(done))
    assert list(table.n) == ["2", "2"] and list(table.columns) == [
        "Measure",
        "Base",
        "10M",
        "Difference",
        "n",
        "Verdict",
    ]
    reports = own.resets(runs[1], done[1], tmp_path / "data")
    as_run, globally = reports.values()
    weights = {row["name"]: row for row in as_run if row["kind"] == "weight"}
    assert all(row["reset"] == row["size"] // 10 for row in weights.values()) and {row["name"] for row in globally} == {
        row["name"] for row in as_run
    }
    assert (
        sum(row["reset"] for row in globally if row["kind"] == "weight")
        == sum(row["size"] for row in weights.values()) // 10
    )
    assert figures.resets_by_layer(reports).axes[0].lines


@pytest.mark.slow
def test_worker_processes_do_the_same(images, tmp_path):
    _, one = fitted(images, tmp_path / "data", tmp_path / "one", 1)
    shutil.rmtree(tmp_path / "data" / "weights")
    _, two = fitted(images, tmp_path / "data", tmp_path / "two", 2)
    assert [record["metrics"] for record in one] == [record["metrics"] for record in two]


# --- the verdict ------------------------------------------------------------------------------------------------------
def frame(base, other, case="10M", epochs=(5, 5), items=1000, status="done"):
    """Runs of a network with these accuracies by seed; ``status`` is the last run's."""
    same, pairs = (
        {"architecture": "mini_resnet", "dataset": "photos", "scenario": "transfer"},
        ((base, epochs[0]), (other, epochs[1])),
    )
    rows = [
        same
        | {"case": name, "seed": seed, "status": "done", "accuracy": accuracy, "epochs": length, "test_items": items}
        for name, (accuracies, length) in zip(("base", case), pairs, strict=True)
        for seed, accuracy in enumerate(accuracies)
    ]
    rows[-1]["status"] = status
    if status != "done":
        rows[-1] |= {"accuracy": math.nan, "epochs": math.nan, "test_items": math.nan}
    return pd.DataFrame(rows)


def test_an_interval_off_zero_is_a_verdict():
    """Gains of 1 to 5 points: mean 3, standard deviation 1.58, half the interval 2.776 x 1.58 / sqrt(5) = 1.96."""
    base, other = [0.5] * 5, [0.51, 0.52, 0.53, 0.54, 0.55]
    row = own.verdict(frame(base, other)).iloc[0].to_dict()
    assert row == {
        "Measure": "Test accuracy (%)",
        "Base": "50.0",
        "10M": "53.0",
        "Difference": "+3.0 [+1.0, +5.0]",
        "n": "5",
        "Verdict": "10M helps",
    }
    assert own.verdict(frame(other, base, "25N")).Verdict[0] == "25N hurts"


def test_a_wide_interval_says_what_it_could_have_seen():
    """Gains of -1, 0 and 1: half the interval is 4.303 x 1 / sqrt(3) = 2.48."""
    table = own.verdict(frame([0.5] * 3, [0.49, 0.5, 0.51]))
    assert table.Verdict[0] == "no difference seen; 3 seeds show one only beyond about 2.5 points"
    assert own.sentence(frame([0.5] * 3, [0.49, 0.5, 0.51])) == (
        "Base reaches 50.0%, 10M 50.0%: +0.0 [-2.5, +2.5] points over 3 seeds; no difference seen; 3 seeds show one only beyond about "
        "2.5 points."
    )


def test_epochs_have_a_verdict_too():
    """Always 4 fewer, known to one epoch alone: half the interval is 2.776 x 1 / sqrt(12 x 5) = 0.36."""
    assert own.verdict(frame([0.5] * 5, [0.5] * 5, epochs=(9, 5))).iloc[1].to_dict() == {
        "Measure": "Epochs until stopped",
        "Base": "9.0",
        "10M": "5.0",
        "Difference": "-4.0 [-4.4, -3.6]",
        "n": "5",
        "Verdict": "10M stops earlier",
    }
    assert own.verdict(frame([0.5] * 5, [0.5] * 5, epochs=(5, 9))).Verdict[1] == "10M stops later"


def test_two_seeds_that_gain_one_test_image_each_show_nothing():
    """One of 40 images is 2.5 points: known to that grain alone, two gains have an interval of 12.7 x 2.5 / sqrt(24) = 6.5."""
    assert own.widened(Difference(2, 2.5, 2.5, 2.5), 2.5) == Difference(
        2, 2.5, pytest.approx(2.5 - 6.484, abs=0.01), pytest.approx(2.5 + 6.484, abs=0.01)
    )
    few = frame([0.5, 0.6], [0.525, 0.625], items=40)
    assert own.verdict(few).Verdict[0].startswith("no difference seen; 2 seeds")
    assert own.widened(Difference(5, 3.0, 1.0, 5.0), 0.1) == Difference(5, 3.0, 1.0, 5.0)


def test_failed_runs_and_single_pairs_decide_nothing():
    lame = frame([0.5, 0.6], [0.5, 0.6], status="failed")
    assert (
        own.verdict(lame).Verdict[0] == "not tested: it takes two pairs of finished runs"
        and own.verdict(lame).n[0] == "1"
    )
    assert own.sentence(lame).endswith(" 1 runs failed and count nowhere.")
    dead = frame([0.5], [0.5]).assign(status="failed").drop(columns=["accuracy", "epochs", "test_items"])
    assert list(own.verdict(dead)[["Base", "10M", "n"]].iloc[0]) == ["-", "-", "0"]


def test_a_verdict_needs_base_and_one_other_case():
    with pytest.raises(ValueError, match="base and of one other case, got: base$"):
        own.verdict(frame([0.5], []).query("case == 'base'"))
    with pytest.raises(ValueError, match="got: 10M, 25N, base"):
        own.verdict(pd.concat([frame([0.5], [0.5]), frame([0.5], [0.5], "25N")]))


def test_the_figure_has_a_dot_for_each_run_and_a_line_for_each_pair():
    figure = own.by_seed(frame([0.5, 0.6, 0.7], [0.6, 0.6, 0.8], status="failed"))
    axes = figure.axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["base"].get_ydata() == pytest.approx([50, 60, 70]) and lines["10M"].get_ydata()[:2] == pytest.approx(
        [60, 60]
    )
    assert "n = 2 pairs" in axes.get_title() and len(axes.lines) == 3 + 2 * 2
