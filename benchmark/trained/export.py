"""Export of a trained run for plain timm or torchvision, and for any ONNX runtime, without this package."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torchvision
from jinja2 import StrictUndefined, Template
from safetensors.torch import save
from torch import nn

from benchmark.data.decoding import derived, pixels
from benchmark.data.decoding.derived import map_rows
from benchmark.errors import UserError
from benchmark.files import write_atomically
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.networks.libraries.find import find_architecture
from benchmark.networks.libraries.torchvision_models import SETTINGS
from benchmark.trained.restore import TrainedRun

TOLERANCE = 1e-4
"""Largest accepted difference of a logit between PyTorch and onnxruntime."""

OPSET = 18
PROBES = 4
NEEDED = ("onnx", "onnxscript", "onnxruntime")
LUMA = "grey = (19595 R + 38470 G + 7471 B + 32768) >> 16 (ITU-R 601; Pillow's convert('L')), before resizing"


def make_config(run: TrainedRun) -> dict[str, Any]:
    """Return everything needed to build the network and to prepare an image, as JSON values."""
    spec, mode = run.record.spec, INPUT_MODES[run.record.spec.input_mode]
    library, _, name = spec.model.partition("/")
    channels = "grey repeated on three channels" if mode.grey and mode.channels == 3 else "as they are"
    if mode.derived == "map":
        channels = f"the colours of Matplotlib's map {spec.colormap} at the grey values, before the crop"
    elif mode.derived == "views":
        channels = "grey, its contrast equalised in tiles, its gradient: derived.py, before the crop"
    return {
        "library": library,
        "architecture": name,
        "arguments": dict(SETTINGS.get(name, {})) if library == "torchvision" else {},
        "classes": list(run.record.dataset.classes),
        "channels": run.record.model.input_channels,
        "input_size": [run.record.model.input_channels, spec.input_size, spec.input_size],
        "changed_tensors": _find_changed(run),
        "preprocessing": {
            **spec.source.reading._asdict(),
            "rotate_by_exif": True,
            "alpha": "composited on white",
            "mode": "L" if mode.grey else "RGB",
            "grey": LUMA if mode.grey else None,
            "resize": [spec.image_size, spec.image_size],
            "interpolation": "bilinear, antialiased (Pillow's BILINEAR on uint8)",
            "centre_crop": spec.crop_size,
            "scale": "1 / 255",
            "channels": channels,
            "colours": map_rows(spec.colormap).tobytes().hex() if mode.derived == "map" else None,
            "views": mode.derived == "views",
            "mean": list(run.record.model.mean),
            "std": list(run.record.model.std),
        },
        "run": run.record.id,
        "input_mode": spec.input_mode,
        "policy": spec.policy,
        "seed": spec.seed,
        "test_accuracy": run.record.test.accuracy,
    }


def render_readme(settings: Mapping[str, Any]) -> str:
    """Return the folder's README in Markdown, with complete code, from the settings of `make_config`."""
    template = Path(__file__).with_name("README.md.j2").read_text(encoding="utf-8")
    readme: str = Template(
        template, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    ).render(settings)
    return readme


def describe(settings: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files of an exported folder except the network: the settings, the code that reads images, the README.

    ``pixels.py``, which reads images, and ``derived.py``, which computes the three views of an image, are copies of
    this package's own modules, so that the exported network gets the same pixels.

    Args:
        settings: the return value of `make_config`.
    """
    return {
        "config.json": (json.dumps(settings, indent=1, ensure_ascii=False) + "\n").encode(),
        "pixels.py": Path(pixels.__file__).read_bytes(),
        **({"derived.py": Path(derived.__file__).read_bytes()} if settings["preprocessing"]["views"] else {}),
        "README.md": render_readme(settings).encode(),
    }


def export(run: TrainedRun, folder: Path) -> float:
    """Write ``model.safetensors``, ``model.onnx`` and the files of `describe`, after a check with onnxruntime.

    Args:
        run: the trained network, on the CPU, in fp32.
        folder: created if missing; must not contain other files.

    Returns:
        The largest difference of a logit between PyTorch and onnxruntime on `PROBES` noise images.

    Raises:
        UserError: the network is only half of the library's, a package is missing, the folder contains other files, the
            network cannot be written as ONNX, or onnxruntime's logits differ from PyTorch's.
    """
    spec = run.record.spec
    if spec.backbone != "complete":
        raise UserError(
            f"export: run {run.record.id} ({spec.policy}) uses half of {spec.model}, which cannot be built without "
            "this project. Use `python -m benchmark predict`, or export a run of another policy."
        )
    missing = [package for package in NEEDED if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"export: {', '.join(missing)} not installed. Run: pip install -e '.[export]'")
    run.network.to(memory_format=torch.contiguous_format)
    settings = make_config(run)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "config.json").is_file():
        raise UserError(f"{folder}: already contains other files. Name another folder with --output.")
    program = _to_onnx(run.network, settings)
    difference = _check(run.network, program, settings)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in run.network.state_dict().items()}
    written = {
        "model.safetensors": save(state),
        "model.onnx": program,
        **describe(settings),
    }
    for name, content in written.items():
        write_atomically(folder / name, content)
    return difference


def _find_changed(run: TrainedRun) -> dict[str, list[int]]:
    """Return the shapes of the tensors that are missing from the library's network or have another shape there.

    These are the stem's bias (`grey-1ch-folded`) and the stem's weights of a torchvision network with one channel.
    """
    library, _, name = run.record.spec.model.partition("/")
    classes, channels = len(run.record.dataset.classes), run.record.model.input_channels
    if library == "timm":
        network = timm.create_model(name, num_classes=classes, in_chans=channels)
    elif library == "torchvision":
        network = torchvision.models.get_model(name, num_classes=classes, **SETTINGS.get(name, {}))
    else:
        network = find_architecture(run.record.spec.model).create(classes, channels)
    plain = network.state_dict()
    state = run.network.state_dict()
    return {
        name: list(tensor.shape)
        for name, tensor in state.items()
        if name not in plain or plain[name].shape != tensor.shape
    }


def _to_onnx(network: nn.Module, settings: dict[str, Any]) -> bytes:
    """Return the network as an ONNX model with the preprocessing in its metadata."""
    import onnx

    example = torch.zeros(2, *settings["input_size"])
    try:
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    except Exception as error:  # the exporter may raise anything
        raise UserError(
            f"export: {settings['library']}/{settings['architecture']} cannot be written as ONNX "
            f"({type(error).__name__}: {str(error).splitlines()[0]})."
        ) from error
    assert program is not None
    model = program.model_proto
    stated = ("classes", "preprocessing", "input_size", "input_mode", "run")
    onnx.helper.set_model_props(model, {key: json.dumps(settings[key]) for key in stated})
    model.doc_string = "image: float32, (batch, channels, height, width), (pixel / 255 - mean) / std; logits: float32"
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _check(network: nn.Module, program: bytes, settings: dict[str, Any]) -> float:
    """Return the largest difference of a logit on normalised noise, for one image and for a batch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(program, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in (1, PROBES):
        images = torch.randn(batch, *settings["input_size"], generator=torch.Generator().manual_seed(batch))
        with torch.inference_mode():
            expected = network(images).numpy()
        (answer,) = session.run(["logits"], {"image": images.numpy()})
        worst = max(worst, float(np.abs(answer - expected).max()))
    if not worst <= TOLERANCE:
        raise UserError(f"export: onnxruntime's logits differ from PyTorch's by {worst:.2g}, more than {TOLERANCE:g}.")
    return worst
