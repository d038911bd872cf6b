"""MNIST, CIFAR and Tiny ImageNet from archives in their true layouts, small; what is wrong with one is named."""

import gzip
import hashlib
import os
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from layouts import WNIDS, cifar, idx, mnist, tiny, zipped
from PIL import Image
from torchvision.datasets import CIFAR10

from plasticity import data, files
from plasticity.__main__ import main
from plasticity.datasets import archives, classic
from plasticity.datasets.prepare import prepare

OLD_HASHES = {  # of these archives, packed by the readers that this project had before it took torchvision's
    "mnist": "ac5198abf2315a144a138119ac5818cc4a4a236d5f7723b0684506c849a17ecd",
    "cifar10": "1289adc4311c2b1555be0295b453b00e49efe9a832b693ac665c82e99c9ae33c",
    "cifar100": "8ea98b9ed9384a73fbdd7a5ca893e088e75b1c141d9b2dc47ad1b9954e4a40fc",
}


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch):
    monkeypatch.setenv("PLASTICITY_OFFLINE", "1")


def packed(folder, name, source=None):
    """A set packed from fewer images than published: what `load` gives, and its manifest."""
    facts = data.manifest(prepare(folder, name, source, complete=False))
    return data.load(folder, name), facts


# --- what comes out ---------------------------------------------------------------------------------------------------
def test_mnist_from_where_torchvision_puts_it(tmp_path):
    made = mnist(tmp_path / "raw/MNIST/raw")
    dataset, facts = packed(tmp_path, "mnist")
    assert dataset.images.shape == (60, 28, 28, 3) and dataset.class_names == tuple("0123456789")
    assert dataset.test.sum() == 20 and dataset.labels.tolist() == sorted(dataset.labels.tolist())
    for image, label, test, source in zip(dataset.images, dataset.labels, dataset.test, dataset.sources, strict=True):
        part, number = source.split()
        images, labels = made[part]
        assert (image.numpy() == images[int(number)][..., None]).all() and label == labels[int(number)]
        assert test == (part == "t10k")
    assert len(set(dataset.sources)) == 60 and dataset.sha256 == OLD_HASHES["mnist"]
    assert facts["expected"] == 70_000 and facts["complete"] is False and facts["split"] == {"kind": "official"}
    assert set(facts["counts"].values()) == {6} and set(facts["test_counts"].values()) == {2}
    assert facts["origin"]["published"] is False and len(facts["origin"]["md5"]) == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mnist", "raw"]
    with pytest.raises(ValueError, match="packed from 60 images, MNIST has 70,000"):
        prepare(tmp_path, "mnist")


@pytest.mark.parametrize("name, protocol", [("cifar10", 2), ("cifar10", 4), ("cifar100", 5)])
def test_cifar_from_its_archive(tmp_path, name, protocol):
    made = cifar(tmp_path / "mine.tar.gz", name, protocol)
    dataset, _ = packed(tmp_path / "data", name, tmp_path / "mine.tar.gz")
    classes = classic.SETS[name].classes
    assert dataset.images.shape == (sum(map(len, made.values())), 32, 32, 3) and dataset.sha256 == OLD_HASHES[name]
    assert dataset.class_names == tuple(f"class_{i}" for i in range(classes))
    for i in range(0, len(dataset.images), 7):
        file, number = dataset.sources[i].split()
        assert np.array_equal(dataset.images[i], made[file][int(number)])
        assert dataset.labels[i] == int(number) % classes and dataset.test[i] == file.startswith("test")


def test_cifar_from_the_unpacked_folder_and_from_raw(tmp_path):
    cifar(tmp_path / "raw/cifar-10-python.tar.gz")
    one, facts = packed(tmp_path, "cifar10")
    assert facts["origin"]["archive"] == "cifar-10-python.tar.gz" and len(facts["origin"]["md5"]) == 32
    archives.unpack(tmp_path / "raw/cifar-10-python.tar.gz", tmp_path / "other/raw", 10**9, {})
    other, facts = packed(tmp_path / "other", "cifar10")
    assert facts["origin"]["folder"].endswith("cifar-10-batches-py")
    for i, source in enumerate((tmp_path / "other/raw", tmp_path / "other/raw/cifar-10-batches-py", tmp_path / "raw")):
        assert packed(tmp_path / str(i), "cifar10", source)[0].sha256 == other.sha256 == one.sha256


