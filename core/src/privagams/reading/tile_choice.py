"""Which tiles an image offers and which of them a patient gives."""

from __future__ import annotations

import hmac
import math
from collections.abc import Mapping, Sequence
from heapq import nsmallest
from pathlib import Path
from typing import Literal

from attrs import field, frozen, validators

from privagams.errors import SlideError

COARSER = 0.95
"""A file up to 5 % coarser than asked is taken as it is, and its records say so: 0.2526 µm/px for 0.25."""


def _mpp_is_sound(_: object, __: object, value: object) -> None:
    number = isinstance(value, float | int) and not isinstance(value, bool)
    if value is None or value == "native" or (number and 0 < float(value) < 1e4):  # type: ignore[arg-type]
        return
    raise ValueError(f'mpp: expected µm per px (a number above 0) or "native", found {value!r}')


@frozen
class TileSettings:
    """How images are cut; the `[tiles]` table of pipeline.toml."""

    size: int = field(
        validator=[validators.ge(8), validators.le(4096)],
        metadata={"doc": "height and width of a record, px"},
    )
    mpp: float | Literal["native"] | None = field(
        default=None,
        validator=_mpp_is_sound,
        metadata={"doc": 'resolution of the tiles, µm per px; "native" takes the file\'s own pixels'},
    )
    per_patient: int = field(
        default=64, validator=validators.ge(1), metadata={"doc": "most tiles of one patient, over all slides"}
    )
    whole: bool = field(
        default=False, metadata={"doc": "one record per image, shrunk to `size`, instead of tiles (X-rays)"}
    )
    fit: Literal["pad", "crop", "squash"] = field(
        default="pad",
        validator=validators.in_(["pad", "crop", "squash"]),
        metadata={
            "doc": "how a whole image that is not square is fitted: pad shows all of it (on white, on black "
            "when `grey`), crop keeps the middle, squash stretches"
        },
    )
    tissue: float = field(
        default=0.5,
        validator=[validators.ge(0), validators.le(1)],
        metadata={"doc": "least share of tissue in a tile; 0 keeps all. Not asked of whole images"},
    )
    grey: bool = field(default=False, metadata={"doc": "keep one channel, the luminance (X-rays)"})

    def __attrs_post_init__(self) -> None:
        if self.mpp is None and not self.whole:
            raise ValueError('mpp: missing; state µm per px, or "native" for the file\'s own pixels')

    @property
    def channels(self) -> int:
        return 1 if self.grey else 3


@frozen
class ImageFile:
    """One file of the table; `patient`, `slide` and `image` are keyed pseudonyms."""

    path: Path
    patient: str
    slide: str
    image: str
    mpp: float | None = None
    """µm per px at full resolution as the table states it; counts before what the file states."""
    columns: Mapping[str, str] = field(factory=dict)
    """What else the table gives: label, block, section, scanner, site, date."""


@frozen
class Grid:
    """Tiles of one image, side by side from its top left corner; what is left over at the edges is unused."""

    columns: int
    rows: int
    step: float
    """Side of a tile in px at full resolution."""
    downsample: float
    mpp: float | None
    """Of the tiles, µm per px; None where nobody states it."""

    def corner(self, column: int, row: int) -> tuple[int, int]:
        """Top left corner of a tile in px at full resolution."""
        return round(column * self.step), round(row * self.step)


def grid_of(size: tuple[int, int], mpp: float | None, settings: TileSettings) -> Grid:
    """Lay the grid over an image of `size` px at `mpp` µm/px; raises `SlideError` when that is impossible."""
    if settings.mpp == "native" or settings.mpp is None:
        downsample = 1.0
    elif mpp is None:
        raise SlideError(
            "resolution: neither the file nor the table states it; add a column `mpp` (µm per px at full "
            'resolution) to the table, or set tiles.mpp = "native" to take the pixels as they are'
        )
    else:
        downsample = settings.mpp / mpp
        if downsample < COARSER:
            raise SlideError(
                f"resolution: tiles.mpp = {settings.mpp:g} asks for finer pixels than the file's {mpp:g} µm "
                f"per px; set tiles.mpp to {mpp:g} or more, or leave the file out"
            )
        downsample = max(downsample, 1.0)
    step = settings.size * downsample
    columns, rows = (math.floor(length / step + 1e-6) for length in size)
    return Grid(columns, rows, step, downsample, None if mpp is None else mpp * downsample)


@frozen(order=True)
class Candidate:
    """A tile that an image offers. Sorting candidates sorts them by rank."""

    rank: bytes
    column: int = field(order=False)
    row: int = field(order=False)


def rank(salt: bytes, image: ImageFile, column: int, row: int) -> bytes:
    """Rank of a tile: a keyed hash of what it is, so that it hangs on nothing else in the data set."""
    text = "\x1f".join((image.patient, image.slide, image.image, str(column), str(row)))
    return hmac.digest(salt, text.encode(), "sha256")


def best(
    salt: bytes, image: ImageFile, places: Sequence[tuple[int, int]], count: int
) -> tuple[Candidate, ...]:
    """The `count` candidates of lowest rank among (column, row) `places`, in the order of their rank."""
    return tuple(nsmallest(count, (Candidate(rank(salt, image, *place), *place) for place in places)))


def shares(offers: Mapping[int, Sequence[Candidate]], count: int) -> dict[int, int]:
    """How many of its best candidates each image of one patient gives: `count` at most, all together.

    Guarantee: a patient's ranks are compared with each other only, so another patient's arrival changes
    nothing. `test_another_patients_arrival_moves_nobody` fails without it.
    """
    ranked = nsmallest(count, ((tile.rank, index) for index, tiles in offers.items() for tile in tiles))
    given = dict.fromkeys(offers, 0)
    for _, index in ranked:
        given[index] += 1
    return given
