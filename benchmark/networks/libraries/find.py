"""Lookup of `timm/NAME[.TAG]`, `torchvision/NAME` and `medmnist/NAME`."""

from __future__ import annotations

from benchmark.errors import UserError, did_you_mean
from benchmark.networks.libraries.interface import Architecture
from benchmark.networks.libraries.medmnist_models import MedmnistModel
from benchmark.networks.libraries.timm_models import TimmModel
from benchmark.networks.libraries.torchvision_models import TorchvisionModel

_LIBRARIES: dict[str, type[Architecture]] = {
    "timm": TimmModel,
    "torchvision": TorchvisionModel,
    "medmnist": MedmnistModel,
}


def find_architecture(model: str) -> Architecture:
    """Return the architecture of ``timm/NAME[.TAG]``, ``torchvision/NAME`` or ``medmnist/NAME``.

    Raises:
        UserError: the library, model or tag is unknown, or the model has no mean and std to normalise with.
    """
    library, slash, name = model.partition("/")
    if library not in _LIBRARIES or not slash:
        raise UserError(
            f"{model!r} is not a model: write timm/NAME, torchvision/NAME or medmnist/NAME."
            f"{did_you_mean(library, _LIBRARIES)}"
        )
    return _LIBRARIES[library](name)
