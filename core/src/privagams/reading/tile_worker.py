"""What a reading process does with one patient's files: find tissue, choose tiles, read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from attrs import define, evolve, field, frozen
from PIL import Image

from privagams.errors import SlideError, StageError
from privagams.reading.children import Note
from privagams.reading.tile_choice import Candidate, Grid, ImageFile, TileSettings, best, grid_of, shares
from privagams.reading.tile_reading import (
    CELLS,
    decodes_all,
    read_all,
    read_tiles,
    read_whole,
    tissue_of_pixels,
    tissue_of_slide,
    whole_grid,
)
from privagams.reading.tile_store import PackJob, Scratch, pack
from privagams.reading.tissue import tissue_mask
from privagams.roles import Reader, Slide


class NoTiles(Exception):
    """A sound image that has no tile to give."""


@frozen
class CutJob:
    """One patient's files, and which of them are given up already (index to reason)."""

    number: int
    images: tuple[ImageFile, ...]
    lost: Mapping[int, str] = field(factory=dict)

    def without(self, file: int, reason: str) -> CutJob:
        return evolve(self, lost={**self.lost, file: reason})


@frozen
class CutImage:
    """The tiles of one image, in the order in which they lie in its scratch file."""

    index: int
    scratch: Path
    corners: tuple[tuple[int, int], ...]
    """x and y of each tile, px at full resolution."""
    mpp: float | None


@frozen
class CutResult:
    """What one patient gives; `lost` and `skipped` map an image's index to the reason."""

    given: tuple[CutImage, ...]
    lost: Mapping[int, str]
    skipped: Mapping[int, str]


@define(eq=False)
class _Offer:
    """An image's candidates, best first; `read` of them lie in `scratch`."""

    scratch: Path
    grid: Grid
    tiles: tuple[Candidate, ...]
    read: int = 0


@define(eq=False)
class _Verdicts:
    lost: dict[int, str]
    skipped: dict[int, str] = field(factory=dict)

    @contextmanager
    def on(self, index: int) -> Iterator[None]:
        """Whatever a reader raises over one file costs that file only."""
        try:
            yield
        except StageError:
            raise
        except NoTiles as reason:
            self.skipped[index] = str(reason)
        except MemoryError:
            self.lost[index] = "it needs more memory than a reading process may use"
        except SlideError as error:
            self.lost[index] = str(error)
        except Exception as error:
            self.lost[index] = f"{type(error).__name__}: {error}"


