"""How glands, tumour nests and nuclei look: the part of the drawing that tells the two classes apart."""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from privagams.demo.canvas import Canvas, Plane, patches, step
from privagams.demo.signature import Signature

Numbers = NDArray[np.floating]


@frozen(eq=False)
class Cells:
    """Nuclei to draw, all arrays "k": centres, half axes, angle of the long axis, darkness 0 to 1."""

    x: Plane
    y: Plane
    long: Plane
    short: Plane
    angle: Plane
    dark: Plane

    @classmethod
    def of(cls, *columns: Numbers | float, kept: NDArray[np.bool_]) -> Cells:
        """Keep some of the cells; a single number holds for all of them."""
        full = (np.broadcast_to(np.asarray(column, dtype=np.float32), kept.shape) for column in columns)
        return cls(*(column[kept] for column in full))

    def stamp(self, plane: Plane, canvas: Canvas) -> None:
        """Lay the nuclei onto `plane`: paler inside than at the rim, as chromatin is."""
        # Alike in size, they share squares that are no larger than need be.
        for part in np.array_split(np.argsort(self.long), 3):
            if len(part):
                self._stamp(plane, canvas, part)

    def _stamp(self, plane: Plane, canvas: Canvas, part: NDArray[np.intp]) -> None:
        long, short, angle = (column[part, None, None] for column in (self.long, self.short, self.angle))
        cut = patches(canvas, self.x[part], self.y[part], 1.1 * float(long.max()) + 0.3 * canvas.mpp)
        cosine, sine = np.cos(angle), np.sin(angle)
        along = cut.dx * (cosine / long) + cut.dy * (sine / long)
        across = cut.dy * (cosine / short) - cut.dx * (sine / short)
        away = np.sqrt(along * along + across * across)
        softness = np.float32(0.6 * canvas.mpp) / short + np.float32(0.08)
        chromatin = np.float32(0.78) + np.float32(0.22) * np.minimum(away, 1)
        chromatin *= self.dark[part, None, None]
        chromatin *= step(1 - away, softness)
        cut.lay(plane, chromatin)


@frozen(eq=False)
class Glands:
    """Glands to draw, all arrays "k": centres, radii, radius of the lumen over the gland's, outline "k 4"."""

    x: Plane
    y: Plane
    radius: Plane
    opening: Plane
    wobble: Plane

    def edge(self, cosine: Numbers, sine: Numbers) -> Plane:
        """Outline over radius in a direction "k …": an ellipse (2nd harmonic) with a bump (3rd)."""
        cosine2, sine2 = cosine * cosine - sine * sine, 2 * cosine * sine
        parts = (cosine2, sine2, cosine * cosine2 - sine * sine2, sine * cosine2 + cosine * sine2)
        weights = self.wobble.reshape(self.wobble.shape + (1,) * (np.ndim(cosine) - 1))
        outline = 1 + sum(weights[:, harmonic] * part for harmonic, part in enumerate(parts))
        return np.clip(outline, 0.5, 1.4).astype(np.float32)

    def lay(self, rings: Plane, lumens: Plane, canvas: Canvas) -> None:
        """Lay down cytoplasm of the rings, and lumens."""
        if not len(self.x):
            return
        cut = patches(canvas, self.x, self.y, 1.4 * float(self.radius.max()))
        away = np.sqrt(cut.dx * cut.dx + cut.dy * cut.dy) + np.float32(1e-3)
        radius = self.radius[:, None, None] * self.edge(cut.dx / away, cut.dy / away)
        cut.lay(rings, step(radius - away, 1.0))
        cut.lay(lumens, step(self.opening[:, None, None] * radius - away, 1.5))

    def nuclei(self, look: Signature, rng: np.random.Generator) -> Cells:
        """Line nuclei up at the base of each ring, pointing at the lumen; disorder grows with atypia."""
        count = np.maximum(5, 2 * np.pi * 0.8 * self.radius / look.nuclear_spacing * 1.15).astype(np.intp)
        gland = np.repeat(np.arange(len(self.x)), count)
        place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        around = 2 * np.pi * (place + rng.normal(0, 0.08 + 0.2 * look.atypia, len(gland))) / count[gland]
        cosine, sine = np.cos(around), np.sin(around)
        depth = 0.5 + 0.5 * self.opening[gland] + 0.12 + rng.normal(0, 0.02 + 0.1 * look.atypia, len(gland))
        own = Glands(
            self.x[gland], self.y[gland], self.radius[gland], self.opening[gland], self.wobble[gland]
        )
        out = depth * own.radius * own.edge(cosine, sine)
        size = look.nuclear_radius * np.exp(rng.normal(0, 0.06 + 0.16 * look.atypia, len(gland)))
        stretch = np.sqrt(look.nuclear_elongation)
        turned = around + rng.normal(0, 0.1 + 0.6 * look.atypia, len(gland))
        dark = rng.uniform(0.68, 0.85, len(gland))
        return Cells.of(
            own.x + out * cosine,
            own.y + out * sine,
            size * stretch,
            size / stretch,
            turned,
            dark,
            kept=np.ones(len(gland), dtype=np.bool_),
        )


