"""The data sets that a run may name: their titles, and which are packed in another way than they once were."""

import re

TITLES = {
    "source": "source task of the miniature world",
    "source_small": "a fifth of the source task",
    "photos": "photographs (mirrors DTD)",
    "elpv": "solar cells (mirrors Brain Tumor)",
    "fruits": "fruits (mirrors Fruit25)",
    "photos_64": "photographs, 64 pixels",
    "elpv_64": "solar cells, 64 pixels",
    "photos_128": "photographs, 128 pixels",
    "elpv_128": "solar cells, 128 pixels",
    "dtd": "DTD",
    "dtd_official": "DTD, official partition 1",
    "dtd_grouped": "DTD, duplicates kept together",
    "brain_tumor": "Brain Tumor",
    "brain_tumor_grouped": "Brain Tumor, duplicates kept together",
    "fruit25": "Fruit25",
    "fruit25_grouped": "Fruit25, duplicates kept together",
    "digits": "digits (mirrors MNIST)",
    "world_10": "world, 10 classes (mirrors CIFAR-10)",
    "world_20": "world, 20 classes (mirrors Tiny ImageNet)",
    "world_20_few": "world, 20 classes of 20 images (mirrors CIFAR-100)",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "tiny_imagenet": "Tiny ImageNet",
}
# A set's packing as its manifest says; 1, which those before it did not say, where it never changed. At 2:
RECIPES = dict.fromkeys("photos photos_64 photos_128".split(), 2)  # patches in cells, for the validation split
RECIPES |= dict.fromkeys("elpv elpv_64 elpv_128".split(), 2)  # twice the images to learn from
RECIPES |= dict.fromkeys("brain_tumor brain_tumor_grouped".split(), 2)  # a fifth of all, by largest remainder
RECIPES |= dict.fromkeys("fruit25 fruit25_grouped".split(), 2)  # tested on Fruits-100's folder val
FOLDER = re.compile(r"folder_[a-z0-9_]+-[0-9a-f]{8}")  # what `own.pack_folder` names a user's images
