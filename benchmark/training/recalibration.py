"""Recalibration: running statistics of batch norms, estimated again on the images of a run."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmark.errors import UserError
from benchmark.matrix.run_spec import RunSpec
from benchmark.training.batches import EpochBatches, Source


def running_norms(network: nn.Module, spec: RunSpec) -> list[_BatchNorm]:
    """Return the batch norms of a network that have running statistics.

    Raises:
        UserError: there are no such batch norms.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        raise UserError(
            f"{spec.policy}: recalibrate: {spec.model} has no batch norms with running statistics. "
            "Remove recalibrate from the policy, or use another model."
        )
    return norms


def recalibrate(network: nn.Module, images: Source, spec: RunSpec, accelerator: Accelerator) -> None:
    """Replace the running statistics of a network's batch norms by those of the training images, in place.

    They become the averages of the means and unbiased variances of all batches (PyTorch's cumulative average,
    ``momentum=None``) in one pass over the training images without augmentation. Batches have the run's size and are
    shuffled by its seed, since batches of one class would underestimate the variance. All other modules are in eval
    mode, and no weight changes.

    Raises:
        UserError: the network has no batch norms.
    """
    norms = running_norms(network, spec)
    batches = EpochBatches(len(images), spec.batch_size, spec.seed)
    batches.epoch = 0
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.train()
        norm.momentum = None
        norm.reset_running_stats()
    with torch.no_grad(), accelerator.autocast():
        for positions in batches:
            network(images.__getitems__(positions)[0])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
