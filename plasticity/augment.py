"""Augmentation of uint8 image batches [batch, height, width, 3], on the device they lie on."""

import torch
from torch import Tensor
from torchvision import transforms


def none(images: Tensor, generator: torch.Generator) -> Tensor:
    """As they are."""
    return images


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored left to right with probability one half."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(2), images)


def released(images: Tensor, generator: torch.Generator) -> Tensor:
    """The recipe of the authors' released code, in its order, each image with its own draws (torchvision, image by image)."""
    recipe = transforms.Compose([
        transforms.ColorJitter(brightness=0.5, contrast=0.3, saturation=0.3, hue=0.3),
        transforms.RandomVerticalFlip(),
        transforms.RandomHorizontalFlip(),
        transforms.RandomRotation(180),
        transforms.RandomResizedCrop(images.shape[1:3], scale=(0.8, 1.0)),
    ])  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return torch.stack([recipe(image) for image in images.permute(0, 3, 1, 2)]).permute(0, 2, 3, 1)


AUGMENTATIONS = {"none": none, "flip": flip, "released": released}
