"""From images to patients: each different image counts once, and each patient once."""

from __future__ import annotations

import hashlib

import numpy as np

from privagams.records import Records

_CHUNK = 256


def distinct(records: Records, most: int | None = None) -> Records:
    """`records` without further copies of the same pixels with the same label of the same patient.

    With `most`, at most so many of each patient: a choice by hash, the same in whatever order they come.
    """
    keys = _keys(records)
    order = np.argsort(keys, kind="stable")
    patient = records.patient.astype(str)
    first = np.zeros(len(records), dtype=bool)
    taken: dict[str, int] = {}
    for position, before in zip(order, [None, *order[:-1]], strict=True):
        name = patient[position]
        if (before is None or keys[position] != keys[before]) and (most is None or taken.get(name, 0) < most):
            first[position] = True
            taken[name] = taken.get(name, 0) + 1
    return records if first.all() else records.take(first)


def _keys(records: Records) -> np.ndarray:
    """A hash of each record's patient, label and pixels, text "n"."""
    keys = np.empty(len(records), dtype="U32")
    patient, label = records.patient, records.column("label")
    for rows, pixels in records.batches(_CHUNK):
        for position, image in enumerate(pixels, rows.start):
            told = f"{patient[position]}\0{label[position]}\0".encode()
            content = told + np.ascontiguousarray(image).tobytes()
            keys[position] = hashlib.blake2b(content, digest_size=16).hexdigest()
    return keys


def positions(records: Records, patients: np.ndarray) -> np.ndarray:
    """Index of each record's patient in `patients`, int64 "n"; each of `patients` must have a record."""
    index = {str(name): position for position, name in enumerate(patients)}
    owner = np.array([index[str(name)] for name in records.patient], dtype=np.int64)
    missing = len(patients) - len(np.unique(owner))
    if missing:
        raise ValueError(
            f"membership: expected candidate images for each patient, found none for {missing} of "
            f"{len(patients)}; leave such a patient out of the world"
        )
    return owner


def patient_means(values: np.ndarray, records: Records, patients: np.ndarray) -> np.ndarray:
    """Mean over each patient's images, float64 "... k" of `values` "... n"."""
    owner = positions(records, patients)
    count = np.bincount(owner, minlength=len(patients))
    flat = np.asarray(values, dtype=np.float64).reshape(-1, len(owner))
    means = np.array([np.bincount(owner, row, len(patients)) / count for row in flat])
    return means.reshape(*values.shape[:-1], len(patients))