class TileWork:
    """The work of one child; made in the child, since readers need not be picklable."""

    def __init__(
        self,
        open_reader: Callable[[], Reader],
        settings: TileSettings,
        salt: bytes,
        folder: Path,
        scratch: Path,
    ) -> None:
        self._reader = open_reader()
        self._settings = settings
        self._salt = salt
        self._folder = folder
        self._scratch = scratch
        # Libraries are loaded before the first file's time runs.
        import zarr  # noqa: F401

        tissue_mask(np.zeros((CELLS * 4, CELLS * 4, 3), dtype=np.uint8))

    def __call__(self, job: CutJob | PackJob, note: Note) -> CutResult | None:
        if isinstance(job, PackJob):
            pack(self._folder, job)
            return None
        return self._cut(job, note)

    def _cut(self, job: CutJob, note: Note) -> CutResult:
        verdicts = _Verdicts(dict(job.lost))
        offers: dict[int, _Offer] = {}
        for index, image in enumerate(job.images):
            if index in job.lost:
                continue
            note(index)
            with verdicts.on(index):
                scratch = self._scratch / f"{job.number}-{index}"
                offers[index] = self._survey(image, scratch, lambda i=index: note(i))  # type: ignore[misc]
        given = self._read_chosen(job, offers, verdicts, note)
        cuts = tuple(_given(index, offers[index], count) for index, count in given.items() if count)
        return CutResult(cuts, verdicts.lost, verdicts.skipped)

    def _read_chosen(
        self, job: CutJob, offers: dict[int, _Offer], verdicts: _Verdicts, note: Note
    ) -> dict[int, int]:
        """Read what is chosen; when a file fails, choose again without it."""
        while True:
            tiles = {index: offer.tiles for index, offer in offers.items() if index not in verdicts.lost}
            given = shares(tiles, self._settings.per_patient)
            behind = [index for index, count in given.items() if offers[index].read < count]
            if not behind:
                return given
            for index in behind:
                note(index)
                with verdicts.on(index):
                    image, offer = job.images[index], offers[index]
                    self._read(image, offer, given[index], lambda i=index: note(i))  # type: ignore[misc]

    def _open(self, path: Path) -> Slide:
        if not path.is_file():
            raise SlideError("it is not a file" if path.exists() else "there is no such file")
        if path.stat().st_size == 0:
            raise SlideError("the file is empty")
        return self._reader.open(path)

    def _survey(self, image: ImageFile, scratch: Path, beat: Callable[[], None]) -> _Offer:
        """Find which tiles an image offers; where that decodes all of it anyway, keep them."""
        slide = self._open(image.path)
        try:
            mpp = image.mpp if image.mpp is not None else slide.mpp
            if self._settings.whole:
                grid = whole_grid(slide.size, mpp, self._settings)
                return _Offer(scratch, grid, best(self._salt, image, [(0, 0)], 1))
            return self._survey_grid(slide, grid_of(slide.size, mpp, self._settings), image, scratch, beat)
        finally:
            slide.close()

    def _survey_grid(
        self, slide: Slide, grid: Grid, image: ImageFile, scratch: Path, beat: Callable[[], None]
    ) -> _Offer:
        settings = self._settings
        if grid.columns < 1 or grid.rows < 1:
            raise NoTiles(f"an image of {slide.size[0]} × {slide.size[1]} px is smaller than one tile")
        pixels = None
        if settings.tissue == 0:
            share = np.ones((grid.rows, grid.columns))
        elif decodes_all(slide, grid, settings.size):
            pixels = read_all(slide, grid, settings.size, beat)
            share = tissue_of_pixels(pixels, grid, settings.size)
        else:
            share = tissue_of_slide(slide, grid, beat)
        rows, columns = np.nonzero(share >= settings.tissue)
        if len(rows) == 0:
            raise NoTiles("no tile holds enough tissue (for images without colour set tiles.tissue = 0)")
        places = list(zip(columns.tolist(), rows.tolist(), strict=True))
        offer = _Offer(scratch, grid, best(self._salt, image, places, settings.per_patient))
        if pixels is not None:
            self._keep(offer, pixels)
        return offer

    def _keep(self, offer: _Offer, pixels: np.ndarray) -> None:
        size = self._settings.size
        with self._open_scratch(offer) as scratch:
            for position, tile in enumerate(offer.tiles):
                top, left = tile.row * size, tile.column * size
                scratch.put(position, self._record(pixels[top : top + size, left : left + size]))
        offer.read = len(offer.tiles)

    def _read(self, image: ImageFile, offer: _Offer, count: int, beat: Callable[[], None]) -> None:
        """Read the `count` best tiles of an image into its scratch file."""
        slide = self._open(image.path)
        try:
            with self._open_scratch(offer) as scratch:
                if self._settings.whole:
                    scratch.put(0, self._record(read_whole(slide, offer.grid, self._settings)))
                else:
                    size = self._settings.size
                    for position, pixels in read_tiles(slide, offer.grid, offer.tiles[:count], size, beat):
                        scratch.put(position, self._record(pixels))
        finally:
            slide.close()
        offer.read = count

    def _open_scratch(self, offer: _Offer) -> Scratch:
        return Scratch(offer.scratch, self._settings.size**2 * self._settings.channels)

    def _record(self, pixels: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(pixels).convert("L")) if self._settings.grey else pixels


def _given(index: int, offer: _Offer, count: int) -> CutImage:
    corners = tuple(offer.grid.corner(tile.column, tile.row) for tile in offer.tiles[:count])
    return CutImage(index, offer.scratch, corners, offer.grid.mpp)
