"""The loop of timm's own training script, written from timm's public functions. A child process of `against_timm`.

As with its best options on a CPU for the same work: channels-last, no augmentation but the horizontal flip, no random
crop, cosine per step without warm-up, validation and a checkpoint after each epoch; ``in_chans=1`` and images read as
``L`` for grey-1ch.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import timm
import torch
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, CheckpointSaver, accuracy
from torch import nn


def main() -> None:
    """Train one model, then print its accuracy on test."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--mode", choices=("rgb", "grey-1ch"), required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    channels, image_mode = (1, "L") if options.mode == "grey-1ch" else (3, "RGB")
    device = torch.device("cpu")
    model = timm.create_model(
        "tf_efficientnet_lite0",
        pretrained=True,
        pretrained_cfg_overlay={"file": str(options.weights)},
        num_classes=3,
        in_chans=channels,
    ).to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.01)

    def loader(split: str, training: bool) -> torch.utils.data.DataLoader[tuple[torch.Tensor, torch.Tensor]]:
        made: torch.utils.data.DataLoader[tuple[torch.Tensor, torch.Tensor]] = create_loader(
            create_dataset("", options.data, split=split, is_training=training, input_img_mode=image_mode),
            input_size=(channels, 96, 96),
            batch_size=32,
            is_training=training,
            scale=(1.0, 1.0),
            ratio=(1.0, 1.0),
            color_jitter=0.0,
            interpolation="bilinear",
            mean=(0.5,) * channels,
            std=(0.5,) * channels,
            crop_pct=1.0,
            num_workers=options.workers,
            device=device,
        )
        return made

    train_loader, validation_loader = loader("train", True), loader("validation", False)
    updates = len(train_loader)
    scheduler, epochs = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=options.epochs,
        warmup_epochs=0,
        step_on_epochs=False,
        updates_per_epoch=updates,
    )
    loss_function = nn.CrossEntropyLoss()
    with tempfile.TemporaryDirectory() as folder:
        saver = CheckpointSaver(model, optimizer, checkpoint_dir=folder, recovery_dir=folder, max_history=10)
        for epoch in range(epochs):
            model.train()
            losses = AverageMeter()
            for step, (images, labels) in enumerate(train_loader):
                images = images.contiguous(memory_format=torch.channels_last)
                loss = loss_function(model(images), labels)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                scheduler.step_update(num_updates=epoch * updates + step + 1, metric=losses.avg)
                if step % 50 == 0 or step == updates - 1:
                    losses.update(loss.item(), len(labels))
            saver.save_checkpoint(epoch, metric=evaluate(model, validation_loader))
            scheduler.step(epoch + 1)
    print(json.dumps({"accuracy": evaluate(model, loader("test", False)) / 100}))


def evaluate(model: nn.Module, batches: torch.utils.data.DataLoader[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Return the accuracy in percent."""
    model.eval()
    losses, right = AverageMeter(), AverageMeter()
    with torch.inference_mode():
        for images, labels in batches:
            logits = model(images.contiguous(memory_format=torch.channels_last))
            losses.update(float(nn.functional.cross_entropy(logits, labels)), len(labels))
            right.update(float(accuracy(logits, labels)[0]), len(labels))
    return float(right.avg)


if __name__ == "__main__":
    main()
