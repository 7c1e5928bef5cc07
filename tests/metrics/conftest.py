"""Records and an adversary's world without files."""

import numpy as np
import pytest

from privagams.access import World
from privagams.records import Records


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def records():
    """Make records: `per` images for each patient, patients numbered from `first`."""

    def make(pixels, per=1, labels=None, first=0):
        patients = [f"p{first + i // per:04d}" for i in range(len(pixels))]
        table = {"patient": np.array(patients, dtype=object)}
        if labels is not None:
            table["label"] = np.asarray(labels, dtype=object)
        return Records(pixels, table)

    return make


@pytest.fixture
def world():
    """A world whose features are the pixels themselves, on a scale of about 1."""

    def features(use, records):
        return (records.read().reshape(len(records), -1).astype(np.float32) - 128) / 64

    empty = Records(np.zeros((0, 2, 2, 1), dtype=np.uint8), {"patient": np.empty(0, dtype=object)})
    return World(empty, np.empty(0), None, [], features=features)
