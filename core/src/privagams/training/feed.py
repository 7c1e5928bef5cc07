"""How records become a phase's batches: in memory or from disk, by record or by patient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from privagams.records import Records
from privagams.roles import Batch

IN_MEMORY_BYTES = 2 * 10**9
"""Pixels up to this size are loaded once; more is read as it is needed."""


class Feed:
    """Records as batches: "pixels" float32 "n c h w" in [-1, 1] and, with classes, "labels" int64 "n".

    A record whose label is none of `classes` is left out; whether it is depends on that record alone.
    """

    def __init__(self, records: Records, classes: Sequence[str], device: str = "cpu") -> None:
        labels = records.label_index(classes) if classes else np.zeros(len(records), dtype=np.int64)
        self._records = records.take(labels >= 0)
        self._labels = torch.from_numpy(labels[labels >= 0]) if classes else None
        self._device = device
        small = len(self._records) * int(np.prod(records.shape)) <= IN_MEMORY_BYTES
        self._pixels = self._records.read() if small else None

    def __len__(self) -> int:
        return len(self._records)

    def by_patient(self) -> list[np.ndarray]:
        """Positions of each patient's records."""
        _, owner = np.unique(self._records.patient.astype(str), return_inverse=True)
        order = np.argsort(owner, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(owner[order])) + 1) if len(order) else []

    def batch(self, positions: np.ndarray) -> Batch:
        """Load the records at `positions`; one may stand there several times."""
        batch = {"pixels": self._scaled(self._read(positions))}
        if self._labels is not None:
            batch["labels"] = self._labels[torch.from_numpy(positions)].to(self._device)
        return batch

    def _read(self, positions: np.ndarray) -> np.ndarray:
        if self._pixels is not None:
            return np.asarray(self._pixels[positions])
        distinct, back = np.unique(positions, return_inverse=True)
        pixels: np.ndarray = self._records.read(distinct)[back]
        return pixels

    def _scaled(self, pixels: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)
        return tensor.to(torch.float32, memory_format=torch.contiguous_format).div_(127.5).sub_(1.0)


class GivenFeed:
    """Images that a model made itself, as batches: for phases that see no data set."""

    def __init__(self, images: Batch, device: str = "cpu") -> None:
        self._images = {name: tensor.to(device) for name, tensor in images.items()}

    def __len__(self) -> int:
        return len(self._images["pixels"])

    def batch(self, positions: np.ndarray) -> Batch:
        """Take the images at `positions`; one may stand there several times."""
        chosen = torch.from_numpy(positions).to(self._images["pixels"].device)
        return {name: tensor[chosen] for name, tensor in self._images.items()}