def test_what_is_published_is_read_as_it_is(tmp_path, monkeypatch):
    """The way of the true archives, whose hashes are known: by torchvision alone."""
    monkeypatch.setattr(classic.Harmless, "load", None)
    cifar(tmp_path / "raw/cifar-10-python.tar.gz")
    with tarfile.open(tmp_path / "raw/cifar-10-python.tar.gz") as archive:
        md5 = {Path(m.name).name: hashlib.md5(archive.extractfile(m).read()).hexdigest() for m in archive}
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(CIFAR10, part, [[file, md5[file]] for file, _ in getattr(CIFAR10, part)])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5["batches.meta"]})
    assert packed(tmp_path, "cifar10")[0].sha256 == OLD_HASHES["cifar10"]


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_tiny_imagenet(tmp_path, kind):
    root = tiny(tmp_path / "made")
    dataset, _ = packed(tmp_path / "data", "tiny_imagenet", zipped(root) if kind == "zip" else root.parent)
    assert dataset.images.shape == (600, 64, 64, 3) and dataset.class_names == tuple(WNIDS)
    assert dataset.test.sum() == 200 and dataset.labels.tolist() == [i for i in range(200) for _ in range(3)]
    assert dataset.sources[:2] == tuple(f"train/n00000000/images/n00000000_{i}.JPEG" for i in range(2))
    red, green = dataset.images[:, 32, 32, 0].int(), dataset.images[:, 32, 32, 1].int()
    grey = dataset.sources.index("train/n00000003/images/n00000003_0.JPEG")
    coloured = [i for i in range(600) if i != grey]
    assert ((red - dataset.labels).abs()[coloured] <= 6).all() and ((green < 60) == dataset.test)[coloured].all()
    assert (dataset.images[grey] == dataset.images[grey][..., :1]).all()


