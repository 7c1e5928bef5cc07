"""Points of an attack's curves: a ROC for powers of ten on both axes, or patients found by rank."""

from __future__ import annotations

import numpy as np

Points = tuple[tuple[float, float], ...]

_MOST = 200


def roc(scores: np.ndarray, is_member: np.ndarray) -> Points:
    """(share of non-members, share of members) above each threshold, where neither is nought.

    At most 200 points, spread evenly over the powers of ten of the first; ties move together.
    """
    m, n = int(is_member.sum()), int((~is_member).sum())
    if min(m, n) == 0:
        return ()
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)
    found = np.cumsum(is_member[order])[last] / m
    false = np.cumsum(~is_member[order])[last] / n
    both = (found > 0) & (false > 0)
    return _thinned(false[both], found[both])


def rank(scores: np.ndarray, truth: np.ndarray, patients: np.ndarray, wanted: np.ndarray) -> Points:
    """(r, share of probe patients found by rank r) for scores "groups k"; ties count by expectation."""
    column = {str(name): at for at, name in enumerate(patients)}
    own = np.array([column.get(str(name), -1) for name in truth], dtype=np.int64)
    groups = np.flatnonzero((own >= 0) & wanted[own])
    if len(groups) == 0 or len(patients) < 2:
        return ()
    mine = scores[groups, own[groups]][:, None]
    above, tied = (scores[groups] > mine).sum(axis=1), (scores[groups] == mine).sum(axis=1)
    _, row, counts = np.unique(own[groups], return_inverse=True, return_counts=True)
    weight = 1 / (counts[row] * len(counts))
    ranks = np.unique(np.geomspace(1, len(patients), _MOST).round())
    found = [float((weight * np.clip((r - above) / tied, 0, 1)).sum()) for r in ranks]
    return tuple(zip(ranks.tolist(), np.minimum(found, 1.0).tolist(), strict=True))


def _thinned(x: np.ndarray, y: np.ndarray) -> Points:
    """At most 200 of the points; for each place on the log scale of x the first, which has the lowest y."""
    if len(x) > _MOST:
        place = np.round(np.log(x) / min(np.log(x[0]), -1e-9) * (_MOST - 2))
        keep = np.append(True, np.diff(place) != 0)
        keep[-1] = True
        x, y = x[keep], y[keep]
    return tuple(zip(x.tolist(), y.tolist(), strict=True))
