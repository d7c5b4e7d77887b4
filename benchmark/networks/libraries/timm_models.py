"""timm's classifiers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

import timm
import torch
from torch import nn

from benchmark.errors import UserError, did_you_mean
from benchmark.networks.libraries.interface import Architecture, State


class TimmModel(Architecture):
    """``timm/NAME[.TAG]``, with timm's default weights if there is no tag, and mean and std of ``pretrained_cfg``."""

    def __init__(self, name: str) -> None:
        family, _, tag = name.partition(".")
        if not timm.is_model(family):
            known = timm.list_models()
            raise UserError(f"timm has no model {family!r}.{did_you_mean(family, known)}")
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{family}.*")]
        if tag and tag not in tags:
            raise UserError(f"timm/{family} has no weights tagged {tag!r}.{did_you_mean(tag, tags)}")
        config = timm.get_pretrained_cfg(name)
        if config is None:
            raise UserError(f"timm/{name} has no pretrained configuration, so no mean and std to normalise with.")
        if config.input_size[0] != 3 or len(config.mean) != 3 or len(config.std) != 3:
            raise UserError(f"timm/{name} was pretrained on {config.input_size[0]} channels instead of three.")
        self.name = name
        self.title = f"timm/{name}"
        self.mean, self.std = tuple(config.mean), tuple(config.std)
        self.native_side = config.input_size[-1]
        self.minimum_side = config.min_input_size[-1] if config.min_input_size else 1

    def create(self, classes: int, channels: int) -> nn.Module:
        network: nn.Module = timm.create_model(self.name, num_classes=classes, in_chans=channels)
        cast(Any, network).reset_classifier(classes)
        return network

    def published(self) -> nn.Module:
        return self._published(pretrained=False, seed=0)

    def _published(self, *, pretrained: bool, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: nn.Module = timm.create_model(self.name, pretrained=pretrained)
        return model

    def from_hub(self) -> tuple[State, str]:
        """Load with timm's loader from the Hugging Face hub; ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` are respected."""
        try:
            random_state = self._published(pretrained=False, seed=0).state_dict()
            model = self._published(pretrained=True, seed=0)
        except (OSError, RuntimeError) as error:
            where = os.environ.get("HF_ENDPOINT", "the Hugging Face hub")
            raise UserError(
                f"hub: the weights of {self.title} cannot be loaded from {where} ({type(error).__name__}: "
                f"{str(error).splitlines()[0]}). Check the network, or run once on a machine with access to cache them."
            ) from error
        state = model.state_dict()
        unchanged = _still_random(random_state, state, self._published(pretrained=False, seed=1).state_dict())
        if unchanged:
            raise UserError(
                f"hub: the checkpoint of {self.title} leaves {len(unchanged)} tensors at random values, "
                f"e.g. {unchanged[0]}."
            )
        config = cast(Mapping[str, object], model.pretrained_cfg)
        return state, f"timm hub {config.get('hf_hub_id') or config.get('url')}"


def _still_random(before: State, loaded: State, other_seed: State) -> list[str]:
    """Return the names of random tensors that were not changed by loading."""
    return [
        name
        for name, tensor in before.items()
        if not torch.equal(tensor, other_seed[name]) and torch.equal(tensor, loaded[name])
    ]
