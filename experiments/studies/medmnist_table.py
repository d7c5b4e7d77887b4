"""The table of MedMNIST's package, of which `benchmark/data/medmnist.json` is a part, compared with that part.

    pip install --no-deps --target DIR medmnist==3.0.2
    python -m experiments.studies.medmnist_table DIR/medmnist/info.py [--write]

The package is not imported: it needs torch, and makes a folder in one's home. Of its table the sets are kept whose
images have one channel and one label each, in two dimensions, with what the catalogue needs of them. ``--write`` writes
the file anew; otherwise the command ends with 1 where it differs.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from pathlib import Path
from typing import Any

from benchmark.data.catalogue import MEDMNIST, SIDES


def read(source: str) -> dict[str, Any]:
    """Return the catalogue's part of the table in the package's ``info.py``."""
    tables = {
        target.id: node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    kept = ["label", "n_samples", "license"]
    kept += [f"{key}{'' if side == 28 else f'_{side}'}" for side in SIDES for key in ("url", "MD5")]
    return {
        name: {key: facts[key] for key in kept}
        for name, facts in ast.literal_eval(tables["INFO"]).items()
        if facts["n_channels"] == 1 and facts["task"] in ("multi-class", "binary-class") and not name.endswith("3d")
    }


def main() -> int:
    """Compare the catalogue's facts with the package's; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("info", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    found = read(given.info.read_text(encoding="utf-8"))
    if given.write:
        MEDMNIST.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    kept = json.loads(MEDMNIST.read_text(encoding="utf-8"))
    different = [name for name in {**found, **kept} if found.get(name) != kept.get(name)]
    sys.stdout.write(f"{len(found)} sets, different: {', '.join(different) or 'none'}\n")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
