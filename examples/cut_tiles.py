"""Cut labelled tiles out of regions, as images of their own for `privagams run`.

    python examples/cut_tiles.py TILES.csv FOLDER

TILES.csv has the columns file (relative to it), patient_id, slide_id, x, y, size (px) and label. Writes
FOLDER/tiles/*.png and FOLDER/tiles.csv, one row for each tile.
"""

import csv
import sys
from pathlib import Path

from PIL import Image


def cut(table: Path, folder: Path) -> int:
    """Cut all tiles; return how many."""
    (folder / "tiles").mkdir(parents=True, exist_ok=True)
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with open(folder / "tiles.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "patient_id", "slide_id", "label"])
        for number, row in enumerate(rows):
            x, y, side = int(row["x"]), int(row["y"]), int(row["size"])
            name = f"tiles/{number:06d}.png"
            with Image.open(table.parent / row["file"]) as region:
                region.convert("RGB").crop((x, y, x + side, y + side)).save(folder / name)
            writer.writerow([name, row["patient_id"], row["slide_id"], row["label"]])
    return len(rows)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(f"{cut(Path(sys.argv[1]), Path(sys.argv[2]))} tiles in {sys.argv[2]}")
