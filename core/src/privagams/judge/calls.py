"""What an attack gets right when it has to call: calls among members against calls among non-members."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri

from privagams.evidence import Measurement
from privagams.judge.intervals import mean_interval


def called(hits: np.ndarray, is_member: np.ndarray, found: str, note: str = "") -> list[Measurement]:
    """Measure `found` (under the name given), `control` and `excess` from yes or no per patient, bool "k"."""
    members, others = hits[is_member], hits[~is_member]
    m, n = len(members), len(others)
    if m == 0:
        return []
    share = float(members.mean())
    if n == 0:
        return [Measurement(found, share, *mean_interval(share, m), m, note=note)]
    control = float(others.mean())
    risk, low, high = excess(int(members.sum()), m, int(others.sum()), n)
    return [
        Measurement("excess", risk, low, high, m + n, chance=0.0, note=note),
        Measurement(found, share, *mean_interval(share, m), m, chance=float(hits.mean()), note=note),
        Measurement("control", control, *mean_interval(control, n), n, note=note),
    ]


def excess(hits: int, members: int, alarms: int, others: int) -> tuple[float, float, float]:
    """Share of members found beyond what happens to non-members, with its 95 % interval, in [0, 1].

    (p_a − p_c)/(1 − p_c); the interval is of Wilson's rates by error propagation (Giomi et al. 2022, arXiv
    2211.10459). The value itself is of the plain rates: Wilson's, drawn towards one half, would show an excess
    where everybody is called, member or not.
    """
    _, low, high = residual(wilson(hits, members), wilson(alarms, others))
    plain, *_ = residual((hits / members, 0.0), (alarms / others, 0.0))
    return plain, min(low, plain), max(high, plain)


def residual(attack: tuple[float, float], control: tuple[float, float]) -> tuple[float, float, float]:
    """The excess of two rates (each a value and the half-width of its interval), clipped to [0, 1]."""
    (p_a, e_a), (p_c, e_c) = attack, control
    if p_c >= 1:
        return 0.0, 0.0, 1.0
    value = (p_a - p_c) / (1 - p_c)
    half = math.hypot(e_a / (1 - p_c), e_c * (1 - p_a) / (1 - p_c) ** 2)
    low, middle, high = (float(np.clip(x, 0, 1)) for x in (value - half, value, value + half))
    return middle, low, high


def wilson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Centre and half-width of Wilson's interval for a share."""
    z2 = float(ndtri((1 + level) / 2)) ** 2
    half = math.sqrt(z2) / (n + z2) * math.sqrt(hits * (n - hits) / n + z2 / 4)
    return (hits + z2 / 2) / (n + z2), half
