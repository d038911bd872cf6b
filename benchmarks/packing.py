"""Decoding a data set of DTD's size with one worker and with two: images a second, and how much two gain.

    python benchmarks/packing.py [images] [rounds]

Writes JPEGs of 300 x 300 to 640 x 640 pixels to a temporary folder, an ImageFolder of 47 classes, and decodes them as
`data.prepare` does (224 x 224, hashes included, into a mapped file), in turns, workers started each time.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from plasticity.datasets import decode
from plasticity.running import provenance


def write(folder: Path, n: int) -> list[Path]:
    """``n`` JPEGs of smooth noise with grain (about as many bytes as DTD's), in 47 class folders."""
    rng, files = np.random.default_rng(0), []
    for i in range(n):
        width, height = rng.integers(300, 641, 2)
        smooth = Image.fromarray(rng.integers(0, 256, (height // 12, width // 12, 3), np.uint8))
        pixels = np.asarray(smooth.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
        pixels = (pixels + rng.integers(-16, 17, (height, width, 1))).clip(0, 255).astype(np.uint8)
        files.append(folder / f"class_{i % 47:02}" / f"{i:05}.jpg")
        files[-1].parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(files[-1], quality=90)
    return files


def seconds(files: list[Path], folder: Path, workers: int) -> float:
    """Wall time to decode all files into a new mapped file."""
    started = time.perf_counter()
    decode.decode(files, decode.reserve(folder / "images.npy", len(files)), workers)
    return time.perf_counter() - started


def main(n: int = 5640, rounds: int = 3):
    """One untimed pass over the files first, so that all rounds read them from memory."""
    with tempfile.TemporaryDirectory() as folder:
        files = write(Path(folder), n)
        size = sum(len(file.read_bytes()) for file in files) / n
        pairs = [[seconds(files, Path(folder), workers) for workers in (1, 2)] for _ in range(rounds)]
    one, two = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
    ratios = " ".join(f"{a / b:.2f}" for a, b in pairs)
    speeds = f"1 worker {n / one:.0f} images/s, 2 workers {n / two:.0f}; ratio {one / two:.2f} (rounds {ratios})"
    print(f"{n} JPEGs of {size / 1000:.0f} kB: {speeds}; {provenance.machine()}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
