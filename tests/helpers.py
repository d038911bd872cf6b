"""What several test modules share. Test modules do not import each other."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from plasticity.datasets.world import Arrays

ROOT = Path(__file__).resolve().parents[1]


def tiny_arrays(classes=3, per_class=24, size=32, seed=0):
    """Images whose class is their colour, under noise; every third item is a test item."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    colours = rng.uniform(60, 200, (classes, 3))
    images = colours[labels][:, None, None, :] + rng.normal(0, 40, (len(labels), size, size, 3))
    return Arrays(
        images=images.clip(0, 255).astype(np.uint8),
        labels=labels.astype(np.int64),
        test=np.arange(len(labels)) % 3 == 0,
        class_names=tuple(f"class {i}" for i in range(classes)),
        sources=[f"noise {i}" for i in range(len(labels))],
    )


def fill(folder, leave=0):
    """Fill a disk up to some bytes, with a file to delete."""
    room = os.statvfs(folder)
    filler = folder / "filler"
    filler.write_bytes(bytes(room.f_bavail * room.f_frsize - leave))
    return filler


def run_notebook(name, folder, target=None, profile="quick"):
    """One notebook of a first-look profile, by the command that make uses, in a process of its own."""
    target, workers = target or folder / "notebooks" / f"{name}.ipynb", 2 if name.startswith("00") else 1
    command = [sys.executable, "-m", "plasticity", "execute", f"notebooks/{name}.ipynb", str(target)]
    given = {"profile": profile, "results": folder, "data": folder / "data", "device": "cpu", "workers": workers}
    for parameter in given.items():
        command += ["-p", *map(str, parameter)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]


def boxes_of(figure):
    """(text, its box) of all that is written in a figure."""
    from plasticity.analysis import figures

    with figures.style():
        figure.draw_without_rendering()
    texts = [text for legend in figure.legends for text in legend.get_texts()] + [figure._supxlabel]
    for ax in figure.axes:
        texts += [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = (tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)
            texts += [tick.label1 for tick in ticks if tick.label1.get_visible()]
    return [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]


def assert_legible(figure, smallest=7, name=""):
    """No text of a figure is cut off, covers another, or is smaller than so many points."""
    from matplotlib.text import Text

    boxes, (width, height) = boxes_of(figure), figure.bbox.size
    assert not [t for t, b in boxes if b.x0 < -1 or b.y0 < -1 or b.x1 > width + 1 or b.y1 > height + 1], name
    pairs = itertools.combinations(boxes, 2)
    assert not [(a, b) for (a, one), (b, two) in pairs if one.padded(-1).overlaps(two.padded(-1))], name
    assert min(text.get_size() for text in figure.findobj(Text) if text.get_text()) >= smallest, name
