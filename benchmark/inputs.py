"""Input modes: what the network is shown. Data only; the arithmetic on batches is in `benchmark.batches`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Triple = tuple[float, ...]


@dataclass(frozen=True)
class InputMode:
    """One way to present an image.

    Attributes:
        name: the word in a matrix's ``input_modes`` list.
        grey: the image is reduced to luma (ITU-R 601, PIL's ``L``) before it is resized and stored.
        channels: channels of the network's first convolution.
        stem: how a pretrained three-channel first convolution becomes one of ``channels`` channels:
            ``keep`` (unchanged) or ``sum`` (W1 = sum over c of W_c).
        summary: one line for people.
    """

    name: str
    grey: bool
    channels: Literal[1, 3]
    stem: Literal["keep", "sum"]
    summary: str

    def normalisation(self, mean: Triple, std: Triple) -> tuple[Triple, Triple]:
        """Return (mean, std) per network channel, in units of the 0..1 pixel scale.

        ``rgb`` and ``grey-3ch`` take the pretrained weights' triples as they are; ``grey-1ch`` takes the averages
        of the three, m = (m_r + m_g + m_b) / 3 and s = (s_r + s_g + s_b) / 3.

        Args:
            mean: three means of the pretrained weights (timm's ``pretrained_cfg``).
            std: their three standard deviations.

        Raises:
            ValueError: not three of each.
        """
        if len(mean) != 3 or len(std) != 3:
            raise ValueError(f"normalisation needs three means and three stds, got {mean} and {std}")
        if self.channels == 3:
            return tuple(mean), tuple(std)
        return (sum(mean) / 3,), (sum(std) / 3,)


_KNOWN = (
    InputMode("rgb", grey=False, channels=3, stem="keep", summary="the colour image, as the weights saw it"),
    InputMode(
        "grey-3ch",
        grey=True,
        channels=3,
        stem="keep",
        summary="luma, repeated on three channels; weights as they are",
    ),
    InputMode(
        "grey-1ch",
        grey=True,
        channels=1,
        stem="sum",
        summary="luma on one channel; the stem's weights summed",
    ),
)

INPUT_MODES: Mapping[str, InputMode] = MappingProxyType({mode.name: mode for mode in _KNOWN})
