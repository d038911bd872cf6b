"""Files: written whole or not at all, downloaded and verified.

Set the environment variable PLASTICITY_OFFLINE=1 to skip every attempt to download.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


class NotDownloaded(Exception):
    """The network, or what came over it, failed; says how."""


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``, in a folder that is made if need be, for a block to write to.

    When the block ends well it is renamed onto ``path``, so that readers see the old content or all of the new; when
    it raises, it is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def offline() -> bool:
    """Whether PLASTICITY_OFFLINE forbids downloads."""
    return os.environ.get("PLASTICITY_OFFLINE", "").lower() not in ("", "0", "false", "no")


def retrieve(url: str, path: Path, digest: str, size: int = 0) -> Path:
    """Download ``url`` to ``path``: the whole file or none, and then NotDownloaded is raised.

    ``digest``: how its SHA-256 begins, or its MD5 after "md5:". ``size``: about how many bytes, to look for room first.
    """
    if offline():
        raise NotDownloaded("PLASTICITY_OFFLINE is set")
    import pooch
    import requests

    path.parent.mkdir(parents=True, exist_ok=True)
    require_space(path.parent, size, f"downloading {path.name}")
    get = pooch.HTTPDownloader(progressbar=True, timeout=(5, 60))  # seconds to connect, and between two packets
    kind, _, published = digest.rpartition(":")
    with atomic(path) as partial:
        try:
            get(url, str(partial), None)
        except (requests.RequestException, ValueError) as error:
            raise NotDownloaded(f"{url}: {error}") from error
        found = pooch.file_hash(str(partial), kind or "sha256")
        if not found.startswith(published):
            raise NotDownloaded(f"{url}: the file has {kind or 'sha256'} {found}, published is {published}")
    return path


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise OSError if ``needed`` bytes are more than is free in ``folder``; names both."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        left = "what a killed process left there, named .*.partial*, may be deleted"
        raise OSError(f"{what} needs {needed:,} bytes in {folder}, {free:,} are free ({left})")


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def installed(path: str) -> Path:
    """A file inside an installed package, found without importing the package; FileNotFoundError if it is missing."""
    package, inside = path.split("/", 1)
    spec = importlib.util.find_spec(package)
    file = Path(spec.submodule_search_locations[0], inside) if spec else Path(path)
    if not file.is_file():
        pip_name = {"skimage": "scikit-image", "sklearn": "scikit-learn"}.get(package, package.replace("_", "-"))
        raise FileNotFoundError(f"{path} is missing: `pip install --force-reinstall {pip_name}` brings it back")
    return file
