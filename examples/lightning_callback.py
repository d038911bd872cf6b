"""Re-initialise any LightningModule's smallest weights before it is fitted: one callback, here with a timm network.

python examples/lightning_callback.py --images photos --model resnet18 --epochs 10  # photos/<class>/*.jpg
"""

import argparse

import lightning as L
import timm
import torch
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_info
from torch.nn import functional as F
from torch.utils.data import DataLoader, random_split
from torchvision.datasets import ImageFolder

from plasticity import reinitialize

SHARDED = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)


class Reinitialize(L.Callback):
    """Acts once for each module, as its first epoch begins: after setup, configure_model and on_train_start.

    Not on resuming: a checkpoint's weights were reset, or not, when their own training began. Each process draws the
    same (``seed``), so DDP's copies stay equal; strategies that train other tensors than the module's are refused.
    """

    def __init__(self, case="10M", seed=0, **options):
        self.case, self.seed, self.options, self.report, self.module = case, seed, options, None, None

    def on_train_start(self, trainer, pl_module):
        if trainer.ckpt_path and pl_module is not self.module:
            self.module = pl_module
            rank_zero_info(f"resumed from {trainer.ckpt_path}: nothing is reset; load its weights and fit for that")

    def on_train_epoch_start(self, trainer, pl_module):
        if pl_module is self.module:
            return
        if isinstance(trainer.strategy, SHARDED):
            strategy = type(trainer.strategy).__name__
            raise ValueError(f"{strategy} trains other tensors than the module's weights: reinitialize before the fit")
        generator = torch.Generator().manual_seed(self.seed)
        self.report = reinitialize(pl_module, self.case, generator=generator, **self.options)
        self.module = pl_module


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
    draws = torch.Generator().manual_seed(L.seed_everything(0))
    try:
        data = ImageFolder(options.images)
    except OSError as error:  # no folder, or one without images
        parser.error(f"--images: {error}")
    if len(data) < 5 or len(data.classes) < 2:
        parser.error(f"--images: {len(data)} images in {len(data.classes)} classes; it takes 5 in 2 folders, or more")
    module = Classifier(options.model, len(data.classes))
    data.transform = timm.data.create_transform(**timm.data.resolve_model_data_config(module.model))
    train, test = random_split(data, [0.8, 0.2], draws)
    quiet = {"logger": False, "log_every_n_steps": 1}
    trainer = L.Trainer(max_epochs=options.epochs, callbacks=[Reinitialize(options.case)], **quiet)
    batch = min(16, len(train))  # or a small folder would have no batch at all
    trainer.fit(module, DataLoader(train, batch, shuffle=True, drop_last=True), DataLoader(test, 64))
    print(f"test accuracy {trainer.callback_metrics['accuracy']:.3f}")


if __name__ == "__main__":
    main()
