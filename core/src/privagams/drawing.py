"""Drawing a release's images from a fitted model, the same way for the release and for each of its shadows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from privagams.records_store import write_records
from privagams.store import digest

if TYPE_CHECKING:
    from privagams.roles import Model, Progress


def draw_images(
    model: Model, settings: Mapping[str, Any], seed: list[Any], folder: Path, progress: Progress
) -> int:
    """Draw `settings["images"]` images in the public shares of the classes and write them; returns how many.

    `seed` must hold nothing that goes back to the images: pixels would depend on members past the noise.
    """
    pixels, labels = draw(model, settings["images"], settings["classes"], seed, progress)
    write_records(folder, pixels, {"label": labels})
    return len(labels)


def draw(
    model: Model, images: int, classes: Mapping[str, float], seed: list[Any], progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """So many images in the public shares of the classes, uint8 "n h w c", and the class of each, by name."""
    import torch

    labels = public_labels(images, list(classes.values()))
    rng = torch.Generator().manual_seed(int(digest(seed), 16) % 2**63)
    names = list(classes) or [""]
    return model.sample(labels, rng, progress), np.array([names[i] for i in labels], dtype=str)


def public_labels(images: int, shares: list[float]) -> np.ndarray:
    """Labels to draw, in the public shares, spread evenly so that any first part has them too."""
    if not shares:
        return np.zeros(images, dtype=np.int64)
    due = np.outer(np.arange(1, images + 1), shares)
    counts, labels = np.zeros(len(shares)), np.empty(images, dtype=np.int64)
    for i in range(images):
        labels[i] = np.argmax(due[i] - counts)
        counts[labels[i]] += 1
    return labels