# --- what is refused --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name, words",
    [
        ("mnist", "f68b3c2dcbeaaa9fbdd348bbdeb94873. and put the file at .*/raw/MNIST/raw/train-images.*t10k-labels"),
        (
            "cifar10",
            "toronto.edu/~kriz/cifar-10-python.tar.gz .*md5 c58f30108f718f92721af3b95e74349a. .* at .*/raw/cifar-10",
        ),
        ("cifar100", "eb9058c3a382ffc7106e4002c42a8d85.*or unpack it to .*/raw/cifar-100-python"),
        ("tiny_imagenet", "cs231n.stanford.edu/tiny-imagenet-200.zip .*md5 90528d7ca1a48142e341f4ef8d21d0de"),
    ],
)
def test_missing_files_say_what_to_put_where(tmp_path, name, words):
    with pytest.raises(FileNotFoundError, match=f"'{name}' is not in .*{words}.*PLASTICITY_OFFLINE is set"):
        prepare(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_holds_something_else_is_named(tmp_path):
    mnist(tmp_path / "some")
    labels = tmp_path / "some/t10k-labels-idx1-ubyte.gz"
    labels.unlink()
    for name, source, words in [
        ("cifar10", tmp_path / "absent", "absent does not exist"),
        ("mnist", tmp_path / "absent", "absent does not exist"),
        ("mnist", tmp_path / "some", "some does not hold t10k-labels-idx1-ubyte.gz$"),
        ("mnist", tmp_path / "some/t10k-images-idx3-ubyte.gz", "is one file; MNIST is the files train-images"),
    ]:
        with pytest.raises(FileNotFoundError, match=words):
            prepare(tmp_path, name, source)
    with pytest.raises(ValueError, match="cifar-10-batches-py/data_batch_1 is missing"):
        prepare(tmp_path, "cifar10", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["some"]


def test_downloads_are_checked_and_the_next_mirror_is_tried(tmp_path, monkeypatch):
    """From files on this machine; nothing of another hash stays."""
    monkeypatch.delenv("PLASTICITY_OFFLINE")
    content, asked = b"the true file", []

    def get(url, output_file, pooch):
        asked.append(url)
        Path(output_file).write_bytes(b"another" if "bad" in url else content)

    monkeypatch.setattr("pooch.HTTPDownloader", lambda **kwargs: get)
    urls, digest = ("http://bad/x", "http://good/x"), f"md5:{hashlib.md5(content).hexdigest()}"
    remote = archives.Remote("x", "there/x.gz", "page", urls, digest)
    path = archives.download(remote, tmp_path)
    assert path == tmp_path / "there/x.gz" and path.read_bytes() == content and tuple(asked) == urls
    with pytest.raises(files.NotDownloaded, match="http://bad/x: .*has md5 .*published is"):
        archives.download(replace(remote, urls=urls[:1], archive="there/y.gz"), tmp_path)
    assert [p.name for p in (tmp_path / "there").iterdir()] == ["x.gz"]


def test_wrong_hashes_name_both(tmp_path):
    mnist(tmp_path / "mnist")
    cifar(tmp_path / "cifar/cifar-10-python.tar.gz")
    renamed = tmp_path / "mine.tar.gz"
    renamed.write_bytes((tmp_path / "cifar/cifar-10-python.tar.gz").read_bytes())
    root = tiny(tmp_path)
    for name, source, file, published in [
        ("mnist", tmp_path / "mnist", "train-images-idx3-ubyte.gz", "f68b3c2d"),
        ("cifar10", tmp_path / "cifar", "python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
        ("cifar10", renamed, "batches-py/data_batch_1", "c99cafc152244af753f735de768cd75f"),
        ("tiny_imagenet", zipped(root), "tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"),
    ]:
        with pytest.raises(ValueError, match=f"{file} has md5 [0-9a-f]{{32}}, published is {published}"):
            prepare(tmp_path / "data", name, source)
    counts = "not the whole of Tiny ImageNet: 400 train images .published 100,000., 200 test images"
    with pytest.raises(ValueError, match=counts):
        prepare(tmp_path / "data", "tiny_imagenet", root)


@pytest.mark.parametrize(
    "content, words",
    [
        (idx(np.full(20, 10)), "has labels 0 to 10, MNIST has 0 to 9"),
        (idx(np.zeros(19)), r"images of shape \(20, 28, 28\), but 19 labels"),
        (idx(np.zeros((20, 28, 28))), "many is not as MNIST's files are"),
        (gzip.compress(b"", mtime=0), "many is not as MNIST's files are"),
        (idx(np.zeros(20))[:-12], "t10k-labels-idx1-ubyte.gz cannot be unpacked .EOFError"),
        (
            gzip.compress(bytes(10**8 + 1), mtime=0),
            "t10k-labels-idx1-ubyte.gz is not unpacked: it holds more than the 100,000,000",
        ),
    ],
)
def test_damaged_idx_files_are_named(tmp_path, content, words):
    mnist(tmp_path / "many")
    (tmp_path / "many/t10k-labels-idx1-ubyte.gz").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        prepare(tmp_path, "mnist", tmp_path / "many", complete=False)


def test_wrong_counts_and_sizes_are_named(tmp_path, monkeypatch):
    mnist(tmp_path / "few", train=9)
    with pytest.raises(ValueError, match="has no train images of 9"):
        prepare(tmp_path, "mnist", tmp_path / "few", complete=False)
    mnist(tmp_path / "many")
    (tmp_path / "many/train-images-idx3-ubyte.gz").write_bytes(idx(np.zeros((40, 28, 27))))
    with pytest.raises(ValueError, match=r"images of shape \(40, 28, 27\)"):
        prepare(tmp_path, "mnist", tmp_path / "many", complete=False)
    mnist(tmp_path / "many")
    monkeypatch.setitem(classic.SETS, "mnist", replace(classic.SETS["mnist"], train=30))
    with pytest.raises(ValueError, match=r"not the whole of MNIST: 40 train images \(published 30\), 20 test images"):
        prepare(tmp_path, "mnist", tmp_path / "many", complete=False)


class Call:
    """A pickle that calls something, and sets a state if one is given."""

    def __init__(self, *call, state=None):
        self.reduced = (call[0], call[1:]) if state is None else (call[0], call[1:], state)

    def __reduce__(self):
        return self.reduced


def made_by_python_2():
    """As CIFAR's batches are: texts are bytes. By hand, SHORT_BINSTRING and BINSTRING."""
    reduced = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02K\x03\x86"
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    numbers = b"\x89T\x06\x00\x00\x00" + bytes(range(6)) + b"tb"
    return b"\x80\x02}(U\x04data" + reduced + kind + numbers + b"U\x06labels](K\x01K\x00eu."


def test_a_batch_of_python_2_is_harmless(tmp_path):
    loaded = pickle.loads(made_by_python_2(), encoding="latin1")
    assert np.array_equal(loaded["data"], [[0, 1, 2], [3, 4, 5]]) and loaded["labels"] == [1, 0]
    (tmp_path / "batch").write_bytes(made_by_python_2())
    classic.check_pickle(tmp_path / "batch", "f" * 32, complete=False)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, protocol):
    trap = pickle.dumps({"data": Call(os.mkdir, str(tmp_path / "ran")), "labels": [0]}, protocol)
    pickle.loads(trap)  # it would work
    (tmp_path / "ran").rmdir()
    cifar(tmp_path / "mine.tar.gz", replaced={"data_batch_2": trap})
    words = "batches-py/data_batch_2 is not read: it names (posix|nt).mkdir, which has no place in it"
    with pytest.raises(ValueError, match=words):
        prepare(tmp_path / "data", "cifar10", tmp_path / "mine.tar.gz", complete=False)
    assert not (tmp_path / "ran").exists() and [p.name for p in (tmp_path / "data").iterdir()] == ["raw"]


FLAGS = (3, "|", None, None, None, -1, -1, 63)  # the state of a type of numbers that says its bytes are pointers


@pytest.mark.parametrize(
    "content, message",
    [
        (np.array([print], object), "it holds an array of O8"),
        (np.zeros((1, 3072)), "it holds an array of f8"),
        (print, "it names builtins.print"),
        (Call(np.dtype, "u1", False, True, state=FLAGS), "it holds an array of a strange type"),
        (Call(np.ndarray, (1,)), "not callable"),
        (b"", "Ran out of input"),
        (b"\x80\x02cbuiltins\neval\nU\x011\x85R.", "it names builtins.eval"),
    ],
)
def test_pickles_that_could_do_harm_are_refused_by_name(tmp_path, content, message):
    (tmp_path / "batch").write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, 4))
    with pytest.raises(ValueError, match=f"batch is not read: .*{message}"):
        classic.check_pickle(tmp_path / "batch", "f" * 32, complete=False)


