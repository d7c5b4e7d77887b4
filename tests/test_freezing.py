from __future__ import annotations

import timm
from torch import nn

from benchmark.freezing import set_modes
from benchmark.heads import classifier


def network() -> nn.Module:
    module: nn.Module = timm.create_model("test_resnet", num_classes=2, drop_rate=0.1)
    return module


def is_batch_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def test_a_frozen_backbone_is_in_eval_mode_as_a_whole_and_its_head_is_not() -> None:
    model = network()
    set_modes(model, "head", "eval")
    head = set(classifier(model).modules())
    assert all(module.training for module in head)
    assert not any(module.training for module in model.modules() if module not in head and module is not model)


def test_frozen_statistics_under_training_put_batch_norms_alone_into_eval_mode() -> None:
    model = network()
    set_modes(model, "all", "eval")
    assert any(is_batch_norm(module) for module in model.modules())
    assert all(module.training is not is_batch_norm(module) for module in model.modules())


def test_train_mode_is_restored_after_an_evaluation() -> None:
    model = network().eval()
    set_modes(model, "all", "train")
    assert all(module.training for module in model.modules())
