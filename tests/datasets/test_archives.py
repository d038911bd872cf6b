"""Raw files: found, downloaded from a real local server that misbehaves, verified, and unpacked only if it is safe."""

import http.server
import io
import json
import os
import re
import stat
import tarfile
import threading
import zipfile
from dataclasses import replace

import pytest
import torch
from layouts import largest_file

from plasticity.datasets import archives
from plasticity.files import file_sha256, require_space
from plasticity.networks import table as models
from plasticity.networks.loading import read_weights
from plasticity.weights import fetch_weights

REMOTE = archives.Remote("things", "things.tar.gz", "https://example.org/things", max_bytes=10**6)


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch):
    """Nothing here talks to another machine."""
    monkeypatch.setenv("PLASTICITY_OFFLINE", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def tar(path, members=None, mode="w:gz"):
    """A tar of {name: bytes or TarInfo}."""
    with tarfile.open(path, mode) as file:
        for name, content in (members or {"things/a.txt": b"a", "things/b/c.txt": b"c"}).items():
            if isinstance(content, tarfile.TarInfo):
                file.fileobj.write(content.tobuf())  # Python 3.13's addfile wants the bytes that it declares, too
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return path


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; under /cut/ it promises a whole file and hangs up half-way."""

    def do_GET(self):
        if not self.path.startswith("/cut/"):
            return super().do_GET()
        content = open(os.path.join(self.directory, self.path[5:]), "rb").read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """(the address of a server, an archive it serves, a Remote for that)."""
    monkeypatch.delenv("PLASTICITY_OFFLINE")
    folder = tmp_path / "served"
    folder.mkdir()
    archive = tar(folder / "things.tar.gz")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Server(*a, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        urls, digest = (f"{address}/things.tar.gz",), f"sha256:{file_sha256(archive)}"
        yield address, archive, replace(REMOTE, urls=urls, digest=digest)
        server.shutdown()


def inside(folder):
    """What files a folder holds."""
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def test_download_verify_unpack_and_never_again(served, tmp_path):
    _, archive, remote = served
    data, sha256 = tmp_path / "data", remote.hash[1]
    raw = archives.find(data, remote)
    assert (raw.path / "things/b/c.txt").read_text() == "c"
    assert raw.origin == {"archive": "things.tar.gz", "sha256": sha256, "published": True}
    unpacked = [f"raw/things-{sha256[:8]}/{f}" for f in ("things/a.txt", "things/b/c.txt", "unpacked.json")]
    assert inside(data) == [*unpacked, "raw/things.tar.gz"]
    archive.unlink()  # on the server
    assert archives.find(data, remote) == raw
    (data / "raw/things.tar.gz").unlink()
    assert archives.find(data, remote) == raw


@pytest.mark.parametrize(
    "path, digest, words",
    [
        ("cut/things.tar.gz", "", "put the file at .*raw/things.tar.gz.*not downloaded from here: .*"),
        ("things.tar.gz", "sha256:" + "0" * 64, "has sha256 {sha256}, published is 0{{64}}"),
        ("gone", "", "Download {address}/gone .file things.tar.gz, sha256 {sha256}.*: 404"),
    ],
)
def test_a_download_that_goes_wrong_is_named_and_leaves_nothing(served, tmp_path, monkeypatch, path, digest, words):
    address, _, remote = served
    wrong = replace(remote, urls=(f"{address}/{path}",), digest=digest or remote.digest)
    with pytest.raises(FileNotFoundError, match=words.format(address=address, sha256=remote.hash[1])):
        archives.find(tmp_path / "data", wrong)
    assert inside(tmp_path / "data") == []
    assert archives.find(tmp_path / "data", remote).origin["published"]
    monkeypatch.setenv("PLASTICITY_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="PLASTICITY_OFFLINE is set"):
        archives.find(tmp_path / "other", remote)


def test_a_kaggle_cache_is_used_without_network(tmp_path, monkeypatch):
    remote = replace(REMOTE, handle="owner/things/versions/3")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match="Download https://example.org/things .*PLASTICITY_OFFLINE is set"):
        archives.find(tmp_path / "data", remote)
    cached = tmp_path / "cache/datasets/owner/things/versions/3"
    cached.mkdir(parents=True)
    with pytest.raises(FileNotFoundError):  # half a download: kagglehub's mark of completion is not there
        archives.find(tmp_path / "data", remote)
    (cached.parent.parent / "3.complete").touch()
    assert archives.find(tmp_path / "data", remote) == archives.Raw(cached, {"kaggle": "owner/things/versions/3"})


def test_the_order_of_places(tmp_path):
    raw, given = tmp_path / "raw", tmp_path / "given"
    given.mkdir(), raw.mkdir()
    tar(raw / "things.tar.gz")
    for source in (None, raw):  # a folder that holds the archive is as good as the archive
        assert archives.find(tmp_path, REMOTE, source).origin["archive"] == "things.tar.gz"
    (raw / "things").mkdir()
    assert archives.find(tmp_path, REMOTE).path == raw / "things"
    assert archives.find(tmp_path, REMOTE, source=given).path == given
    with pytest.raises(FileNotFoundError, match="source .*nowhere does not exist"):
        archives.find(tmp_path, REMOTE, source=tmp_path / "nowhere")


def test_an_archive_by_the_published_name_needs_the_published_hash(tmp_path):
    remote = replace(REMOTE, digest="sha256:" + "0" * 64, urls=("https://example.org/things.tar.gz",))
    archive = tar(tmp_path / "things.tar.gz")
    with pytest.raises(ValueError, match=f"has sha256 {file_sha256(archive)}, published is {'0' * 64}"):
        archives.find(tmp_path / "data", remote, source=archive)
    assert not archives.find(tmp_path / "data", remote, source=archive, complete=False).origin["published"]
    assert not archives.find(tmp_path / "data", remote, source=archive.rename(tmp_path / "mine.tgz")).origin[
        "published"
    ]


def link(name, to, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def zip_of(path, members):
    """A zip of {name: bytes or ZipInfo}."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            special = isinstance(content, zipfile.ZipInfo)
            file.writestr(content if special else name, "/etc/passwd" if special else content)
    return path


def zipped_link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def of_size(name, size):
    info = tarfile.TarInfo(name)
    info.size = size
    return info


CLIMBING = ["../out.txt", "things/../../out.txt", "/tmp/out.txt", "..\\out.txt", "C:\\out.txt"]
LINKS = [link("l", "/etc/passwd"), link("l", "good.txt", tarfile.LNKTYPE), link("l", "", tarfile.FIFOTYPE)]
OUTSIDE, BOMB = "its member {name!r} would land outside, or is a link", "it declares more than the 1,000,000 bytes"


@pytest.mark.parametrize(
    "make, name, content, words",
    [(make, name, b"evil", OUTSIDE) for make in (tar, zip_of) for name in CLIMBING]
    + [(tar, "l", member, OUTSIDE) for member in LINKS]
    + [(zip_of, "l", zipped_link("l"), OUTSIDE), (zip_of, "zeros", bytes(2 * 10**6), BOMB)]
    + [(tar, "huge", of_size("huge", 10**13), BOMB)],
)
def test_unsafe_members_are_refused_before_anything_is_written(tmp_path, make, name, content, words):
    archive = make(tmp_path / "evil", {"good.txt": b"good", name: content})
    with pytest.raises(ValueError, match=f"evil is not unpacked: {re.escape(words.format(name=name))}"):
        archives.unpack(archive, tmp_path / "raw" / "x", 10**6, {})
    assert inside(tmp_path) == ["evil"]


def test_no_room_names_needed_and_free(tmp_path):
    with pytest.raises(OSError, match="copying needs 1,000,000,000,000,000,000 bytes in .*, [0-9,]+ are free"):
        require_space(tmp_path, 10**18, "copying")


def test_a_disk_that_fills_up_leaves_nothing(tmp_path):
    archive = tar(tmp_path / "a.tar.gz", {"small": b"s", "large": os.urandom(10**5)})
    with largest_file(50_000), pytest.raises(OSError):
        archives.unpack(archive, tmp_path / "x", 10**6, {})
    assert [f.name for f in tmp_path.iterdir()] == ["a.tar.gz"]


@pytest.mark.parametrize("kind", ["tar.gz", "tar", "zip", "flipped zip", "text", "empty"])
def test_damaged_archives_leave_nothing(tmp_path, kind):
    archive, noise = tmp_path / "archive", os.urandom(50_000)
    if "zip" in kind:
        zip_of(archive, {"noise": noise})
    else:
        tar(archive, {"noise": noise}, "w" if kind == "tar" else "w:gz")
    content = bytearray(archive.read_bytes())
    content[20_000] ^= 0xFF
    archive.write_bytes({"flipped zip": content, "text": b"<html>", "empty": b""}.get(kind, content[:30_000]))
    with pytest.raises(ValueError, match="archive cannot be unpacked.*get it again"):
        archives.unpack(archive, tmp_path / "x", 10**6, {})
    assert inside(tmp_path) == ["archive"]


def test_a_half_unpacked_folder_is_not_taken_for_complete(tmp_path):
    """A killed process leaves its partial folder under another name; it is never looked at."""
    archive = tar(tmp_path / "things.tar.gz")
    (tmp_path / "raw" / f".things-{file_sha256(archive)[:8]}-99999999.partial" / "things").mkdir(parents=True)
    raw = archives.find(tmp_path, REMOTE, source=archive)
    assert inside(raw.path) == ["things/a.txt", "things/b/c.txt", "unpacked.json"]
    assert json.loads((raw.path / archives.NOTE).read_text()) == raw.origin


# --- weights ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def weights(served, tmp_path, monkeypatch):
    """A SimpleNet's weights as the server has them, and its entry in ARCHITECTURES, with 8 digits of their hash."""
    file = tmp_path / "served" / "net.pth"
    torch.save(models.build("simplenet_half", 1000, seed=5).state_dict(), file)
    there = {"url": f"{served[0]}/net.pth", "weights_file": "net.pth", "sha256": file_sha256(file)[:8]}
    known = replace(models.ARCHITECTURES["simplenet_half"], **there)
    monkeypatch.setitem(models.ARCHITECTURES, "simplenet_half", known)
    return file, known


def test_weights_are_downloaded_once_and_verified(weights, tmp_path):
    file, _ = weights
    path = fetch_weights("simplenet_half", "imagenet", tmp_path / "data")
    assert path == tmp_path / "data" / "weights" / "net.pth" and path.read_bytes() == file.read_bytes()
    file.unlink()
    assert fetch_weights("simplenet_half", "imagenet", tmp_path / "data") == path
    assert inside(tmp_path / "data") == ["weights/net.pth"]


def test_weights_cut_short_or_of_another_hash_are_not_kept(weights, served, tmp_path, monkeypatch):
    _, known = weights
    for wrong in (replace(known, url=f"{served[0]}/cut/net.pth"), replace(known, sha256="0" * 8)):
        monkeypatch.setitem(models.ARCHITECTURES, "simplenet_half", wrong)
        with pytest.raises(
            FileNotFoundError, match=f"put the file net.pth there .sha256 {wrong.sha256}..., from {wrong.url}"
        ):
            fetch_weights("simplenet_half", "imagenet", tmp_path / "data")
        assert inside(tmp_path / "data") == []


def test_weights_offline_say_file_hash_and_place(tmp_path, monkeypatch):
    monkeypatch.setenv("PLASTICITY_OFFLINE", "1")
    expected = "weights .*/weights/resnet50-11ad3fa6.pth are missing.*11ad3fa62ca79e.*PLASTICITY_OFFLINE"
    with pytest.raises(FileNotFoundError, match=expected):
        fetch_weights("resnet50", "imagenet", tmp_path)


def test_random_weights_are_made_once_in_the_same_format(tmp_path):
    path = fetch_weights("simplenet_half", "random", tmp_path)
    before = path.read_bytes()
    assert read_weights(path)["classifier.weight"].shape == (1000, 128)
    assert fetch_weights("simplenet_half", "random", tmp_path) == path and path.read_bytes() == before
