"""Fine-tune a timm network on a folder of images in a plain PyTorch loop, its smallest weights re-initialised first.

python examples/plain_loop.py --images photos --model resnet18 --epochs 10 --case 10M     # photos/<class>/*.jpg
"""

import argparse

import timm
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, random_split
from torchvision.datasets import ImageFolder

from plasticity import reinitialize


def accuracy(model, loader, device):
    model.eval()
    with torch.inference_mode():
        right = [model(images.to(device)).argmax(1).cpu() == labels for images, labels in loader]
    return torch.cat(right).float().mean().item()


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True, help="a folder with one subfolder of images per class")
    parser.add_argument("--model", default="resnet18", help="any name of timm.list_models(pretrained=True)")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--case", default="10M", help="percentage and method, or base")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    try:
        data = ImageFolder(options.images)
    except OSError as error:  # no folder, or one without images
        parser.error(f"--images: {error}")
    if len(data) < 5 or len(data.classes) < 2:
        parser.error(f"--images: {len(data)} images in {len(data.classes)} classes; it takes 5 in 2 folders, or more")
    model = timm.create_model(options.model, pretrained=True, num_classes=len(data.classes))
    # Here: the pretrained weights are in place, and no optimiser has seen them yet.
    report = reinitialize(model, options.case, generator=torch.Generator().manual_seed(0))
    print(f"{report.case}: {report.reset:,} entries reset")
    model.to(device)

    data.transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    train, test = random_split(data, [0.8, 0.2], torch.Generator().manual_seed(0))
    batch = min(16, len(train))  # or a small folder would have no batch at all
    train, test = DataLoader(train, batch, shuffle=True, drop_last=True), DataLoader(test, 64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for epoch in range(options.epochs):
        model.train()
        for images, labels in train:
            loss = F.cross_entropy(model(images.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, test accuracy {accuracy(model, test, device):.3f}")


if __name__ == "__main__":
    main()