ROWS = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"data": ROWS[:, 1:], "labels": [0, 1]}, "ValueError: cannot reshape"),
        ({"data": ROWS, "labels": [0]}, r"images \(2, 32, 32, 3\) of uint8, 1 labels"),
        ({"data": ROWS.tolist(), "labels": [0, 1]}, r"images \(2, 32, 32, 3\) of int64, 2 labels"),
        ({"data": ROWS, "labels": ["0", "1"]}, "2 labels"),
        ({"data": ROWS}, "KeyError: 'fine_labels'"),
        ([1], "TypeError: list indices"),
    ],
)
def test_batches_of_another_form_are_refused_by_name(tmp_path, content, message):
    cifar(tmp_path / "mine.tar.gz", replaced={"data_batch_2": pickle.dumps(content)})
    with pytest.raises(ValueError, match=f"data_batch_2 or batches.meta is not as CIFAR-10's are .*{message}"):
        prepare(tmp_path / "data", "cifar10", tmp_path / "mine.tar.gz", complete=False)


def test_damaged_and_lacking_archives_are_named(tmp_path):
    cifar(tmp_path / "mine.tar.gz")
    (tmp_path / "half.tar.gz").write_bytes((tmp_path / "mine.tar.gz").read_bytes()[:30_000])
    for name, file, words in [
        ("cifar10", "half.tar.gz", "half.tar.gz cannot be unpacked"),
        ("cifar100", "mine.tar.gz", "cifar-100-python/train is missing"),
        ("tiny_imagenet", "mine.tar.gz", "does not hold Tiny ImageNet: no tiny-imagenet-200/val/val_annotations.txt"),
    ]:
        with pytest.raises(ValueError, match=words):
            prepare(tmp_path / "data", name, tmp_path / file, complete=False)


def test_tiny_imagenets_faults_are_named(tmp_path):
    root = tiny(tmp_path)
    notes, image = root / "val/val_annotations.txt", root / "val/images/val_0.JPEG"
    text = notes.read_text()
    for content, message in [
        (text.partition("\n")[2], "do not agree about val/images/val_0.JPEG$"),
        (text + "val_999.JPEG\tn00000000\t0\t0\t1\t1\n", "do not agree about val/images/val_999.JPEG$"),
        (text.replace("n00000000", "n99999999"), "n99999999 in val_annotations.txt have no images in train"),
        (Image.new("RGB", (64, 65)), "val/images/val_0.JPEG is no whole image .64 x 65 pixels, not 64 x 64"),
        (b"no image", "val/images/val_0.JPEG is no whole image"),
        (None, "no tiny-imagenet-200/val/val_annotations.txt"),
    ]:
        notes.write_text(content if isinstance(content, str) else text)
        if isinstance(content, Image.Image):
            content.save(image)
        elif isinstance(content, bytes):
            image.write_bytes(content)
        elif content is None:
            notes.unlink()
        with pytest.raises(ValueError, match=message):
            prepare(tmp_path / "data", "tiny_imagenet", root, complete=False)
    assert list((tmp_path / "data").iterdir()) == []


def test_the_command_line(tmp_path, capsys):
    cifar(tmp_path / "mine.tar.gz")
    arguments = ["cifar10", "--data", str(tmp_path), "--source", str(tmp_path / "mine.tar.gz")]
    assert main(["prepare", *arguments]) == 2 and "has md5" in capsys.readouterr().err
    assert main(["prepare", *arguments, "--any-count"]) == 0
    lines = [str(tmp_path / "cifar10"), "120 images of 60,000 published, 20 of them test"]
    assert capsys.readouterr().out.splitlines() == lines


def test_published_numbers():
    assert [classic.published(name) for name in classic.SETS] == [70_000, 60_000, 60_000, 110_000]
    assert all(known.title == data.TITLES[name] for name, known in classic.SETS.items())
