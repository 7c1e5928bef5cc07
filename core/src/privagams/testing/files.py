"""Image files for readers: one to open, and damaged ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from privagams.testing.subject import Bench

SECRET = "jane-doe-1931"
"""Stands in the name of every file; it must not come back in any message."""
WIDTH, HEIGHT = 301, 203


def sample_file(bench: Bench) -> Path:
    """Return the file that the reader under test opens, under a name that tells of a patient."""
    if bench.sample is not None:
        return bench.sample
    path = bench.folder / f"{SECRET}.png"
    if not path.exists():
        Image.fromarray(_scene()).save(path)
    return path


def damaged_files(bench: Bench) -> list[Path]:
    """Files that are no image, or only the beginning of one."""
    sample = sample_file(bench)
    whole = sample.read_bytes()
    contents = {
        "empty": b"",
        "zeros": bytes(4096),
        "text": b"this is no image\n" * 40,
        "head": whole[:64],
        "garbled": whole[:64] + bytes(255 - b for b in whole[64:4096]),
    }
    made = []
    for name, content in contents.items():
        path = bench.folder / f"{SECRET}-{name}{sample.suffix}"
        path.write_bytes(content)
        made.append(path)
    return made


def _scene() -> np.ndarray:
    """Smooth, so that it may be compared across resolutions, and nowhere white."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = [np.sin(x / 37 + y / 53 + phase) for phase in (0.0, 2.0, 4.0)]
    scene: np.ndarray = np.rint(120 + 70 * np.stack(waves, axis=-1)).astype(np.uint8)
    return scene
