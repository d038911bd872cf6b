"""Re-initialise a Hugging Face model's smallest weights before Trainer fine-tunes it: one callback.

python examples/hf_trainer.py --images photos --model microsoft/resnet-18 --epochs 10  # photos/<class>/*.jpg
"""

import argparse

import torch
from torch.utils.data import random_split
from torchvision.datasets import ImageFolder
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from plasticity import reinitialize


class Reinitialize(TrainerCallback):
    """Acts once for each model, as its first epoch begins: after every callback's on_train_begin.

    Not on resuming: a checkpoint's weights were reset, or not, when their own training began. Each process draws the
    same (the arguments' seed); DeepSpeed and FSDP, which train other tensors than the model's, are refused.
    """

    def __init__(self, case="10M", **options):
        self.case, self.options, self.report, self.model = case, options, None, None

    def on_epoch_begin(self, args, state, control, model=None, **kwargs):
        if model is self.model:
            return
        if state.global_step:  # a checkpoint's step is above 0
            print(f"resumed at step {state.global_step}: nothing is reset; load its weights and train for that")
        elif args.deepspeed or args.fsdp:
            raise ValueError("DeepSpeed and FSDP train other tensors than the model's: reinitialize before the Trainer")
        else:
            generator = torch.Generator().manual_seed(args.seed)
            self.report = reinitialize(model, self.case, generator=generator, **self.options)
        self.model = model


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True, help="a folder with one subfolder of images per class")
    parser.add_argument("--model", default="microsoft/resnet-18", help="a name on the hub, timm/<name>, or a folder")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--case", default="10M", help="percentage and method, or base")
    parser.add_argument("--output", default="hf_output", help="folder for checkpoints")
    options = parser.parse_args(arguments)
    set_seed(0)
    try:
        data = ImageFolder(options.images)
    except OSError as error:  # no folder, or one without images
        parser.error(f"--images: {error}")
    if len(data) < 5 or len(data.classes) < 2:
        parser.error(f"--images: {len(data)} images in {len(data.classes)} classes; it takes 5 in 2 folders, or more")
    processor = AutoImageProcessor.from_pretrained(options.model)
    head = {"num_labels": len(data.classes), "ignore_mismatched_sizes": True}
    model = AutoModelForImageClassification.from_pretrained(options.model, **head)

    def collate(items):
        images, labels = zip(*items, strict=True)
        return dict(processor(list(images), return_tensors="pt")) | {"labels": torch.tensor(labels)}

    def accuracy(found):
        return {"accuracy": (found.predictions.argmax(1) == found.label_ids).mean()}

    sgd = {"optim": "sgd", "optim_args": "momentum=0.9", "learning_rate": 0.01, "lr_scheduler_type": "constant"}
    loop = {"num_train_epochs": options.epochs, "per_device_train_batch_size": 16, "save_strategy": "epoch"}
    settings = TrainingArguments(options.output, remove_unused_columns=False, report_to="none", **sgd, **loop)
    train, test = random_split(data, [0.8, 0.2], torch.Generator().manual_seed(0))
    ours = {"callbacks": [Reinitialize(options.case)], "compute_metrics": accuracy}
    trainer = Trainer(model, settings, collate, train, test, **ours)
    trainer.train()
    print(f"test accuracy {trainer.evaluate()['eval_accuracy']:.3f}")


if __name__ == "__main__":
    main()
