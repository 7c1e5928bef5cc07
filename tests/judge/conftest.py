import math

import numpy as np
import pytest

from privagams.access import Scores
from privagams.judge import Truth, judge
from privagams.judge.truth import Places


@pytest.fixture
def make_truth():
    """Truth about `count` candidates, the first `members` of them members, released one group each if `copies`."""

    def make(count=60, members=36, relation="", copies=False, **more):
        names = np.array([f"p{i}" for i in range(count)])
        kinds = np.full(count, relation) if isinstance(relation, str) else np.asarray(relation)
        return Truth(names, np.arange(count) < members, kinds, names[:members] if copies else None, **more)

    return make


@pytest.fixture
def judged():
    """Judge scores (an array, or a `Scores`) against a truth."""

    def run(scores, truth, game="membership", epsilon=math.inf, delta=0.0, seed=0, blind=None, **price):
        return judge(
            scores if isinstance(scores, Scores) else Scores(np.asarray(scores, dtype=float)),
            truth, release="r", attack="a", game=game, access="released", epsilon=epsilon, delta=delta,
            rng=np.random.default_rng(seed), blind=blind, **price,
        )  # fmt: skip

    return run


@pytest.fixture
def places():
    """Image files with the same text in every column, unless given."""

    def make(*images, **columns):
        n = len(images)
        names = ("patient", "block", "section", "site")
        return Places(np.array(images), *(np.array(columns.get(name, [""] * n), dtype=str) for name in names))

    return make
