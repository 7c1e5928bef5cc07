"""Which patient, image file and group each record belongs to, as positions in the order of the scores."""

from __future__ import annotations

import hashlib

import numpy as np

from privagams.access import Target, World


def owners(world: World, attack: str) -> np.ndarray:
    """Position of each candidate image's patient in `world.patients`, int64 "n"."""
    index = {str(name): position for position, name in enumerate(world.patients)}
    owner = np.array([index[str(name)] for name in world.candidates.patient], dtype=np.int64)
    _check_complete(owner, len(world.patients), "candidate images", "patient", attack)
    return owner


def image_files(world: World) -> np.ndarray | None:
    """Position of each candidate record's image file in `world.images`, int64 "n"; None where not told."""
    names = world.candidates.column("image").astype(str)
    return None if (names == "").any() else np.searchsorted(world.images, names)


def groups_of(target: Target, attack: str) -> np.ndarray:
    """Group of each released image, int64 "n"; for copies only."""
    assert target.groups is not None
    group = np.asarray(target.released.table["group"], dtype=np.int64)
    _check_complete(group, target.groups, "released images", "group", attack)
    return group


def mean_by(values: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    """Mean of the values (float64 "n") of each of `count` owners."""
    return np.bincount(owner, weights=values, minlength=count) / np.bincount(owner, minlength=count)


def neutral_order(content: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """An order of records that depends on what they hold and on no order in which they were given.

    What is fitted in this order, be it with sampling, is the same however the candidates lie.
    """
    digests = [
        hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16).digest() for row in content
    ]
    return np.array(sorted(range(len(digests)), key=lambda i: (digests[i], str(patient[i]))), dtype=np.int64)


def _check_complete(index: np.ndarray, count: int, what: str, unit: str, attack: str) -> None:
    missing = np.flatnonzero(np.bincount(index, minlength=count) == 0)
    if len(missing):
        raise ValueError(
            f"{attack}: expected {what} for each {unit}, found none for {len(missing)} of {count}; "
            f"leave such a {unit} out of the world"
        )