def glands(canvas: Canvas, look: Signature, nests: Plane, rng: np.random.Generator) -> Glands:
    """Place round glands wherever epithelium grows; in a tumour few are left, small and misshapen."""
    x, y = canvas.lattice(2.25 * look.gland_radius, 0.1 + 0.1 * look.atypia, rng)
    radius = look.gland_radius * rng.uniform(0.75, 1.08, len(x)) * (1 - 0.3 * look.atypia)
    opening = rng.uniform(0.38, 0.62, len(x)) * (1 - 0.4 * look.atypia)
    wobble = rng.normal(0, 0.04 + 0.08 * look.atypia, (len(x), 4))
    share = 0.2 if look.label == "tumour" else 0.95
    kept = (canvas.at(nests, x, y) > 0) & (rng.random(len(x)) < share)
    columns = (np.asarray(column, dtype=np.float32)[kept] for column in (x, y, radius, opening, wobble))
    return Glands(*columns)


def crowd(canvas: Canvas, look: Signature, nests: Plane, lumens: Plane, rng: np.random.Generator) -> Cells:
    """Crowd the nuclei of a solid tumour nest: larger, darker, of uneven size and in no order."""
    spacing = look.nuclear_spacing * (1.2 - 0.2 * look.atypia)
    x, y = canvas.lattice(spacing, 0.18 + 0.25 * look.atypia, rng)
    size = look.nuclear_radius * np.exp(rng.normal(0, 0.08 + 0.18 * look.atypia, len(x)))
    turned = look.fibre_angle + rng.normal(0, 0.3 + 1.2 * look.atypia, len(x))
    dark = rng.uniform(0.6, 0.8 + 0.2 * look.atypia, len(x))
    stretch = np.sqrt(look.nuclear_elongation)
    kept = (canvas.at(nests, x, y) > 0) & (canvas.at(lumens, x, y) < 0.3)
    return Cells.of(x, y, size * stretch, size / stretch, turned, dark, kept=kept)


def spindles(canvas: Canvas, tissue: Plane, fibre_angle: Plane, rng: np.random.Generator) -> Cells:
    """Scatter thin nuclei along the fibres of the stroma."""
    x, y = canvas.lattice(19, 0.45, rng)
    long = 4.8 * np.exp(rng.normal(0, 0.2, len(x)))
    turned = canvas.at(fibre_angle, x, y) + rng.normal(0, 0.15, len(x))
    dark = rng.uniform(0.6, 0.85, len(x))
    return Cells.of(x, y, long, 1.4, turned, dark, kept=canvas.at(tissue, x, y) > 0)


def lymphocytes(canvas: Canvas, nests: Plane, rng: np.random.Generator) -> Cells:
    """Cluster small dark nuclei in the stroma of both classes: density alone does not tell them apart."""
    crowded = canvas.cloud(45, rng)
    x, y = canvas.lattice(7.5, 0.38, rng)
    kept = (canvas.at(crowded, x, y) > 1.15) & (canvas.at(nests, x, y) < 0.35)
    return Cells.of(x, y, 2.5, 2.5, 0.0, 0.95, kept=kept)
