"""Records: tiles or images with their patient, slide, label and position, read lazily from disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from attrs import field, frozen

TEXT_COLUMNS = (
    "patient", "slide", "image", "label", "block", "section", "scanner", "site", "date", "sex", "age",
)  # fmt: skip
"""Columns of text; empty where unknown. `patient`, `slide` and `image` hold keyed pseudonyms."""


class Pixels(Protocol):
    """An array on disk or in memory: uint8 "n h w c"."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, rows: Any) -> Any: ...


@frozen(eq=False)
class Records:
    """A view of some rows of one pixel array, with a table of the same length.

    `rows` says which rows of `pixels` this view shows, so that views share one array and features that were
    computed for the whole array can be looked up by `origin` and `rows`.
    """

    pixels: Pixels
    table: Mapping[str, np.ndarray]
    rows: np.ndarray = field()
    origin: str = ""
    """Key of the artifact that holds `pixels`; empty for records made in memory."""

    @rows.default
    def _all_rows(self) -> np.ndarray:
        return np.arange(self.pixels.shape[0])

    def __attrs_post_init__(self) -> None:
        for name, column in self.table.items():
            if len(column) != len(self.rows):
                raise ValueError(f"column {name!r} has {len(column)} entries for {len(self.rows)} records")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height and width in px, and channels, of one record."""
        height, width, channels = self.pixels.shape[1:]
        return height, width, channels

    @property
    def patient(self) -> np.ndarray:
        """Keyed pseudonym of each record's patient, "n"."""
        return self.table["patient"]

    @property
    def patients(self) -> np.ndarray:
        """The distinct patients, sorted."""
        return np.unique(self.table["patient"])

    def column(self, name: str) -> np.ndarray:
        """Column `name`, or empty text for each record when the table does not have it."""
        if name in self.table:
            return self.table[name]
        return np.full(len(self), "", dtype=object)

    def label_index(self, classes: Sequence[str]) -> np.ndarray:
        """Index of each record's label in `classes`, int64 "n"; -1 where it is none of them."""
        index = {name: position for position, name in enumerate(classes)}
        return np.array([index.get(str(label), -1) for label in self.column("label")], dtype=np.int64)

    def take(self, chosen: np.ndarray) -> Records:
        """View only the chosen records (positions or a boolean mask)."""
        table = {name: column[chosen] for name, column in self.table.items()}
        return Records(self.pixels, table, self.rows[chosen], self.origin)

    def read(self, chosen: np.ndarray | slice | None = None) -> np.ndarray:
        """Load pixels of the chosen positions (all by default), uint8 "n h w c"."""
        rows = self.rows if chosen is None else self.rows[chosen]
        if len(rows) == 0:
            return np.empty((0, *self.shape), dtype=np.uint8)
        if isinstance(self.pixels, np.ndarray):
            return self.pixels[rows]
        return self.pixels.oindex[rows]  # type: ignore[attr-defined]

    def batches(self, size: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield (positions, pixels) in order, `size` records at a time."""
        for start in range(0, len(self), size):
            chosen = slice(start, min(start + size, len(self)))
            yield chosen, self.read(chosen)
