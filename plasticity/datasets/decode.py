"""Image files of any kind into one uint8 array of 224 x 224 RGB pixels, in parallel, exactly as torchvision's Resize.

Threads, not processes: Pillow and hashlib let go of the interpreter lock while they work, so that two threads do nearly
twice as much as one, where each spawned process would first import torch for seconds.
"""

import hashlib
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagehash
import numpy as np
from PIL import ExifTags, Image
from tqdm.auto import tqdm

from .cores import usable_cores

SIZE = 224  # pixels
MAX_PIXELS = 64_000_000  # a larger image is refused before its pixels are decoded
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"))


def rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: 16-bit grey scaled (not clipped) to 8 bits, transparent parts on black, the rest as in Pillow.

    Raises ValueError for pixels that have no known range: floats, and integers beyond 16 bits.
    """
    if image.mode == "F":
        raise ValueError("pixels are floats of unknown range")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("integer pixels beyond 16 bits")
        image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return image.convert("RGB")


def read(path: str | Path, pixels: int = SIZE, resize: bool = True) -> Image.Image:
    """The image in a file as 224 x 224 RGB (or ``pixels``): bilinear, antialiased, aspect ratio and EXIF ignored.

    That is `torchvision.transforms.Resize((224, 224))` on the RGB image, bit for bit: the first step of the paper's
    released recipe. Of an animation, the first frame. Raises ValueError, naming the file, for one that cannot be
    decoded whole, has more than MAX_PIXELS or, without ``resize``, is of another size.
    """
    try:
        if not os.path.getsize(path):
            raise ValueError("it is empty")
        with Image.open(path) as image:
            size = f"{image.width} x {image.height} pixels"
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{size}, more than the {MAX_PIXELS:,} allowed")
            if not resize and image.size != (pixels, pixels):
                raise ValueError(f"{size}, not {pixels} x {pixels}")
            return rgb(image).resize((pixels, pixels), Image.Resampling.BILINEAR)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise nearly anything for damaged files
        raise ValueError(
            f"{path} is no whole image ({error}); restore this file from the archive it came in"
        ) from error


def remarks(path: str | Path) -> list[str]:
    """What `read` does not use as it is stored, mostly from the file's header; of a damaged file, nothing."""
    try:
        with Image.open(path) as image:
            deep = image.mode.startswith("I")
            found = {
                "several frames, of which the first is taken": getattr(image, "n_frames", 1) > 1,
                "a camera's rotation mark, which is ignored": image.getexif().get(ExifTags.Base.Orientation, 1) != 1,
                "16-bit grey, scaled to 8 bits": deep,
                "16-bit grey below 4096, so nearly black in 8 bits": deep and np.asarray(image).max() < 4096,
                "transparency, laid on black": image.has_transparency_data,
                "CMYK, converted without its colour profile": image.mode == "CMYK",
            }
    except Exception:  # Pillow's plugins raise nearly anything for damaged files
        return []
    return [text for text, true in found.items() if true]


def reserve(path: Path, n: int, pixels: int = SIZE) -> np.memmap:
    """A new .npy file at ``path``, mapped as uint8 [n, pixels, pixels, 3], its room on the disk taken.

    Raises OSError if there is no room: writing to a mapped file that the disk has no room for would kill the process.
    """
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (n, pixels, pixels, 3))
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def decode(
    files: Sequence[str | Path], out: np.ndarray, workers: int | None = None, resize: bool = True
) -> tuple[list[bytes], np.ndarray]:
    """Decode ``files`` into ``out`` (uint8 [n, pixels, pixels, 3]) with ``workers`` threads (default: `usable_cores`).

    Returns what `duplicates` compares: the sha256 of each image's pixels, and its perceptual hash
    (imagehash.phash, 64 bits) as uint64 [n]. Raises ValueError naming the first file that is no whole image.
    """

    def one(i: int) -> tuple[bytes, int]:
        image = read(files[i], out.shape[1], resize)
        out[i] = np.asarray(image)
        return hashlib.sha256(out[i]).digest(), int(str(imagehash.phash(image)), 16)

    live = "JPY_SESSION_NAME" in os.environ or sys.stderr.isatty()
    pool = ThreadPoolExecutor(workers or usable_cores())
    try:
        hashes = list(tqdm(pool.map(one, range(len(files))), "decoding", len(files), unit="image", disable=not live))
    finally:
        pool.shutdown(cancel_futures=True)
    return [exact for exact, _ in hashes], np.array([near for _, near in hashes], np.uint64)
