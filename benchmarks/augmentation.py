"""The authors' augmentation of a batch of 32: ``augment.released`` against torchvision image by image, one thread, in
one run.

    python benchmarks/augmentation.py [rounds]

Each starts from uint8 arrays in memory and ends with a batch of one tensor; ours is float32, theirs uint8.
"""

import statistics
import sys
import time

import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional as vision

from plasticity.datasets import world as offline
from plasticity.running import provenance
from plasticity.training import augment

BATCH = 32


def photographs(size):
    """uint8 [BATCH, size, size, 3], alternately of three colour photographs."""
    photos = [
        Image.open(offline.installed(offline.PHOTOS[name])).convert("RGB")
        for name in ("astronaut", "chelsea", "coffee")
    ]
    return torch.from_numpy(np.stack([np.array(photos[i % 3].resize((size, size))) for i in range(BATCH)]))


def contenders(size):
    """name -> function of a batch."""
    recipe = transforms.Compose(
        [
            transforms.ColorJitter(brightness=0.5, contrast=0.3, saturation=0.3, hue=0.3),
            transforms.RandomVerticalFlip(),
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(180),
            transforms.RandomResizedCrop((size, size), scale=(0.8, 1.0)),
        ]
    )
    generator = torch.Generator().manual_seed(0)
    return {
        "ours": lambda images: augment.released(images, generator),
        "Pillow": lambda images: torch.stack(
            [vision.pil_to_tensor(recipe(Image.fromarray(image))) for image in images.numpy()]
        ),
        "uint8 tensors": lambda images: torch.stack([recipe(image) for image in images.permute(0, 3, 1, 2)]),
    }


def timed(function, images, least=0.2):
    """Seconds for one call, over as many as take ``least`` seconds."""
    calls, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < least or not calls:
        function(images)
        calls += 1
    return passed / calls


def main(rounds: int = 5):
    """After one call each to warm up, all in turns; prints images/s from the median, and the ratios of each round."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    print(f"{provenance.machine()}, 1 thread, batch {BATCH}, {versions}, n = {rounds}")
    for size in (32, 64, 224):
        images, functions = photographs(size), contenders(size)
        for function in functions.values():
            function(images)
        seconds = {name: [] for name in functions}
        for _ in range(rounds):
            for name, function in functions.items():
                seconds[name].append(timed(function, images))
        for name, times in seconds.items():
            ratios = [slow / fast for slow, fast in zip(times, seconds["ours"], strict=True)]
            print(
                f"{size:4} px {name:14} {BATCH / statistics.median(times):8.0f} images/s; ours is "
                f"{statistics.median(ratios):5.1f} "
                f"times as fast ({min(ratios):.1f} to {max(ratios):.1f})"
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
