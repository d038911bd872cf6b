"""The raw files of a data set: found where the user put them or downloaded, verified, and unpacked safely."""

import contextlib
import gzip
import json
import lzma
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import pooch

from ..files import NotDownloaded, offline, require_space, retrieve

NOTE = "unpacked.json"  # in an unpacked folder: which archive it is from
# What the libraries raise for archives that are broken, encrypted or of an unknown kind; other OSErrors are the disk's.
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError, RuntimeError)

PROGRAMS = frozenset(
    ("__macosx", "$recycle.bin", "recycler", "system volume information", "lost+found", "thumbs.db", "ehthumbs.db")
    + ("desktop.ini", "icon\r", "@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", "__pycache__")
    + ("venv", "node_modules")
)


@dataclass(frozen=True)
class Remote:
    """Where an archive of raw files comes from, and what it may take."""

    key: str  # the name of the unpacked folder in raw/
    archive: str  # where in raw/ it belongs, under its published name
    page: str  # where a person can download it
    urls: tuple[str, ...] = ()  # where it is downloaded from, in turn
    digest: str = "sha256:"  # of the archive; nothing after the colon where none is published
    handle: str | None = None  # of a Kaggle data set, with a pinned version: only then a cached copy works offline
    archive_bytes: int = 0  # its size, about, where known
    max_bytes: int = 4 * 10**9  # an archive that declares more than this, unpacked, is refused

    @property
    def hash(self) -> tuple[str, str]:
        """The kind of its digest, and the digest in hex ("" where none is published)."""
        kind, _, published = self.digest.partition(":")
        return kind, published


@dataclass(frozen=True)
class Raw:
    """Raw files on the disk: a folder, and where it is from, for the manifest."""

    path: Path
    origin: dict


def find(folder: Path, remote: Remote, source: str | Path | None = None, complete: bool = True) -> Raw:
    """The raw files: ``source`` if given, else what is in ``folder/raw``, else Kaggle's cache or a download to there.

    ``source`` is a folder of them, their archive under any name, or a folder that holds it under the published one.

    Raises FileNotFoundError that names what to put where if there is nothing; ValueError for an archive under the
    published name that has another hash (unless ``complete`` is False: scaled-down copies have other hashes), that is
    damaged, unsafe or too large; OSError if the disk has no room.
    """
    raw, published = folder / "raw", remote.hash[1][:8]
    if source is None:
        source = next((place for place in (raw / remote.key, raw / remote.archive) if place.exists()), None)
    if source is None and published and (unpacked := raw / f"{remote.key}-{published}").is_dir():
        return Raw(unpacked, json.loads((unpacked / NOTE).read_text("utf-8")))
    if source is None:
        try:
            if remote.handle:
                return from_kaggle(remote)
            source = download(remote, raw)
        except NotDownloaded as error:
            raise FileNotFoundError(instructions([remote], raw, str(error))) from None
    source = Path(source).expanduser()
    if not source.exists():
        raise FileNotFoundError(f"source {source} does not exist")
    packed = source / Path(remote.archive).name if source.is_dir() else source
    return opened(packed, raw, remote, complete) if packed.is_file() else Raw(source, {"folder": str(source.resolve())})


def instructions(remotes: list[Remote], raw: Path, reason: str) -> str:
    """What a person can do who has no network here."""
    files = []
    for remote in remotes:
        facts = [f"file {Path(remote.archive).name}"]
        facts += [f"{remote.archive_bytes / 1e6:.0f} MB"] if remote.archive_bytes else []
        facts += [" ".join(remote.hash)] if remote.hash[1] else []
        files.append(
            f"{(*remote.urls, remote.page)[0]} ({', '.join(facts)}) and put the file at {raw / remote.archive}"
        )
    return (
        f"its raw files are not in {raw}. Download {'; '.join(files)}, or unpack it to {raw / remotes[0].key}, "
        f"or give source=, a folder or an archive. It was not downloaded from here: {reason}"
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
    """The published archive in ``raw``, from the first address that has it. Raises NotDownloaded."""
    problems = []
    for url in remote.urls:
        try:
            return retrieve(url, raw / remote.archive, remote.digest, remote.archive_bytes)
        except NotDownloaded as error:
            problems.append(str(error))
    raise NotDownloaded("; ".join(problems))


def verified(archive: Path, remote: Remote, complete: bool) -> str:
    """The digest of an archive. ValueError, naming both, if it has the published name and not the published digest."""
    kind, published = remote.hash
    found = pooch.file_hash(str(archive), kind)
    if complete and published and archive.name == Path(remote.archive).name and found != published:
        raise ValueError(
            f"{archive} has {kind} {found}, published is {published}: broken or another file; "
            f"download it again from {remote.urls[0]}"
        )
    return found


def opened(archive: Path, raw: Path, remote: Remote, complete: bool = True) -> Raw:
    """An archive, verified and unpacked to ``raw/<key>-<first 8 digits of its digest>``, once."""
    kind, published = remote.hash
    found = verified(archive, remote, complete)
    target = raw / f"{remote.key}-{found[:8]}"
    origin = {"archive": archive.name, kind: found, "published": found == published}
    if not (target / NOTE).is_file():
        unpack(archive, target, remote.max_bytes, origin)
    return Raw(target, origin)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder, to be filled, that becomes ``path`` when the block ends well, unless another was faster."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(".partial", f".{path.name}-", path.parent) as scratch:
        partial = Path(scratch) / path.name  # inside, since temporary folders are closed to other users
        partial.mkdir()
        yield partial
        try:
            partial.rename(path)
        except OSError:
            if not path.is_dir():
                raise


def unpack(archive: Path, target: Path, max_bytes: int, origin: dict) -> None:
    """Unpack a zip or tar (also compressed) to the new folder ``target``: whole or not at all.

    Raises ValueError for an archive that is damaged, declares more than ``max_bytes``, or has a member that would land
    outside or is a link or device (named; found before anything is written); OSError if the disk has no room.
    """
    with atomic_folder(target) as partial:
        try:
            with (zipfile.ZipFile if _is_zip(archive) else tarfile.open)(archive) as file:
                require_space(partial, _checked(file, archive, max_bytes), f"unpacking {archive.name}")
                # Python 3.11.2, which Debian 12 has, knows no filters yet; the members are checked already.
                file.extraction_filter = getattr(tarfile, "data_filter", None)
                file.extractall(partial)
        except DAMAGED as error:
            reason = " ".join(str(error).split())  # on one line
            raise ValueError(
                f"{archive} cannot be unpacked ({type(error).__name__}: {reason}); get it again"
            ) from error
        (partial / NOTE).write_text(json.dumps(origin), "utf-8")


def _is_zip(archive: Path) -> bool:
    """By how it begins: a tar may hold a zip, which would deceive zipfile.is_zipfile."""
    with open(archive, "rb") as file:
        return file.read(2) == b"PK"


def _checked(file: zipfile.ZipFile | tarfile.TarFile, archive: Path, max_bytes: int) -> int:
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


def visible(folder: Path) -> list[Path]:
    """What a folder holds, sorted by name, without hidden files (DTD has one) and what programs add."""
    return sorted(f for f in folder.iterdir() if not left_by_programs(f.name)) if folder.is_dir() else []


def left_by_programs(name: str) -> bool:
    """Whether a file or folder is hidden, or one that zip programs, file managers and storage servers leave behind."""
    return name.startswith(".") or name.casefold() in PROGRAMS


def few(items: Iterable[str]) -> str:
    """The first five, and how many more there are."""
    items = list(items)
    return ", ".join(items[:5]) + (f" and {len(items) - 5} more" if len(items) > 5 else "")
