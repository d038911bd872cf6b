"""Files: written whole or not at all."""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path


class NotDownloaded(Exception):
    """The network, or what came over it, failed; says how."""


def offline() -> bool:
    """Whether PLASTICITY_OFFLINE forbids downloads."""
    return os.environ.get("PLASTICITY_OFFLINE", "").lower() not in ("", "0", "false", "no")


def retrieve(url: str, path: Path, sha256: str, size: int = 0) -> Path:
    """The file at ``url`` as ``path``: whole, its SHA-256 beginning with ``sha256``, or NotDownloaded and nothing is there."""
    if offline():
        raise NotDownloaded("PLASTICITY_OFFLINE is set")
    import pooch
    import requests

    path.parent.mkdir(parents=True, exist_ok=True)
    require_space(path.parent, size, f"downloading {path.name}")
    get = pooch.HTTPDownloader(progressbar=True, timeout=(5, 60))  # seconds to connect, and between two packets
    with tempfile.TemporaryDirectory(".partial", f".{path.name}-", path.parent) as scratch:
        partial = Path(scratch) / path.name
        try:
            get(url, str(partial), None)
        except (requests.RequestException, ValueError) as error:
            raise NotDownloaded(f"{url}: {error}") from error
        if not (found := file_sha256(partial)).startswith(sha256):
            raise NotDownloaded(f"{url}: the file has sha256 {found}, published is {sha256}")
        return partial.rename(path)


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raises OSError, before anything is written, if ``needed`` bytes are more than is free in ``folder``; names both."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{what} needs {needed:,} bytes in {folder}, {free:,} are free (folders .*.partial that a killed process "
            f"left may be deleted)"
        )


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``, in a folder that is made if need be, for a block to write to.

    When the block ends well it is renamed onto ``path``, so that readers see the old content or all of the new; when it raises, it is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def installed(path: str) -> Path:
    """A file inside an installed package, found without importing the package; FileNotFoundError if it is missing."""
    package, inside = path.split("/", 1)
    spec = importlib.util.find_spec(package)
    file = Path(spec.submodule_search_locations[0], inside) if spec else Path(path)
    if not file.is_file():
        pip_name = {"skimage": "scikit-image", "sklearn": "scikit-learn"}.get(package, package.replace("_", "-"))
        raise FileNotFoundError(f"{path} is missing: `pip install --force-reinstall {pip_name}` brings it back")
    return file
