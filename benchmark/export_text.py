"""The README of an exported folder: its code is complete and is run by the tests."""

from __future__ import annotations

from typing import Any

CREATING = {
    "timm": 'timm.create_model(config["architecture"], num_classes=count, in_chans=config["channels"])',
    "torchvision": 'torchvision.models.get_model(config["architecture"], num_classes=count, **config["arguments"])',
}

LOADING = """\
import json, {library}, torch
from safetensors.torch import load_file

config = json.load(open("config.json", encoding="utf-8"))
count = len(config["classes"])
network = {creating}
for name, shape in config["changed_tensors"].items():
    module, _, tensor = name.rpartition(".")
    setattr(network.get_submodule(module), tensor, torch.nn.Parameter(torch.zeros(shape)))
network.eval().load_state_dict(load_file("model.safetensors"))
"""

PREPARING = """\
import json
import numpy as np
from PIL import Image, ImageOps

config = json.load(open("config.json", encoding="utf-8"))
how = config["preprocessing"]

def prepare(path):
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I"):
        image = Image.fromarray(((np.asarray(image).astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image.convert("RGBA"))
    image = image.convert("L" if image.mode in ("L", "1") else "RGB").convert(how["mode"])
    image = image.resize(how["resize"], Image.Resampling.BILINEAR)
    pixels = np.atleast_3d(np.asarray(image)).astype(np.float32)
    if how["centre_crop"] is not None:
        first = (len(pixels) - how["centre_crop"]) // 2
        pixels = pixels[first : first + how["centre_crop"], first : first + how["centre_crop"]]
    normalised = (pixels / 255 - np.float32(how["mean"])) / np.float32(how["std"])
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None], dtype=np.float32)
"""

WITH_PYTORCH = """\
with torch.inference_mode():
    logits = network(torch.from_numpy(prepare(PATH)))
print(dict(zip(config["classes"], logits.softmax(1)[0].tolist())))
"""

WITH_ONNX = """\
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
(logits,) = session.run(["logits"], {"image": prepare(PATH)})
"""


def loading(config: dict[str, Any]) -> str:
    """Return the ten lines of plain timm or torchvision that build the network."""
    library = config["library"]
    return LOADING.format(library=library, creating=CREATING[library])


def _said(config: dict[str, Any]) -> str:
    how = config["preprocessing"]
    channels, height, width = config["input_size"]
    steps = [
        "the first frame, turned as its EXIF data say; 16-bit grey scaled by 255 / 65535 and rounded; alpha on white",
        f"{how['grey']}" if how["grey"] else "RGB",
        f"both sides resized to {how['resize'][0]} pixels with Pillow's BILINEAR on 8-bit values, which antialiases",
        f"the central {how['centre_crop']} pixels a side" if how["centre_crop"] else "",
        f"divided by 255, minus mean {how['mean']}, divided by std {how['std']}"
        + (", the one grey channel with each of the three" if how["grey"] and channels == 3 else ""),
    ]
    listed = "\n".join(f"{number}. {step}" for number, step in enumerate(filter(None, steps), start=1))
    shape = f"float32, shape (batch, {channels}, {height}, {width})"
    return f"{listed}\n\nThe network takes {shape}, and gives logits, float32, shape (batch, {len(config['classes'])})."


def readme(config: dict[str, Any]) -> str:
    """Return the folder's README, Markdown."""
    accuracy = f"{100 * config['test_accuracy']:.1f} % of its test images were right."
    changed = (
        "`changed_tensors` names what the library's own network has not, or in another shape: "
        f"{', '.join(f'`{name}`' for name in config['changed_tensors'])}.\n\n"
        if config["changed_tensors"]
        else ""
    )
    blocks = [
        f"# {config['library']}/{config['architecture']}, {config['input_mode']}, {config['policy']}",
        f"Run {config['run']}, seed {config['seed']}. {accuracy} `config.json` names the classes, in order.",
        "## Load it",
        f"{changed}```python\n{loading(config)}```",
        "## Prepare an image",
        f"{_said(config)}\n\n```python\n{PREPARING}```",
        "## Classify with PyTorch",
        f"```python\n{WITH_PYTORCH}```",
        "## Classify with ONNX Runtime",
        "`model.onnx` takes `image`, prepared as above, and gives `logits`. Classes and preprocessing stand "
        f"in its metadata.\n\n```python\n{WITH_ONNX}```",
    ]
    return "\n\n".join(blocks) + "\n"
