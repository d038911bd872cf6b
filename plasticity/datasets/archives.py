"""The raw files of a data set: found where the user put them or downloaded, verified, and unpacked safely.

Set the environment variable PLASTICITY_OFFLINE=1 to skip every attempt to download.
"""

import gzip
import json
import lzma
import stat
import tarfile
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..files import NotDownloaded, file_sha256, offline, require_space, retrieve

NOTE = "unpacked.json"  # in an unpacked folder: which archive it is from
# What the libraries raise for archives that are broken, encrypted or of an unknown kind; other OSErrors are the disk's.
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError, RuntimeError)


@dataclass(frozen=True)
class Remote:
    """Where the raw files of a data set come from, and what they may take."""

    key: str  # the name of its folder in raw/
    archive: str  # the file name that it is published under
    page: str  # where a person can download it
    url: str | None = None  # where pooch downloads it
    sha256: str | None = None  # of the archive, where published
    handle: str | None = None  # of a Kaggle data set, with a pinned version: only then a cached copy works offline
    archive_bytes: int = 0  # size of the archive, where known
    max_bytes: int = 4 * 10**9  # an archive that declares more than this, unpacked, is refused


@dataclass(frozen=True)
class Raw:
    """Raw files on the disk: a folder, and where it is from, for the manifest."""

    path: Path
    origin: dict


def find(folder: Path, remote: Remote, source: str | Path | None = None, complete: bool = True) -> Raw:
    """The raw files: ``source`` if given, else what is in ``folder/raw``, else Kaggle's cache or a download to there.

    Raises FileNotFoundError that names what to put where if there is nothing; ValueError for an archive under the
    published name that has another hash (unless ``complete`` is False: scaled-down copies have other hashes), that is
    damaged, unsafe or too large; OSError if the disk has no room.
    """
    raw = folder / "raw"
    if source is not None:
        source = Path(source).expanduser()
        if not source.exists():
            raise FileNotFoundError(f"source {source} does not exist")
        return (
            Raw(source, {"folder": str(source.resolve())}) if source.is_dir() else opened(source, raw, remote, complete)
        )
    if (raw / remote.key).is_dir():
        return Raw(raw / remote.key, {"folder": str((raw / remote.key).resolve())})
    if (raw / remote.archive).is_file():
        return opened(raw / remote.archive, raw, remote, complete)
    if remote.sha256 and (unpacked := raw / f"{remote.key}-{remote.sha256[:8]}").is_dir():
        return Raw(unpacked, json.loads((unpacked / NOTE).read_text()))
    try:
        return from_kaggle(remote) if remote.handle else opened(download(remote, raw), raw, remote, complete)
    except NotDownloaded as error:
        raise FileNotFoundError(instructions(remote, raw, str(error))) from None


def instructions(remote: Remote, raw: Path, reason: str) -> str:
    """What a person can do who has no network here."""
    size = f", {remote.archive_bytes / 1e6:.0f} MB" if remote.archive_bytes else ""
    check = f", sha256 {remote.sha256}" if remote.sha256 else ""
    return (
        f"its raw files are not in {raw}. Download {remote.url or remote.page} (file {remote.archive}{size}{check}) and put "
        f"the file at {raw / remote.archive}, or unpack it to {raw / remote.key}, or give source=, a folder or an archive. "
        f"It was not downloaded from here: {reason}"
    )


def from_kaggle(remote: Remote) -> Raw:
    """Kaggle's cache folder of a data set, filled first if need be. Raises NotDownloaded."""
    import kagglehub  # here, because it is only needed once in the life of a data folder
    from kagglehub.cache import Cache
    from kagglehub.handle import parse_dataset_handle

    cached = Cache().load_from_cache(parse_dataset_handle(remote.handle))
    if cached is None and offline():
        raise NotDownloaded("PLASTICITY_OFFLINE is set")
    try:
        path = Path(cached or kagglehub.dataset_download(remote.handle))
    except Exception as error:  # whatever requests, Kaggle's client or its own checks raise
        raise NotDownloaded(f"kagglehub: {type(error).__name__}: {error}") from error
    return Raw(path, {"kaggle": remote.handle})


