"""Re-initialise any LightningModule's smallest weights before it is fitted: one callback, here with a timm network.

python examples/lightning_callback.py --images photos --model resnet18 --epochs 10  # photos/<class>/*.jpg
"""

import argparse

import lightning as L
import timm
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, random_split
from torchvision.datasets import ImageFolder

from plasticity import reinitialize


class Reinitialize(L.Callback):
    """Acts once for each module, before the optimiser is built; resuming from a checkpoint replaces what it did."""

    def __init__(self, case="10M", **options):
        self.case, self.options, self.report, self.module = case, options, None, None

    def setup(self, trainer, pl_module, stage):
        if stage == "fit" and pl_module is not self.module:
            self.report, self.module = reinitialize(pl_module, self.case, **self.options), pl_module


class Classifier(L.LightningModule):
    def __init__(self, name, classes):
        super().__init__()
        self.model = timm.create_model(name, pretrained=True, num_classes=classes)

    def training_step(self, batch):
        return F.cross_entropy(self.model(batch[0]), batch[1])

    def validation_step(self, batch):
        right = (self.model(batch[0]).argmax(1) == batch[1]).float()
        self.log("accuracy", right.mean(), prog_bar=True, batch_size=len(right))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True, help="a folder with one subfolder of images per class")
    parser.add_argument("--model", default="resnet18", help="any name of timm.list_models(pretrained=True)")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--case", default="10M", help="percentage and method, or base")
    options = parser.parse_args(arguments)
    data, draws = ImageFolder(options.images), torch.Generator().manual_seed(L.seed_everything(0))
    module = Classifier(options.model, len(data.classes))
    data.transform = timm.data.create_transform(**timm.data.resolve_model_data_config(module.model))
    train, test = random_split(data, [0.8, 0.2], draws)
    quiet = {"logger": False, "log_every_n_steps": 1}
    trainer = L.Trainer(max_epochs=options.epochs, callbacks=[Reinitialize(options.case)], **quiet)
    trainer.fit(module, DataLoader(train, 16, shuffle=True, drop_last=True), DataLoader(test, 64))
    print(f"test accuracy {trainer.callback_metrics['accuracy']:.3f}")


if __name__ == "__main__":
    main()
