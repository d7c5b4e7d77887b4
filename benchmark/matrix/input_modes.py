"""Input modes: how images are presented to a network; `benchmark.training.batches` does the arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from benchmark.errors import did_you_mean

Triple = tuple[float, ...]

Stem = Literal["keep", "sum", "mean", "fold", "red", "luma", "random", "scaled-random"]
"""Adaptation of a pretrained three-channel first convolution W to the mode's channels, done by
`benchmark.networks.stems`. ``keep``: unchanged. ``sum``: W1 = W_r + W_g + W_b. ``mean``: a third of that. ``fold``:
W1 = sum over c of (s / s_c) W_c, and if the means differ the bias gains sum over c of (m - m_c) / s_c times the sum
of W_c over its kernel. ``red``: W1 = W_r. ``luma``: W1 = 0.299 W_r + 0.587 W_g + 0.114 W_b. ``random``: weights and
bias drawn from (seed, tensor name), as in scratch. ``scaled-random``: the same draw, each filter scaled to the norm
of ``sum``'s; the bias is the checkpoint's."""

Derived = Literal["map", "views"]
"""Three channels computed from a resized image's luma by `benchmark.data.decoding.derived`, before crops and
augmentations. ``map``: the colours of a colour map. ``views``: luma, CLAHE, gradient."""

DEFAULT_MAP = "viridis"


@dataclass(frozen=True)
class InputMode:
    """One way to present an image.

    In the formulas v_c is a pixel's colour and g its luma, on the scale 0..1; (m_c, s_c) are the mean and standard
    deviation of the pretrained weights, c = r, g, b; m = (m_r + m_g + m_b) / 3 and s = (s_r + s_g + s_b) / 3; W_c are
    the pretrained first convolution's weights and W1 those of a first convolution of one channel; x is what it takes.

    Attributes:
        name: name in a matrix's ``input_modes``.
        stem: adaptation of a pretrained three-channel first convolution.
        summary: one-line description.
        formula: the network's input, in the symbols above.
        grey: whether the image is reduced to luma (ITU-R 601, PIL's ``L``) before it is resized and stored.
        derived: how three channels are computed from luma, or None if luma is used directly.
        shared: whether one pair (m, s) normalises all channels, instead of the three pairs (m_c, s_c).
        ablation: whether the mode removes one idea from, or adds one to, the three modes for practitioners.
    """

    name: str
    stem: Stem
    summary: str
    formula: str
    grey: bool = True
    derived: Derived | None = None
    shared: bool = True
    ablation: bool = True

    @property
    def channels(self) -> Literal[1, 3]:
        """Channels of the network's first convolution."""
        return 3 if self.stem == "keep" else 1

    def normalisation(self, mean: Triple, std: Triple) -> tuple[Triple, Triple]:
        """Return (mean, std) per network channel, in units of the 0..1 pixel scale.

        These are the pretrained weights' values, or with ``shared`` their averages for every channel:
        m = (m_r + m_g + m_b) / 3 and s = (s_r + s_g + s_b) / 3 (if the three are equal, exactly that number).

        Args:
            mean: three means of the pretrained weights (timm's ``pretrained_cfg``).
            std: their three standard deviations.

        Raises:
            ValueError: there are not three of each.
        """
        if len(mean) != 3 or len(std) != 3:
            raise ValueError(f"normalisation needs three means and three stds, got {mean} and {std}")
        if not self.shared:
            return tuple(mean), tuple(std)
        return (average(mean),) * self.channels, (average(std),) * self.channels


def average(triple: Triple) -> float:
    """Return the average of three numbers; if they are equal, exactly that number."""
    return triple[0] if len(set(triple)) == 1 else sum(triple) / 3


_KNOWN = (
    InputMode(
        "rgb",
        stem="keep",
        summary="the colour image, as the weights saw it",
        formula="x_c = (v_c - m_c) / s_c",
        grey=False,
        shared=False,
        ablation=False,
    ),
    InputMode(
        "grey-3ch",
        stem="keep",
        summary="luma, repeated on three channels; weights as they are",
        formula="x_c = (g - m_c) / s_c",
        shared=False,
        ablation=False,
    ),
    InputMode(
        "grey-1ch",
        stem="sum",
        summary="luma on one channel; the stem's weights summed",
        formula="x = (g - m) / s, W1 = W_r + W_g + W_b",
        ablation=False,
    ),
    InputMode(
        "grey-3ch-shared-norm",
        stem="keep",
        summary="luma, repeated on three channels, normalised by the averages of the three means and stds: starts as "
        "exactly the function that `grey-1ch` starts as, but has three times its stem's weights to train",
        formula="x_c = (g - m) / s",
    ),
    InputMode(
        "grey-1ch-mean",
        stem="mean",
        summary="luma on one channel; the stem's weights averaged, a third of `grey-1ch`'s",
        formula="x = (g - m) / s, W1 = (W_r + W_g + W_b) / 3",
    ),
    InputMode(
        "grey-1ch-random-stem",
        stem="random",
        summary="luma on one channel; a random stem of one channel under pretrained layers",
        formula="x = (g - m) / s, W1 and the stem's bias drawn from (seed, tensor name) as scratch draws them",
    ),
    InputMode(
        "grey-1ch-folded",
        stem="fold",
        summary="luma on one channel; the three means and stds folded into the summed stem's weights and bias: "
        "`grey-3ch`'s function wherever the kernel lies inside the image, not where it reaches over a zero-padded "
        "border",
        formula="x = (g - m) / s, W1 = sum_c (s / s_c) W_c, b1 = b + sum_c (m - m_c) / s_c (sum of W_c)",
    ),
    InputMode(
        "grey-1ch-red",
        stem="red",
        summary="luma on one channel; the stem's weights for red alone, as Ultralytics 8.3.132 to 8.4.174 takes them",
        formula="x = (g - m) / s, W1 = W_r",
    ),
    InputMode(
        "grey-1ch-luma",
        stem="luma",
        summary="luma on one channel; the stem's weights averaged as luma averages colours",
        formula="x = (g - m) / s, W1 = 0.299 W_r + 0.587 W_g + 0.114 W_b",
    ),
    InputMode(
        "grey-1ch-scaled-random",
        stem="scaled-random",
        summary="luma on one channel; a random stem whose filters have the norms of `grey-1ch`'s: its scale "
        "without its features",
        formula="x = (g - m) / s, W1 = R |W_r + W_g + W_b| / |R| filter by filter (Euclidean norms), R drawn from "
        "(seed, tensor name) as scratch draws it, b1 = b",
    ),
    InputMode(
        "colormap",
        stem="keep",
        summary="luma through a colour map, as a colour image",
        formula="x_c = (M_c(g) - m_c) / s_c, M(g) = the colour of the matplotlib map that the key `colormap` names, at "
        "the 8-bit luma of the resized image, rounded to 8 bits",
        shared=False,
        derived="map",
    ),
    InputMode(
        "views",
        stem="keep",
        summary="luma, its contrast equalised in tiles (CLAHE), and its gradient on the three channels",
        formula="x_c = (V_c - m_c) / s_c, V = (g, CLAHE(g), grad(g)) of the resized image, 8 bits each; CLAHE as "
        "OpenCV computes it with clip limit 2 on k x k tiles, k = min(8, side // 12), at least 1; "
        "grad(g) = sqrt(S_x^2 + S_y^2) / 4 of the 3 x 3 Sobel kernels, at most 1, mirrored at the border",
        shared=False,
        derived="views",
    ),
)

INPUT_MODES: Mapping[str, InputMode] = MappingProxyType({mode.name: mode for mode in _KNOWN})


def needs_pretrained_stem(mode: str) -> bool:
    """Whether a mode (a key of `INPUT_MODES`) is an ablation of the adaptation of the pretrained stem.

    It is refused with the policy ``scratch`` or the weights ``none``, where it would be equal to ``grey-1ch``.
    """
    return INPUT_MODES[mode].stem not in ("keep", "sum")


def check_map(name: str) -> str:
    """Return the name of a colour map for the input mode ``colormap``.

    Raises:
        ValueError: Matplotlib has no such map, or the map is grey.
    """
    if name != DEFAULT_MAP:  # importing Matplotlib takes a quarter of a second
        from benchmark.data.decoding.derived import map_names, map_rows

        if name not in map_names():
            raise ValueError(f"Matplotlib has no colour map {name!r}.{did_you_mean(name, map_names())}")
        if all(row == (value, value, value) for value, row in enumerate(map(tuple, map_rows(name).tolist()))):
            raise ValueError(f"the map {name!r} is grey: the input mode would be grey-3ch under another name")
    return name


def group_identical_modes(
    modes: Sequence[str], mean: Triple, std: Triple, *, stem_is_trained: bool
) -> tuple[tuple[str, ...], ...]:
    """Return the groups of modes with identical training: same parameters, same start, same function.

    Their runs are one experiment, not separate evidence.

    - If the three means are equal and the three stds are equal: ``grey-3ch`` and ``grey-3ch-shared-norm`` (the same
      normalisation), and ``grey-1ch`` and ``grey-1ch-folded`` (s / s_c = 1, no shift, so no bias is added). Bit for
      bit.
    - If the policy never trains the stem: ``grey-3ch-shared-norm`` and ``grey-1ch`` too, the same fixed function of
      the image until rounding. If the stem is trained they only *start* the same: sum_c W_c has three
      gradients in one mode and one in the other.

    Not listed, because it depends on the model: under a frozen stem without padding (a patch embedding)
    ``grey-1ch-folded`` is ``grey-3ch``'s function everywhere.

    Args:
        modes: keys of `INPUT_MODES`, e.g. those of a matrix.
        mean: three means of the pretrained weights (not of the mode).
        std: their three standard deviations.
        stem_is_trained: False for policies whose every stage keeps the first convolution frozen (``feature-extract``,
            ``bn-only``, ``freeze-early``).

    Returns:
        Groups of at least two modes, each in the given order.
    """
    uniform = len(set(mean)) == 1 and len(set(std)) == 1
    same: dict[str, str] = {}
    if not stem_is_trained:
        same["grey-3ch-shared-norm"] = "grey-1ch"
    if uniform:
        same["grey-1ch-folded"] = "grey-1ch"
        same["grey-3ch"] = same.get("grey-3ch-shared-norm", "grey-3ch-shared-norm")
    groups: dict[str, list[str]] = {}
    for mode in modes:
        groups.setdefault(same.get(mode, mode), []).append(mode)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
