"""Batches of a packed data set on a device, and the forward pass over them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .augment import Augmentation


class Batches:
    """Normalised float batches of a `data.Dataset`, whose images stay as uint8 on the device."""

    def __init__(self, data, device: torch.device, channels_last: bool = True):
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.images, self.labels = data.images.to(device), data.labels.to(device)
        self.mean, self.std = (255 * v.view(1, 3, 1, 1).to(device) for v in (data.mean, data.std))

    def __call__(self, index: Tensor, augment: Augmentation | None = None, table=None) -> tuple[Tensor, Tensor]:
        """(images [batch, 3, height, width] float32, labels [batch]) for item numbers [batch], augmented by a table."""
        images = self.images[index.to(self.images.device)]
        images = augment.apply(images, table) if augment else images
        images = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        # by planes, which takes a third of the time it takes pixel by pixel
        images = images.sub_(self.mean).div_(self.std)
        return images.contiguous(memory_format=self.memory_format), self.labels[index.to(self.labels.device)]


def forward(model: nn.Module, images: Tensor, precision: str = "fp32") -> Tensor:
    """Logits [batch, classes] in float32; under "bf16" the network computes in autocast, its weights stay float32."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        return model(images).float()


def sum_of_gradients(
    model: nn.Module,
    batches: Batches,
    items: Tensor,
    batch_size: int,
    precision: str = "fp32",
    labels: Tensor | None = None,
) -> dict[str, Tensor]:
    """The mean loss's gradient summed over the batches of one epoch, by parameter name; no buffer or gradient is
    touched.

    ``labels`` [n] of all items replace the data set's own. Frozen parameters have zeros.
    """
    named, total = {name: p for name, p in model.named_parameters() if p.requires_grad}, None
    labels = batches.labels if labels is None else labels
    model.eval()
    for index in items.to(labels.device).split(batch_size):
        loss = F.cross_entropy(forward(model, batches(index)[0], precision), labels[index])
        batch = torch.autograd.grad(loss, list(named.values()))
        total = batch if total is None else [t + b for t, b in zip(total, batch, strict=True)]
    return {name: torch.zeros_like(p) for name, p in model.named_parameters()} | dict(zip(named, total, strict=True))


@torch.inference_mode()
def evaluate(
    model: nn.Module, batches: Batches, items: Tensor, precision: str = "fp32", batch_size: int = 128
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy (0..1) over item numbers, in evaluation mode."""
    model.eval()
    sums = []  # stay on the device: asking for a number would wait for it
    for index in items.split(batch_size):
        images, labels = batches(index)
        logits = forward(model, images, precision)
        correct = (logits.argmax(1) == labels).sum()
        sums.append(torch.stack([F.cross_entropy(logits, labels, reduction="sum").double(), correct.double()]))
    loss, correct = torch.stack(sums).cumsum(0)[-1].tolist()
    return loss / len(items), correct / len(items)