def download(remote: Remote, raw: Path) -> Path:
    """The published archive in ``raw``, whole and of the published hash, or NotDownloaded. Nothing else is left there."""
    return retrieve(remote.url, raw / remote.archive, remote.sha256, remote.archive_bytes)


def opened(archive: Path, raw: Path, remote: Remote, complete: bool = True) -> Raw:
    """An archive, verified and unpacked to ``raw/<key>-<first 8 digits of its sha256>``, once."""
    sha256 = file_sha256(archive)
    if complete and remote.sha256 and archive.name == remote.archive and sha256 != remote.sha256:
        raise ValueError(
            f"{archive} has sha256 {sha256}, published is {remote.sha256}: broken or another file; "
            f"download it again from {remote.url}"
        )
    target = raw / f"{remote.key}-{sha256[:8]}"
    origin = {"archive": archive.name, "sha256": sha256, "published": sha256 == remote.sha256}
    if not (target / NOTE).is_file():
        unpack(archive, target, remote.max_bytes, origin)
    return Raw(target, origin)


def unpack(archive: Path, target: Path, max_bytes: int, origin: dict) -> None:
    """Unpack a zip or tar (also compressed) to the new folder ``target``: whole or not at all.

    Raises ValueError for an archive that is damaged, declares more than ``max_bytes``, or has a member that would land
    outside or is a link or device (named; found before anything is written); OSError if the disk has no room.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(".partial", f".{target.name}-", target.parent) as scratch:
        partial = Path(scratch) / target.name
        partial.mkdir()
        try:
            with _open(archive) as file:
                needed = _check_members(file, archive, max_bytes)
                require_space(partial, needed, f"unpacking {archive.name}")
                # Python 3.11.2, which Debian 12 has, knows no filters yet; the members are checked already.
                filtered = isinstance(file, tarfile.TarFile) and hasattr(tarfile, "data_filter")
                file.extractall(partial, **({"filter": "data"} if filtered else {}))
        except DAMAGED as error:
            reason = " ".join(str(error).split())  # on one line
            raise ValueError(
                f"{archive} cannot be unpacked ({type(error).__name__}: {reason}); get it again"
            ) from error
        (partial / NOTE).write_text(json.dumps(origin))
        try:
            partial.rename(target)
        except OSError:  # another process was faster; it unpacked the same archive
            if not (target / NOTE).is_file():
                raise


def _open(archive: Path) -> zipfile.ZipFile | tarfile.TarFile:
    with open(archive, "rb") as file:
        start = file.read(4)
    return zipfile.ZipFile(archive) if start.startswith(b"PK") else tarfile.open(archive)


def _check_members(file: zipfile.ZipFile | tarfile.TarFile, archive: Path, max_bytes: int) -> int:
    """The number of bytes the members declare; stops at the first bad one, before its data is read."""
    total = 0
    for member in file.infolist() if isinstance(file, zipfile.ZipFile) else file:
        if isinstance(member, tarfile.TarInfo):
            name, size, plain = member.name, member.size, member.isfile() or member.isdir()
        else:
            kind = stat.S_IFMT(member.external_attr >> 16)
            name, size, plain = member.filename, member.file_size, kind in (0, stat.S_IFREG, stat.S_IFDIR)
        posix, windows = PurePosixPath(name), PureWindowsPath(name)
        if posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts or not plain:
            raise ValueError(
                f"{archive} is not unpacked: its member {name!r} would land outside, or is a link or device"
            )
        total += size
        if total > max_bytes:
            raise ValueError(f"{archive} is not unpacked: it declares more than the {max_bytes:,} bytes allowed")
    return total
