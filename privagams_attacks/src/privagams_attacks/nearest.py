"""Exact nearest neighbours between two sets of features, streamed so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_CHUNK_BYTES = 64 * 2**20


def distance_rows(probes: np.ndarray, gallery: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (rows, Euclidean distances float64 "rows gallery") until all probes are done.

    ‖a − b‖² = ‖a‖² + ‖b‖² − 2ab in float64: exact to about 1e-8 of the features' norm, which float32 is not.
    """
    gallery = np.asarray(gallery, dtype=np.float64)
    squares = np.einsum("nd,nd->n", gallery, gallery)
    rows = max(1, _CHUNK_BYTES // (8 * max(1, len(gallery))))
    for start in range(0, len(probes), rows):
        chosen = slice(start, min(start + rows, len(probes)))
        chunk = np.asarray(probes[chosen], dtype=np.float64)
        squared = chunk @ gallery.T
        squared *= -2
        squared += squares
        squared += np.einsum("nd,nd->n", chunk, chunk)[:, None]
        yield chosen, np.sqrt(np.maximum(squared, 0, out=squared), out=squared)


def nearest_distance(probes: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Distance from each probe to its nearest gallery item, float64 "n"."""
    nearest = np.empty(len(probes))
    for rows, distances in distance_rows(probes, gallery):
        nearest[rows] = distances.min(axis=1)
    return nearest


def nearest_distance_to_others(features: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Distance from each item to the nearest of another owner, float64 "n"; inf where there is none."""
    nearest = np.empty(len(features))
    for rows, distances in distance_rows(features, features):
        distances[owner[rows][:, None] == owner] = np.inf
        nearest[rows] = distances.min(axis=1)
    return nearest
