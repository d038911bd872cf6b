"""MNIST, CIFAR and Tiny ImageNet from archives in their true layouts, small; and what is wrong with an archive is named."""

import gzip
import hashlib
import io
import os
import pickle
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from layouts import picture
from PIL import Image

from plasticity import data
from plasticity.__main__ import main
from plasticity.datasets import classic, prepare
from plasticity.files import NotDownloaded

WNIDS = [f"n{i:08}" for i in range(200)]


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch):
    monkeypatch.setenv("PLASTICITY_OFFLINE", "1")


def idx(array):
    head = bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes(), mtime=0)


def mnist(folder, train=40, test=20, seed=0):
    """The four files in ``folder``; returns images and labels by part."""
    rng, made = np.random.default_rng(seed), {}
    folder.mkdir(parents=True, exist_ok=True)
    for part, n in (("train", train), ("t10k", test)):
        images, labels = rng.integers(0, 256, (n, 28, 28)), np.arange(n)[::-1] % 10
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
        made[part] = images, labels
    return made


def batch(labels, key, protocol, rng):
    images = np.stack([picture(rng, label, 100, 32) for label in labels])
    rows = images.transpose(0, 3, 1, 2).reshape(len(labels), -1)  # red, green and blue planes
    return images, pickle.dumps({"data": rows, key: list(labels), "batch_label": "a batch"}, protocol)


