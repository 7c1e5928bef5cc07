"""Membership by density: where does the release put more weight than people at large?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.roles import Game
from privagams_attacks.membership.patients import patient_means
from privagams_attacks.membership.settings import DomiasSettings
from privagams_attacks.membership.space import Space, space_of
from privagams_attacks.nearest import distance_rows

_PER_DIMENSION = 4
"""Images that a dimension takes at least, lest the covariance be noise."""


@frozen
class Domias:
    """s = ln p_G(x) − ln p_R(x): densities of released and of reference images.

    Both are estimated in the same principal components of a fixed embedding, found on the reference. Without
    a reference the candidates' own images stand in for it, pooled without knowing who is a member: this asks
    less of the adversary, and takes for granted that not all candidates are members.
    "kde": kernels of Scott's width; a candidate's own patient is left out of p_R.
    van Breugel et al. (2023), arXiv 2302.12580.
    """

    settings: DomiasSettings
    game: ClassVar[Game] = "membership"
    access: ClassVar[Access] = Access.RELEASED
    holds: ClassVar[Holds] = "training images"
    labels: ClassVar[bool] = False
    shadows: ClassVar[int] = 0

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Draws nothing from `rng`."""
        space = space_of(world, self.settings.embedder, standardise=True)
        known, released, usual, own = _reduced(space, space.released(target), self.settings.dimensions)
        if self.settings.density == "gaussian":
            ratio = _gaussian(known, released) - _gaussian(known, usual)
        else:
            ratio = _kernels(known, released) - _kernels(known, usual, own)
        return Scores(patient_means(ratio, space.records, world.patients))


def _reduced(
    space: Space, released: np.ndarray, dimensions: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Whitened components of candidates, release and reference; owners where candidates are the reference."""
    own = space.owner if space.reference is None else None
    usual = space.known if space.reference is None else space.reference
    centre = usual.mean(axis=0)
    _, sizes, axes = np.linalg.svd(usual - centre, full_matrices=False)
    enough = min(len(usual), len(released)) // _PER_DIMENSION
    rank = int((sizes > 1e-6 * sizes[0]).sum()) if len(sizes) else 0
    kept = max(1, min(dimensions, enough, rank))
    scale = np.where(sizes[:kept] > 0, sizes[:kept], 1) / np.sqrt(len(usual))
    turned = axes[:kept].T / scale
    return (space.known - centre) @ turned, (released - centre) @ turned, (usual - centre) @ turned, own


def _gaussian(points: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Log density of a Gaussian fitted to `sample`, up to a constant that is the same for every sample."""
    root = np.linalg.cholesky(_shrunk_covariance(sample))
    gaps = np.linalg.solve(root, (points - sample.mean(axis=0)).T)
    log_density: np.ndarray = -0.5 * (gaps**2).sum(axis=0) - np.log(np.diag(root)).sum()
    return log_density


def _shrunk_covariance(sample: np.ndarray) -> np.ndarray:
    """Covariance drawn towards a multiple of I, by Chen et al. (2010), arXiv 0907.4698, equation 23."""
    size, dimensions = sample.shape
    covariance = np.atleast_2d(np.cov(sample.T, bias=True))
    trace, squares = np.trace(covariance), (covariance**2).sum()
    apart = (size + 1 - 2 / dimensions) * (squares - trace**2 / dimensions)
    share = min(1.0, ((1 - 2 / dimensions) * squares + trace**2) / apart) if apart > 0 else 1.0
    floor = max(share * trace / dimensions, 1e-9)
    shrunk: np.ndarray = (1 - share) * covariance + floor * np.eye(dimensions)
    return shrunk


def _kernels(points: np.ndarray, sample: np.ndarray, owner: np.ndarray | None = None) -> np.ndarray:
    """Log of the mean kernel at each point, up to the same constant, in Scott's (1992) width for unit variance.

    With `owner`, `points` are `sample`, and each point's own patient is left out, unless there is no other.
    """
    from scipy.special import logsumexp

    size, dimensions = sample.shape
    width = size ** (-1 / (dimensions + 4))
    found = np.empty(len(points))
    if owner is not None and len(np.unique(owner)) < 2:
        owner = None
    for rows, distances in distance_rows(points, sample):
        exponents = -0.5 * (distances / width) ** 2
        counted = np.ones_like(distances, dtype=bool)
        if owner is not None:
            counted = owner[rows][:, None] != owner
        found[rows] = logsumexp(exponents, axis=1, b=counted) - np.log(counted.sum(axis=1))
    log_density: np.ndarray = found - dimensions * np.log(width)
    return log_density
