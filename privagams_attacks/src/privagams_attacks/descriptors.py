"""How the tiles of one image become one vector: principal components, then VLAD, Fisher or mean."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from attrs import frozen

Pooling = Callable[[np.ndarray], np.ndarray]
"""Tiles of one image "n d" to one vector, before its normalisation."""


@frozen(eq=False)
class Descriptor:
    """Fitted on the adversary's own tiles; applied to one image at a time, so that images do not mix."""

    mean: np.ndarray
    axes: np.ndarray
    """Principal axes, "d components"."""
    pool: Pooling

    def __call__(self, tiles: np.ndarray, image: np.ndarray, count: int) -> np.ndarray:
        """One vector of norm 1 (0 for images without contrast) for each of `count` images, "count e".

        `image` says for each tile ("n d") to which image it belongs.
        """
        order = np.argsort(image, kind="stable")
        own = np.split(order, np.searchsorted(image[order], np.arange(1, count)))
        signed = np.stack([self.pool(_reduced(tiles[rows], self.mean, self.axes)) for rows in own])
        return _unit(np.sign(signed) * np.sqrt(np.abs(signed)))


def fit_descriptor(
    tiles: np.ndarray, pooling: str, components: int, words: int, rng: np.random.Generator
) -> Descriptor:
    """Fit principal components, then the words, on tiles "n d"."""
    mean, axes = _principal(tiles, components)
    reduced = _reduced(tiles, mean, axes)
    words = min(words, len(np.unique(reduced, axis=0)))
    if pooling == "mean":
        return Descriptor(mean, axes, lambda own: own.mean(axis=0))
    seed = int(rng.integers(2**31))
    make = _vlad if pooling == "vlad" else _fisher
    return Descriptor(mean, axes, make(reduced, words, seed))


def _principal(tiles: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray]:
    mean = tiles.mean(axis=0, dtype=np.float64)
    centred = tiles - mean
    _, axes = np.linalg.eigh(centred.T @ centred)
    return mean, axes[:, ::-1][:, :components]


def _reduced(tiles: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return _unit((tiles - mean) @ axes)


def _unit(rows: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0)


def _vlad(tiles: np.ndarray, words: int, seed: int) -> Pooling:
    """Sums of differences to the nearest centre (Jégou et al. 2010, CVPR)."""
    from sklearn.cluster import KMeans

    centres = (
        KMeans(words, n_init=1, max_iter=100, random_state=seed)
        .fit(tiles)
        .cluster_centers_.astype(np.float64)
    )

    def pool(own: np.ndarray) -> np.ndarray:
        word = (((centres**2).sum(axis=1) / 2) - own @ centres.T).argmin(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, word, own - centres[word])
        return sums.ravel()

    return pool


def _fisher(tiles: np.ndarray, words: int, seed: int) -> Pooling:
    """Gradients by the means of a Gaussian mixture with diagonal covariance (Perronnin et al. 2010, ECCV)."""
    from sklearn.mixture import GaussianMixture

    model: Any = GaussianMixture(words, covariance_type="diag", reg_covar=1e-6, random_state=seed)
    with warnings.catch_warnings():
        # A mixture that stopped short of convergence is a codebook all the same.
        warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
        model.fit(tiles)
    spread, weights = np.sqrt(model.covariances_), model.weights_

    def pool(own: np.ndarray) -> np.ndarray:
        share = model.predict_proba(own)
        sums = (share.T @ own - share.sum(axis=0)[:, None] * model.means_) / spread
        return (sums / (len(own) * np.sqrt(weights)[:, None])).ravel()

    return pool
