"""How made-up tissue is laid onto px: smooth noise, lattices of points, and stamps, all in µm.

Every random draw is independent of the resolution, so a region drawn at another one shows the same tissue.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Plane = NDArray[np.float32]
"""One value per px, "h w", or per point, "k"."""


@frozen(eq=False, slots=False)
class Canvas:
    """An empty field: its extent in µm, and µm per px."""

    width: float
    height: float
    mpp: float

    @cached_property
    def x(self) -> Plane:
        return ((np.arange(round(self.width / self.mpp)) + 0.5) * self.mpp).astype(np.float32)

    @cached_property
    def y(self) -> Plane:
        return ((np.arange(round(self.height / self.mpp)) + 0.5) * self.mpp).astype(np.float32)

    def blank(self) -> Plane:
        return np.zeros((len(self.y), len(self.x)), dtype=np.float32)

    def cloud(self, cell: float, rng: np.random.Generator) -> Plane:
        """Draw smooth noise of mean 0 and about unit spread, with bumps about `cell` wide."""
        down, across = _spline(self.y, self.height, cell), _spline(self.x, self.width, cell)
        knots = rng.standard_normal((down.shape[1], across.shape[1]), dtype=np.float32)
        # Not `@`: on matrices this small a library's threads cost ten times more, and sums differ by machine.
        rows = np.einsum("yj,jk->yk", np.float32(2.1) * down, knots)
        cloud: Plane = np.einsum("yk,kx->yx", rows, np.ascontiguousarray(across.T))
        return cloud

    def lattice(self, spacing: float, jitter: float, rng: np.random.Generator) -> tuple[Plane, Plane]:
        """Points x and y of a hexagonal lattice, each moved by up to `jitter` spacings either way."""
        row = np.arange(-1, int(self.height / (spacing * 0.866)) + 2)[:, None]
        column = np.arange(-1, int(self.width / spacing) + 2)[None, :]
        x = (column + 0.5 * (row % 2)) * spacing
        y = np.broadcast_to(row * 0.866 * spacing, x.shape)
        moved = rng.uniform(-jitter, jitter, (2, *x.shape)) * spacing
        return (x + moved[0]).ravel().astype(np.float32), (y + moved[1]).ravel().astype(np.float32)

    def at(self, plane: Plane, x: Plane, y: Plane) -> Plane:
        """Look values up at points; points outside take the nearest value inside."""
        column = np.clip((x / self.mpp).astype(np.intp), 0, plane.shape[1] - 1)
        row = np.clip((y / self.mpp).astype(np.intp), 0, plane.shape[0] - 1)
        return plane[row, column]


@frozen(eq=False)
class Patches:
    """Squares of px around points: offsets from each point in µm, on which to compute a shape and lay it."""

    dx: Plane
    """ "k 1 p" """
    dy: Plane
    """ "k p 1" """
    _index: NDArray[np.intp]
    _inside: NDArray[np.bool_]

    def lay(self, plane: Plane, values: Plane) -> None:
        """Raise `plane` to `values` "k p p" where these are higher."""
        np.maximum.at(plane.reshape(-1), self._index.ravel(), np.where(self._inside, values, 0).ravel())


def patches(canvas: Canvas, x: Plane, y: Plane, reach: float) -> Patches:
    """Cut squares that hold everything within `reach` of each point."""
    half = int(np.ceil(reach / canvas.mpp))
    steps = np.arange(-half, half + 1)
    columns = (x / canvas.mpp).astype(np.intp)[:, None] + steps
    rows = (y / canvas.mpp).astype(np.intp)[:, None] + steps
    width, height = len(canvas.x), len(canvas.y)
    index = np.clip(rows, 0, height - 1)[:, :, None] * width + np.clip(columns, 0, width - 1)[:, None, :]
    inside_columns, inside_rows = (columns >= 0) & (columns < width), (rows >= 0) & (rows < height)
    dx = ((columns + 0.5) * canvas.mpp - x[:, None]).astype(np.float32)
    dy = ((rows + 0.5) * canvas.mpp - y[:, None]).astype(np.float32)
    return Patches(
        dx[:, None, :], dy[:, :, None], index, inside_rows[:, :, None] & inside_columns[:, None, :]
    )


def step(value: Plane, softness: Plane | float) -> Plane:
    """Rise from 0 to 1 where `value` passes 0, over `softness` either side."""
    rise = value * np.asarray(0.5 / softness, dtype=np.float32)
    rise += np.float32(0.5)
    return np.clip(rise, 0, 1, out=rise)


def averaged(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Average blocks of `factor` px a side, as the next level of a scanner's pyramid does: "h w c"."""
    height, width = (side // factor for side in image.shape[:2])
    cropped = image[: height * factor, : width * factor]
    blocks = cropped.reshape(height, factor, width, factor, -1).astype(np.float32)
    means: NDArray[np.float32] = blocks.mean((1, 3))
    return np.rint(means).astype(np.uint8)


def _spline(at: Plane, extent: float, cell: float) -> Plane:
    """Weights "n k" of cubic B-splines with knots every `cell`."""
    knots = np.arange(-1, int(np.ceil(extent / cell)) + 2, dtype=np.float32)
    away = np.abs(at[:, None] / np.float32(cell) - knots)
    near = 2 / 3 - away**2 + away**3 / 2
    far = np.clip(2 - away, 0, None) ** 3 / 6
    weights: NDArray[np.floating] = np.where(away < 1, near, far)
    return weights.astype(np.float32)
