"""`timm/NAME[.TAG]` and `torchvision/NAME`, looked up behind one interface."""

from __future__ import annotations

from benchmark.errors import UserError, did_you_mean
from benchmark.networks.libraries.interface import Architecture
from benchmark.networks.libraries.timm_models import TimmModel
from benchmark.networks.libraries.torchvision_models import TorchvisionModel

_LIBRARIES: dict[str, type[Architecture]] = {"timm": TimmModel, "torchvision": TorchvisionModel}


def find_architecture(model: str) -> Architecture:
    """Return the architecture of ``timm/NAME[.TAG]`` or ``torchvision/NAME``.

    Raises:
        UserError: there is no such library, model or tag, or the model has no mean and std to normalise with.
    """
    library, slash, name = model.partition("/")
    if library not in _LIBRARIES or not slash:
        raise UserError(
            f"{model!r} is not a model: write timm/NAME or torchvision/NAME.{did_you_mean(library, _LIBRARIES)}"
        )
    return _LIBRARIES[library](name)
