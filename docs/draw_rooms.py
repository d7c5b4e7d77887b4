"""Draw the rooms of the package and the imports between them.

``python docs/draw_rooms.py`` writes ``docs/rooms.svg``; with ``--check`` it exits 1 if the committed picture differs.
Rooms and their order come from the import-linter contract in ``pyproject.toml``, arrows from the import statements,
sentences from the rooms' docstrings. Needs the ``dev`` extra.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path

import grimp

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "rooms.svg"
GROUND = "ground"

WIDTH, LEFT, BOX, HEIGHT, GAP, TOP = 900, 20, 500, 46, 16, 46
COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa7700", "#66aacc", "#aa3377", "#777777", "#994455", "#004488", "#117733")
"""Colours of the arrows, by the room in which they start (after Paul Tol's qualitative schemes)."""


def rooms_in_order() -> list[str]:
    """Return the rooms from the top layer to the ground, which is one room whatever modules it has."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers")
    names = [name.strip() for layer in layers for name in layer.split("|")]
    lowest = max(index for index, name in enumerate(names) if (ROOT / "benchmark" / name).is_dir())
    return [*names[: lowest + 1], GROUND]


def arrows(rooms: Sequence[str]) -> set[tuple[str, str]]:
    """Return the pairs of (importing room, imported room)."""
    graph = grimp.build_graph("benchmark", cache_dir=None)

    def room(module: str) -> str:
        name = module.split(".")[1] if "." in module else GROUND
        return name if name in rooms else GROUND

    pairs = {
        (room(module), room(imported))
        for module in graph.modules - {"benchmark", "benchmark.__main__"}
        for imported in graph.find_modules_directly_imported_by(module)
    }
    return {(importing, imported) for importing, imported in pairs if importing != imported}


def sentence(room: str) -> str:
    """Return the first line of a room's docstring."""
    if room == GROUND:
        return "What any room may use."
    place = ROOT / "benchmark" / room
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").split("\n")[0]


def draw(rooms: Sequence[str], imports: Collection[tuple[str, str]]) -> str:
    """Return the picture as SVG: one box per room, top layer first, and one arc per pair of rooms."""
    bottom = TOP + len(rooms) * (HEIGHT + GAP)
    title = "An arrow points from a room to one that it imports. No room imports one above it."
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom}" font-family="sans-serif">',
        f'<title>Rooms of the package. {title}</title><rect width="{WIDTH}" height="{bottom}" fill="white"/>',
        f'<text x="{LEFT}" y="26" font-size="13">{title}</text>',
    ]
    place = {room: TOP + number * (HEIGHT + GAP) for number, room in enumerate(rooms)}
    right = LEFT + BOX
    for source, target in sorted(imports, key=lambda pair: (place[pair[0]], place[pair[1]])):
        colour = COLOURS[rooms.index(source) % len(COLOURS)]
        start, end = place[source] + HEIGHT * 0.7, place[target] + HEIGHT * 0.3
        bulge = right + 24 + (WIDTH - right - 24) * 1.25 * (end - start) / (bottom - TOP)
        parts.append(
            f'<path d="M{right},{start:.1f} C{bulge:.1f},{start:.1f} {bulge:.1f},{end:.1f} {right + 9},{end:.1f}" '
            f'fill="none" stroke="{colour}" stroke-width="1.5"><title>{source} imports {target}</title></path>'
            f'<path d="M{right},{end:.1f} l10,-4 v8 z" fill="#444"/>'
        )
    for room, top in place.items():
        parts.append(
            f'<rect x="{LEFT}" y="{top}" width="{BOX}" height="{HEIGHT}" rx="5" fill="#f4f4f4" stroke="#444"/>'
            f'<text x="{LEFT + 12}" y="{top + 20}" font-size="15" font-weight="bold">{escape(room)}</text>'
            f'<text x="{LEFT + 12}" y="{top + 38}" font-size="12">{escape(sentence(room))}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def picture() -> str:
    """Return the picture of the package as it is."""
    rooms = rooms_in_order()
    return draw(rooms, arrows(rooms))


if __name__ == "__main__":
    if sys.argv[1:] != ["--check"]:
        PICTURE.write_text(picture(), encoding="utf-8")
    elif PICTURE.read_text(encoding="utf-8") != picture():
        sys.exit(f"{PICTURE}: does not show the imports as they are. Run python {sys.argv[0]}")