def cifar(path, name="cifar10", protocol=4, each=2, replaced=None):
    """The archive at ``path``, in each batch ``each`` images of a class; returns the batches' images. ``replaced``: file -> bytes."""
    rng, known, made, contents = np.random.default_rng(0), classic.SETS[name], {}, {}
    fine = "" if name == "cifar10" else "fine_"
    for file in known.md5s:
        if file.endswith("meta"):
            contents[file] = pickle.dumps(
                {f"{fine}label_names": [f"class_{i}" for i in range(known.classes)]}, protocol
            )
        else:
            labels = np.tile(np.arange(known.classes), each).tolist()
            made[file], contents[file] = batch(labels, f"{fine}labels", protocol, rng)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for file, content in (contents | (replaced or {})).items():
            info = tarfile.TarInfo(f"{known.inside}/{file}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made


def tiny(folder, train=2, test=1, size=64):
    """``folder/tiny-imagenet-200`` and its zip beside it; the colour of an image is its class's, of test images darker."""
    root = folder / "tiny-imagenet-200"
    for label, wnid in enumerate(WNIDS):
        (root / "train" / wnid / "images").mkdir(parents=True)
        for i in range(train):
            mode = "L" if (label, i) == (3, 0) else "RGB"
            image = Image.new("RGB", (size, size), (label, 100, 200)).convert(mode)
            image.save(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", quality=95)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
    (root / "val/images").mkdir(parents=True)
    (root / "test/images").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(root / "test/images/test_0.JPEG")
    lines = []
    for i in range(200 * test):
        label = (7 * i) % 200
        Image.new("RGB", (64, 64), (label, 20, 40)).save(root / f"val/images/val_{i}.JPEG", quality=95)
        lines.append(f"val_{i}.JPEG\t{WNIDS[label]}\t0\t0\t62\t62\n")
    (root / "val/val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("\n".join(reversed(WNIDS)))
    return root


def zipped(root):
    path = root.with_name("tiny-imagenet-200.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(root.parent))
    return path


# --- what comes out ---------------------------------------------------------------------------------------------------
def test_mnist_from_where_torchvision_puts_it(tmp_path):
    made = mnist(tmp_path / "raw/MNIST/raw")
    path = prepare.prepare(tmp_path, "mnist", complete=False)
    dataset, facts = data.load(tmp_path, "mnist"), data.manifest(path)
    assert dataset.images.shape == (60, 28, 28, 3) and dataset.class_names == tuple("0123456789")
    assert dataset.test.sum() == 20 and dataset.labels.tolist() == sorted(dataset.labels.tolist())
    for i in (0, 17, 59):
        part, number = dataset.sources[i].split()
        images, labels = made[part]
        assert (dataset.images[i].numpy() == images[int(number)][..., None]).all() and dataset.labels[i] == labels[
            int(number)
        ]
        assert dataset.test[i] == (part == "t10k")
    assert len(set(dataset.sources)) == 60
    assert facts["expected"] == 70_000 and facts["complete"] is False and facts["split"] == {"kind": "official"}
    assert set(facts["counts"].values()) == {6} and set(facts["test_counts"].values()) == {2}
    assert facts["origin"]["published"] is False and len(facts["origin"]["md5"]) == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mnist", "raw"]
    with pytest.raises(ValueError, match="packed from 60 images, MNIST has 70,000"):
        prepare.prepare(tmp_path, "mnist")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_cifar_from_its_archive(tmp_path, name, protocol):
    made = cifar(tmp_path / "mine.tar.gz", name, protocol, each=2 if name == "cifar10" else 1)
    prepare.prepare(tmp_path / "data", name, tmp_path / "mine.tar.gz", complete=False)
    dataset = data.load(tmp_path / "data", name)
    assert len(dataset.images) == sum(map(len, made.values())) and dataset.images.shape[1:] == (32, 32, 3)
    assert dataset.class_names[3] == "class_3" and len(dataset.class_names) == classic.SETS[name].classes
    for i in range(0, len(dataset.images), 7):
        file, number = dataset.sources[i].split()
        assert np.array_equal(dataset.images[i], made[file][int(number)])
        assert dataset.labels[i] == int(number) % len(dataset.class_names) and dataset.test[i] == file.startswith(
            "test"
        )


def test_cifar_from_the_unpacked_folder_and_from_raw(tmp_path):
    cifar(tmp_path / "raw/cifar-10-python.tar.gz")
    one = data.manifest(prepare.prepare(tmp_path, "cifar10", complete=False))
    assert one["origin"]["archive"] == "cifar-10-python.tar.gz"
    with tarfile.open(tmp_path / "raw/cifar-10-python.tar.gz") as archive:
        archive.extractall(tmp_path / "other/raw", filter="data")
    other = data.manifest(prepare.prepare(tmp_path / "other", "cifar10", complete=False))
    assert other["sha256"] == one["sha256"] and other["origin"]["folder"].endswith("cifar-10-batches-py")
    again = prepare.prepare(tmp_path / "third", "cifar10", tmp_path / "other/raw/cifar-10-batches-py", complete=False)
    assert data.manifest(again)["sha256"] == one["sha256"]


def test_pickles_of_python_2_and_arrays_by_columns():
    """CIFAR's batches hold Python 2's texts, which are bytes: here by hand, SHORT_BINSTRING and BINSTRING."""
    rows = np.arange(6, dtype=np.uint8).reshape(2, 3)
    content = rows.tobytes()
    written = (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02K\x03\x86"
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + len(content).to_bytes(4, "little")
        + content
        + b"tbU\x06labels](K\x01K\x00eu."
    )
    loaded = classic.unpickled(written, "a batch")
    assert np.array_equal(loaded["data"].bytes(), rows) and loaded["labels"] == [1, 0]
    for protocol in (2, 3, 4, 5):
        by_columns = classic.unpickled(pickle.dumps({"data": np.asfortranarray(rows)}, protocol), "a batch")["data"]
        assert np.array_equal(by_columns.bytes(), rows), protocol


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_tiny_imagenet(tmp_path, kind):
    root = tiny(tmp_path / "made")
    prepare.prepare(tmp_path / "data", "tiny_imagenet", zipped(root) if kind == "zip" else root.parent, complete=False)
    dataset = data.load(tmp_path / "data", "tiny_imagenet")
    assert (
        dataset.images.shape == (600, 64, 64, 3) and dataset.class_names == tuple(WNIDS) and dataset.test.sum() == 200
    )
    assert dataset.labels.tolist() == [i for i in range(200) for _ in range(3)]
    assert dataset.sources[:2] == ("train/n00000000/images/n00000000_0.JPEG", "train/n00000000/images/n00000000_1.JPEG")
    red, green = dataset.images[:, 32, 32, 0].int(), dataset.images[:, 32, 32, 1].int()
    coloured = [i for i, source in enumerate(dataset.sources) if source != "train/n00000003/images/n00000003_0.JPEG"]
    assert ((red - dataset.labels).abs()[coloured] <= 6).all() and ((green < 60) == dataset.test)[coloured].all()
    grey = dataset.images[list(set(range(600)) - set(coloured))]
    assert (grey == grey[..., :1]).all()


# --- what is refused --------------------------------------------------------------------------------------------------
def test_missing_files_say_what_to_put_where(tmp_path):
    for name, words in {
        "mnist": "f68b3c2dcbeaaa9fbdd348bbdeb94873. as .*/raw/MNIST/raw/train-images-idx3-ubyte.gz",
        "cifar10": "toronto.edu/~kriz/cifar-10-python.tar.gz .md5 c58f30108f718f92721af3b95e74349a. as .*/raw/cifar-10",
        "cifar100": "eb9058c3a382ffc7106e4002c42a8d85.*or unpack it to .*/raw/cifar-100-python",
        "tiny_imagenet": "cs231n.stanford.edu/tiny-imagenet-200.zip .md5 90528d7ca1a48142e341f4ef8d21d0de",
    }.items():
        with pytest.raises(FileNotFoundError, match=f"'{name}' is not in .*{words}.*PLASTICITY_OFFLINE is set"):
            prepare.prepare(tmp_path, name)
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        prepare.prepare(tmp_path, "cifar10", tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="does not hold cifar-10-python.tar.gz or cifar-10-batches-py"):
        prepare.prepare(tmp_path, "cifar10", tmp_path)
    mnist(tmp_path / "some")
    (tmp_path / "some/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="some does not hold t10k-labels-idx1-ubyte.gz$"):
        prepare.prepare(tmp_path, "mnist", tmp_path / "some")
    with pytest.raises(FileNotFoundError, match="is one file; MNIST is the 4 files"):
        prepare.prepare(tmp_path, "mnist", tmp_path / "some/t10k-images-idx3-ubyte.gz")
    assert [p.name for p in tmp_path.iterdir()] == ["some"]


def test_downloads_are_checked_and_the_next_mirror_is_tried(tmp_path, monkeypatch):
    """From files on this machine, by way of pooch; nothing of another hash stays."""
    monkeypatch.delenv("PLASTICITY_OFFLINE")
    content, asked = b"the true file", []

    def get(url, output_file, pooch):
        asked.append(url)
        Path(output_file).write_bytes(b"another" if "bad" in url else content)

    monkeypatch.setattr("pooch.HTTPDownloader", lambda **kwargs: get)
    file = classic.Published("x.gz", hashlib.md5(content).hexdigest(), ("http://bad/x", "http://good/x"), "there")
    path = classic.download(file, tmp_path, classic.SETS["mnist"])
    assert (
        path == tmp_path / "there/x.gz" and path.read_bytes() == content and asked == ["http://bad/x", "http://good/x"]
    )
    with pytest.raises(NotDownloaded, match="http://bad/x: .*hash"):
        classic.download(replace(file, urls=("http://bad/x",), name="y.gz"), tmp_path, classic.SETS["mnist"])
    assert [p.name for p in (tmp_path / "there").iterdir()] == ["x.gz"]


def test_wrong_hashes_name_both(tmp_path):
    mnist(tmp_path / "mnist")
    with pytest.raises(ValueError, match="train-images-idx3-ubyte.gz has md5 [0-9a-f]{32}, published is f68b3c2d"):
        prepare.prepare(tmp_path, "mnist", tmp_path / "mnist")
    cifar(tmp_path / "cifar-10-python.tar.gz")
    with pytest.raises(
        ValueError, match="python.tar.gz has md5 [0-9a-f]{32}, published is c58f30108f718f92721af3b95e74349a"
    ):
        prepare.prepare(tmp_path, "cifar10", tmp_path)
    renamed = (tmp_path / "cifar-10-python.tar.gz").rename(tmp_path / "mine.tar.gz")
    with pytest.raises(
        ValueError, match="batches-py/data_batch_1 has md5 [0-9a-f]{32}, published is c99cafc152244af753f735de768cd75f"
    ):
        prepare.prepare(tmp_path, "cifar10", renamed)
    with pytest.raises(
        ValueError, match="tiny-imagenet-200.zip has md5 [0-9a-f]{32}, published is 90528d7ca1a48142e341f4ef8d21d0de"
    ):
        prepare.prepare(tmp_path, "tiny_imagenet", zipped(tiny(tmp_path)))
    with pytest.raises(
        ValueError, match="not the whole of Tiny ImageNet: 400 train images .published 100,000., 200 test images"
    ):
        prepare.prepare(tmp_path / "data", "tiny_imagenet", tmp_path / "tiny-imagenet-200")


def test_wrong_counts_and_classes_are_named(tmp_path, monkeypatch):
    mnist(tmp_path / "few", train=9)
    with pytest.raises(ValueError, match="has no train images of 9"):
        prepare.prepare(tmp_path, "mnist", tmp_path / "few", complete=False)
    monkeypatch.setitem(classic.SETS, "mnist", replace(classic.SETS["mnist"], train=30))
    mnist(tmp_path / "many")
    with pytest.raises(ValueError, match=r"not the whole of MNIST: 40 train images \(published 30\), 20 test images"):
        prepare.prepare(tmp_path, "mnist", tmp_path / "many", complete=False)
    (tmp_path / "many/t10k-labels-idx1-ubyte.gz").write_bytes(idx(np.full(20, 10)))
    with pytest.raises(ValueError, match="has labels 0 to 10, MNIST has 0 to 9"):
        prepare.prepare(tmp_path, "mnist", tmp_path / "many", complete=False)
    (tmp_path / "many/t10k-labels-idx1-ubyte.gz").write_bytes(idx(np.zeros(19)))
    with pytest.raises(ValueError, match="20 t10k images, but 19 labels"):
        prepare.prepare(tmp_path, "mnist", tmp_path / "many", complete=False)
    (tmp_path / "many/t10k-labels-idx1-ubyte.gz").write_bytes(idx(np.zeros((20, 28, 28))))
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte.gz is not an IDX file of n bytes"):
        prepare.prepare(tmp_path, "mnist", tmp_path / "many", complete=False)
    (tmp_path / "many/t10k-labels-idx1-ubyte.gz").write_bytes(idx(np.zeros(20))[:-12])
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte.gz cannot be unpacked .EOFError"):
        prepare.prepare(tmp_path, "mnist", tmp_path / "many", complete=False)


class Touch:
    """A pickle that runs code: it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, protocol):
    trap = pickle.dumps({"data": Touch(tmp_path / "ran"), "labels": [0]}, protocol)
    pickle.loads(trap)  # it would work
    (tmp_path / "ran").rmdir()
    cifar(tmp_path / "mine.tar.gz", replaced={"data_batch_2": trap})
    with pytest.raises(
        ValueError, match="batches-py/data_batch_2 is not read: it names (posix|nt).mkdir, which has no place in it"
    ):
        prepare.prepare(tmp_path / "data", "cifar10", tmp_path / "mine.tar.gz", complete=False)
    assert not (tmp_path / "ran").exists() and list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    "content, message",
    [
        (pickle.dumps({"data": np.array([print], object), "labels": [0]}), "names builtins.print"),
        (pickle.dumps({"data": np.zeros((1, 3072)), "labels": [0]}), "an array of f8"),
        (pickle.dumps({"data": np.zeros((1, 3071), np.uint8), "labels": [0]}), r"array of \(1, 3071\), 1 labels"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}), r"array of \(2, 3072\), 1 labels"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": ["0"]}), "1 labels"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8)}), "KeyError: 'labels'"),
        (pickle.dumps([1]), "read: .list. object"),
        (b"", "read: Ran out of input"),
        (b"\x80\x02cbuiltins\neval\nU\x011\x85R.", "names builtins.eval"),
        (b"\x80\x02c_codecs\nencode\nU\x011U\x03zip\x86R.", "to be encoded as 'zip'"),
    ],
)
def test_other_contents_are_refused_by_name(tmp_path, content, message):
    cifar(tmp_path / "mine.tar.gz", replaced={"data_batch_2": content})
    with pytest.raises(ValueError, match=f"data_batch_2 is not.*{message}"):
        prepare.prepare(tmp_path / "data", "cifar10", tmp_path / "mine.tar.gz", complete=False)


def test_damaged_and_lacking_archives_are_named(tmp_path):
    cifar(tmp_path / "mine.tar.gz")
    (tmp_path / "half.tar.gz").write_bytes((tmp_path / "mine.tar.gz").read_bytes()[:30_000])
    with pytest.raises(ValueError, match="half.tar.gz cannot be unpacked"):
        prepare.prepare(tmp_path / "data", "cifar10", tmp_path / "half.tar.gz", complete=False)
    with pytest.raises(ValueError, match="mine.tar.gz does not hold train, test, meta of CIFAR-100"):
        prepare.prepare(tmp_path / "data", "cifar100", tmp_path / "mine.tar.gz", complete=False)
    with pytest.raises(ValueError, match="mine.tar.gz cannot be unpacked .BadZipFile"):
        prepare.prepare(tmp_path / "data", "tiny_imagenet", tmp_path / "mine.tar.gz", complete=False)


def test_tiny_imagenets_faults_are_named(tmp_path):
    root = tiny(tmp_path)
    notes = root / "val/val_annotations.txt"
    lines = notes.read_text().splitlines(keepends=True)

    def attempt(message):
        with pytest.raises(ValueError, match=message):
            prepare.prepare(tmp_path / "data", "tiny_imagenet", root, complete=False)

    notes.write_text("".join(lines[1:]))
    attempt("do not agree about val/images/val_0.JPEG$")
    notes.write_text("".join(lines) + "val_999.JPEG\tn00000000\t0\t0\t1\t1\n")
    attempt("do not agree about val/images/val_999.JPEG$")
    notes.write_text("".join(lines).replace("n00000000", "n99999999"))
    attempt("n99999999 in val_annotations.txt have no images in train")
    notes.write_text("".join(lines))
    Image.new("RGB", (64, 65)).save(root / "val/images/val_0.JPEG")
    attempt("val/images/val_0.JPEG is no whole image of 64 pixels .64 x 65 pixels")
    (root / "val/images/val_0.JPEG").write_bytes(b"no image")
    attempt("val/images/val_0.JPEG is no whole image")
    notes.unlink()
    attempt("no tiny-imagenet-200/val/val_annotations.txt")
    assert list((tmp_path / "data").iterdir()) == []


def test_the_command_line(tmp_path, capsys):
    cifar(tmp_path / "mine.tar.gz")
    arguments = ["cifar10", "--data", str(tmp_path), "--source", str(tmp_path / "mine.tar.gz")]
    assert main(["prepare", *arguments]) == 2 and "has md5" in capsys.readouterr().err
    assert main(["prepare", *arguments, "--any-count"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "cifar10"),
        "120 images of 60,000 published, 20 of them test",
    ]


def test_published_numbers():
    assert [classic.published(name) for name in classic.SETS] == [70_000, 60_000, 60_000, 110_000]
    assert set(classic.SETS) <= set(data.TITLES) and all(
        known.title == data.TITLES[name] for name, known in classic.SETS.items()
    )
