"""How the pixels of tiles come out of an open slide: in blocks, and where possible decoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image

from privagams.errors import SlideError
from privagams.reading.slides import SIDE, Levelled, best_level
from privagams.reading.tile_choice import Candidate, Grid, TileSettings
from privagams.reading.tissue import Coverage, tissue_mask
from privagams.roles import Slide

CELLS = 8
"""Px of the tissue overview along one side of a tile."""
OVERVIEW = 4096
"""Longest side of the overview, px: bounds its memory whatever the slide's size."""
BAND = 64
"""Rows of the overview that are read at once."""
KEEP = 32_000_000
"""Px, at the tiles' resolution, that are kept at most while a slide's tissue is judged."""

Beat = Callable[[], None]
"""Called before every read: the sign that the file is still being worked on."""


def decodes_all(slide: Slide, grid: Grid, size: int) -> bool:
    """Whether judging the tissue decodes what the tiles need anyway, in an amount that can be kept."""
    downsamples = _downsamples(slide)
    same = best_level(downsamples, _overview_downsample(slide, grid)) == best_level(
        downsamples, grid.downsample
    )
    return same and grid.columns * grid.rows * size**2 <= KEEP


def read_all(slide: Slide, grid: Grid, size: int, beat: Beat) -> np.ndarray:
    """Read the whole grid, uint8 "rows·size columns·size 3"."""
    out = np.empty((grid.rows * size, grid.columns * size, 3), dtype=np.uint8)
    side = _block(slide, grid, size)
    for row in range(0, grid.rows, side):
        for column in range(0, grid.columns, side):
            rows, columns = min(side, grid.rows - row), min(side, grid.columns - column)
            beat()
            block = slide.read(*grid.corner(column, row), columns * size, rows * size, grid.downsample)
            out[row * size : (row + rows) * size, column * size : (column + columns) * size] = block
    return out


def tissue_of_pixels(pixels: np.ndarray, grid: Grid, size: int) -> np.ndarray:
    """Share of tissue of each tile, "rows columns", from the pixels of the whole grid."""
    overview = np.empty((grid.rows * CELLS, grid.columns * CELLS, 3), dtype=np.uint8)
    for row in range(grid.rows):
        band = Image.fromarray(pixels[row * size : (row + 1) * size])
        small = band.resize((grid.columns * CELLS, CELLS), Image.Resampling.BOX)
        overview[row * CELLS : (row + 1) * CELLS] = np.asarray(small)
    return Coverage.of(tissue_mask(overview)).shares(grid.columns, grid.rows, CELLS)


def tissue_of_slide(slide: Slide, grid: Grid, beat: Beat) -> np.ndarray:
    """Share of tissue of each tile, "rows columns", from an overview that is read for the purpose."""
    downsample = _overview_downsample(slide, grid)
    width, height = (max(1, int(length / downsample)) for length in slide.size)
    overview = np.empty((height, width, 3), dtype=np.uint8)
    for top in range(0, height, BAND):
        beat()
        rows = min(BAND, height - top)
        overview[top : top + rows] = slide.read(0, round(top * downsample), width, rows, downsample)
    return Coverage.of(tissue_mask(overview)).shares(grid.columns, grid.rows, grid.step / downsample)


def read_tiles(
    slide: Slide, grid: Grid, tiles: Sequence[Candidate], size: int, beat: Beat
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (position in `tiles`, pixels "size size 3"); neighbours are read together and cut apart.

    How they are grouped depends on `tiles` alone.
    """
    side = _block(slide, grid, size)
    blocks: dict[tuple[int, int], list[int]] = {}
    for position, tile in enumerate(tiles):
        blocks.setdefault((tile.row // side, tile.column // side), []).append(position)
    for _, positions in sorted(blocks.items()):
        for group in _dense(tiles, positions):
            yield from _read_block(slide, grid, tiles, group, size, beat)


def _dense(tiles: Sequence[Candidate], positions: list[int]) -> list[list[int]]:
    """One group if its bounding box is at least half full, else each tile by itself."""
    rows, columns = [tiles[i].row for i in positions], [tiles[i].column for i in positions]
    area = (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1)
    return [positions] if 2 * len(positions) >= area else [[position] for position in positions]


def _read_block(
    slide: Slide, grid: Grid, tiles: Sequence[Candidate], group: list[int], size: int, beat: Beat
) -> Iterator[tuple[int, np.ndarray]]:
    first_row, first_column = min(tiles[i].row for i in group), min(tiles[i].column for i in group)
    rows = max(tiles[i].row for i in group) - first_row + 1
    columns = max(tiles[i].column for i in group) - first_column + 1
    beat()
    corner = grid.corner(first_column, first_row)
    block = slide.read(*corner, columns * size, rows * size, grid.downsample)
    for position in group:
        top = (tiles[position].row - first_row) * size
        left = (tiles[position].column - first_column) * size
        yield position, block[top : top + size, left : left + size]


def whole_grid(size: tuple[int, int], mpp: float | None, settings: TileSettings) -> Grid:
    """One tile that is the whole image; raises `SlideError` for an image that would have to be enlarged."""
    longest = max(size) if settings.fit == "pad" else min(size)
    downsample = longest / settings.size
    if downsample < 1:
        raise SlideError(
            f"size: an image of {size[0]} × {size[1]} px would have to be enlarged to {settings.size} px; "
            f"set tiles.size to {longest} or less, or leave the file out"
        )
    return Grid(1, 1, settings.size * downsample, downsample, None if mpp is None else mpp * downsample)


def read_whole(slide: Slide, grid: Grid, settings: TileSettings) -> np.ndarray:
    """Read the whole image, fitted to "size size 3" as `settings.fit` says."""
    size, downsample = settings.size, grid.downsample
    width, height = (max(1, min(round(length / downsample), 16 * size)) for length in slide.size)
    if settings.fit == "crop":
        left, top = (round((length - size * downsample) / 2) for length in slide.size)
        return slide.read(left, top, size, size, downsample)
    image = slide.read(0, 0, width, height, downsample)
    if settings.fit == "squash":
        return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.HAMMING))
    out = np.full((size, size, 3), 0 if settings.grey else 255, dtype=np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    out[top : top + height, left : left + width] = image
    return out


def _downsamples(slide: Slide) -> Sequence[float]:
    return slide.downsamples if isinstance(slide, Levelled) else (1.0,)


def _overview_downsample(slide: Slide, grid: Grid) -> float:
    return max(grid.step / CELLS, max(slide.size) / OVERVIEW, 1.0)


def _block(slide: Slide, grid: Grid, size: int) -> int:
    """Tiles along one side of a block, so that a block is about `SIDE` px of the level it comes from."""
    downsamples = _downsamples(slide)
    factor = grid.downsample / downsamples[best_level(downsamples, grid.downsample)]
    return max(1, int(SIDE // (size * factor)))
