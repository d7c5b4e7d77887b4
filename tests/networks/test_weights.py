"""Files of weights: accepted in several forms, or refused without running any of their code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from benchmark.errors import UserError
from benchmark.matrix.input_modes import INPUT_MODES, average
from benchmark.networks import build, weights
from benchmark.networks.heads import head_parameters
from benchmark.networks.initialisation import seeded_build
from benchmark.networks.libraries.find import find_architecture
from tests import factories

MODEL = "timm/test_resnet"


ACCEPTED: dict[str, Any] = {
    "plain.pth": lambda state: state,
    "nested.pt": lambda state: {"state_dict": state, "epoch": 3},
    "model.bin": lambda state: {"model": state},
    "tutorial.pt": lambda state: {"model_state_dict": {f"module.{n}": t for n, t in state.items()}, "loss": 0.1},
    "parallel.pth": lambda state: {f"module.{n}": t for n, t in state.items()},
    "compiled.pth": lambda state: {f"_orig_mod.{n}": t for n, t in state.items()},
    "compiled-around-parallel.pth": lambda state: {f"_orig_mod.module.{n}": t for n, t in state.items()},
    "parallel-around-compiled.pth": lambda state: {f"module._orig_mod.module.{n}": t for n, t in state.items()},
    "lightning.bin": lambda state: {"state_dict": {f"net.model._orig_mod.{n}": t for n, t in state.items()}},
    "a-compiled-part.pth": lambda state: {n.replace("layer1.", "layer1._orig_mod."): t for n, t in state.items()},
    "averaged.pth": lambda state: {"n_averaged": torch.tensor(3), **{f"module.{n}": t for n, t in state.items()}},
    "training.pt": lambda state: {
        "checkpoint": {"model": state},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3, 3)}}, "param_groups": [{"lr": 0.1}]},
        "random": {"cpu": torch.get_rng_state()},
        "args": argparse.Namespace(lr=0.1),
    },
    "before-0.4.1.pth": lambda state: {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")},
    "plain.safetensors": lambda state: state,
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_networks_tensors_are_found_however_they_were_saved(name: str, tmp_path: Path) -> None:
    state, path = factories.pretrained(MODEL), tmp_path / name
    content = ACCEPTED[name](state)
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    loaded = weights.load(MODEL, f"file:{path}")
    assert loaded.sha256 == weights.fingerprint(state)
    assert loaded.origin == f"file {name}", "no folder in what a record says"


def test_half_precision_becomes_single_exactly(tmp_path: Path) -> None:
    state = {n: t.half() if t.is_floating_point() else t for n, t in factories.pretrained(MODEL).items()}
    torch.save(state, tmp_path / "half.pth")
    loaded = weights.load(MODEL, f"file:{tmp_path / 'half.pth'}").state
    assert all(loaded[name].dtype != torch.float16 for name in loaded)
    assert all(torch.equal(loaded[name], tensor.to(loaded[name].dtype)) for name, tensor in state.items())


def test_a_head_of_other_classes_or_none_at_all_is_accepted(tmp_path: Path) -> None:
    state = factories.pretrained(MODEL)
    other = {**state, "fc.weight": torch.zeros(7, state["fc.weight"].shape[1]), "fc.bias": torch.zeros(7)}
    for content in (other, {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}):
        torch.save(content, tmp_path / "weights.pth")
        loaded = weights.load(MODEL, f"file:{tmp_path / 'weights.pth'}").state
        assert loaded.keys() == content.keys()


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "ran")


@pytest.mark.parametrize("nested", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(nested: bool, tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "weights.pth"
    trap = Trap(trace)
    torch.save({"state_dict": factories.pretrained(MODEL), "extra": trap} if nested else trap, path)
    with pytest.raises(UserError, match="cannot be read: only tensors are unpickled"):
        weights.load(MODEL, f"file:{path}")
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.read_text() == "ran", "the trap works"


def changed(**tensors: torch.Tensor | None) -> dict[str, torch.Tensor]:
    state = {**factories.pretrained(MODEL), **tensors}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


REFUSED: list[tuple[Any, str]] = [
    (changed(**{"bn1.weight": None}), r"is not a checkpoint of timm/test_resnet: it lacks bn1\.weight"),
    (changed(**{"spare.weight": torch.zeros(1)}), r"has spare\.weight, which the model does not have"),
    (
        changed(**{"conv1.0.weight": torch.zeros(16, 2, 3, 3)}),
        r"for three channels or one: conv1\.0\.weight with",
    ),
    ({"state_dict": {**changed(), "epoch": 3}}, "contains epoch, not tensors"),
    ({}, "contains no named tensors"),
    ([torch.zeros(1)], "contains no named tensors"),
    ({"state_dict": changed(), "state_dict_ema": changed()}, r"several networks: state_dict, state_dict_ema\. Save"),
    (
        {**changed(), **{f"module.{n}": t for n, t in changed().items()}},
        "contains duplicate names, apart from .*module",
    ),
    (changed(**{"conv1.0.weight": torch.zeros(16, 3, 3, 3, dtype=torch.int8)}), r"conv1\.0\.weight of torch\.int8"),
    (
        changed(**{"bn1.weight": torch.full((32,), torch.nan)}),
        r"file weights\.pth: NaN or infinite values in bn1\.weight",
    ),
    (changed(**{"bn1.weight": torch.full((32,), 1e5).half()}), r"NaN or infinite values in bn1\.weight"),
]


@pytest.mark.parametrize(("content", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_a_file_of_something_else_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=message):
        weights.load(MODEL, f"file:{tmp_path / 'weights.pth'}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("weights.pth", b"not weights", "cannot be read: only tensors"),
        ("weights.pt", b"so that an unpickler pops from an empty stack", "cannot be read: only tensors"),
        ("weights.bin", b"", "cannot be read: only tensors"),
        ("weights.safetensors", b"not weights", "is not a safetensors file"),
        ("weights.h5", b"not weights", r"the file name must end in \.safetensors"),
    ],
)
def test_bytes_that_are_not_weights_are_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        weights.load(MODEL, f"file:{tmp_path / name}")


def test_a_missing_file_and_another_content_than_promised_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a file"):
        weights.load(MODEL, f"file:{tmp_path / 'none.pth'}")
    source = factories.write_pretrained(MODEL, tmp_path)
    with pytest.raises(UserError, match=f"has changed: its SHA-256 is .*, not {'0' * 64}"):
        weights.load(MODEL, f"{source}#sha256={'0' * 64}")


@pytest.mark.parametrize(
    "model",
    [
        MODEL,
        pytest.param("timm/test_efficientnet", marks=pytest.mark.slow),
        pytest.param("torchvision/squeezenet1_0", marks=pytest.mark.slow),
        pytest.param("timm/test_vit", marks=pytest.mark.slow),
    ],
)
def test_weights_of_one_channel_are_taken_as_they_are_by_grey_1ch_and_refused_by_every_other_mode(
    model: str, tmp_path: Path
) -> None:
    known = find_architecture(model)
    grey = seeded_build(lambda: known.create(5, 1), 3).state_dict()
    torch.save(grey, tmp_path / "grey.pth")
    settings: dict[str, Any] = {"classes": 2, "source": f"file:{tmp_path / 'grey.pth'}", "seed": 0, "image_size": 64}
    built = build.build(model, INPUT_MODES["grey-1ch"], **settings)
    own, head = built.network.state_dict(), head_parameters(built.network)
    assert own[f"{built.stem}.weight"].shape[1] == 1
    assert all(torch.equal(tensor, grey[name]) for name, tensor in own.items() if name not in head)
    assert (built.mean, built.std) == ((average(known.mean),), (average(known.std),))
    for mode in INPUT_MODES.keys() - {"grey-1ch"}:
        with pytest.raises(UserError, match=r"instead of \(|adapts a three-channel stem; these weights have one"):
            build.build(model, INPUT_MODES[mode], **settings)
