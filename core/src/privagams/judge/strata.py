"""Linkage of copies seen apart: by relation of probe and gallery, within a site, and by section distance."""

from __future__ import annotations

import numpy as np

from privagams.evidence import Measurement
from privagams.judge.intervals import mean_interval
from privagams.judge.linkage import expected_over_ties, harmonic_sums, rank_probes
from privagams.judge.truth import Places, Truth

WITHIN_SITE = "within site"
DISTANCES = tuple(range(1, 11))
_DEPTH = 50
"""Neighbours beyond this rank count for nothing (Holub et al. 2023, as their published code has it)."""


def by_relation(scores: np.ndarray, truth: Truth, leave_out: frozenset[str]) -> list[Measurement]:
    """Measure `top-1` and `mrr` for each relation with at least two probe patients; the note names it.

    A patient may stand in several. No part of any headline, and not corrected for there being several.
    """
    if truth.groups is None:
        return []
    found = []
    for stratum, wanted in truth.strata.items():
        probes = rank_probes(scores, truth.groups, truth.patients, wanted)
        n, k = probes.top1.shape
        if n < 2 or k < 2 or stratum in leave_out:
            continue
        for name, table in (("top-1", probes.top1), ("mrr", probes.reciprocal)):
            value = float(np.clip(table[np.arange(n), probes.own].mean(), 0, 1))
            found.append(
                Measurement(
                    name, value, *mean_interval(value, n), n, chance=float(table.mean()), note=stratum
                )
            )
    return found


def within_site(scores: np.ndarray, truth: Truth, wanted: np.ndarray) -> list[Measurement]:
    """Measure `top-1` and `mrr` where candidates who were never at the released image's site are left out.

    The site alone tells patients apart; what is left is told by the patient. Nothing where a site is unknown
    or all are the same.
    """
    places = truth.group_places
    if truth.groups is None or places is None or not truth.sites or (places.site == "").any():
        return []
    sites = sorted(set().union(*truth.sites))
    if len(sites) < 2:
        return []
    here = {site: np.array([site in mine for mine in truth.sites]) for site in sites}
    column = {name: at for at, name in enumerate(truth.patients.tolist())}
    mine: dict[str, list[np.ndarray]] = {}
    for group, name in enumerate(truth.groups.tolist()):
        gallery = here.get(places.site[group], np.zeros(len(truth.patients), dtype=bool))
        at = column.get(name, -1)
        if at < 0 or not wanted[at] or not gallery[at] or gallery.sum() < 2:
            continue
        count = int(gallery.sum())
        expected = expected_over_ties(scores[group, gallery], harmonic_sums(count))
        own = int(gallery[:at].sum())
        mine.setdefault(name, []).append(np.stack([expected[:, own], expected.mean(axis=1)]))
    n = len(mine)
    if n < 2:
        return []
    value, chance = np.mean([np.mean(groups, axis=0) for groups in mine.values()], axis=0)
    return [
        Measurement(
            name, float(np.clip(value[i], 0, 1)), *mean_interval(float(np.clip(value[i], 0, 1)), n), n,
            chance=float(chance[i]), note=WITHIN_SITE,
        )
        for name, i in (("top-1", 0), ("mrr", 2))
    ]  # fmt: skip


def by_section_distance(by_image: np.ndarray, truth: Truth, wanted: np.ndarray) -> list[Measurement]:
    """Measure `r-s@d`, d = 1…10: patients one of whose released sections finds one d sections away.

    by_image: "groups m". A section is found when it stands before every image of other patients, and among the
    first 50 (Holub et al. 2023). The share is of the patients who have such a pair of sections; `chance` is that
    of a ranking at random.
    """
    gallery, probes = truth.images, truth.group_places
    if truth.groups is None or gallery is None or probes is None:
        return []
    known = set(truth.patients[wanted].tolist())
    found: dict[int, dict[str, list[tuple[bool, float]]]] = {d: {} for d in DISTANCES}
    for group, name in enumerate(truth.groups.tolist()):
        if name not in known:
            continue
        away = _sections_away(probes, group, gallery, name)
        if not (away > 0).any():
            continue
        itself = gallery.image == probes.image[group]
        others = gallery.patient != name
        best = by_image[group, others].max(initial=-np.inf)
        ranked = np.flatnonzero(~others & ~itself & (by_image[group] > best))
        first = ranked[np.argsort(-by_image[group, ranked], kind="stable")][:_DEPTH]
        for d in DISTANCES:
            pairs = int((away == d).sum())
            if pairs:
                luck = pairs / (pairs + int(others.sum()))
                found[d].setdefault(name, []).append((bool((away[first] == d).any()), luck))
    return [_at_distance(d, patients) for d, patients in found.items() if len(patients) >= 2]


def _at_distance(d: int, patients: dict[str, list[tuple[bool, float]]]) -> Measurement:
    n = len(patients)
    value = float(np.mean([any(hit for hit, _ in tries) for tries in patients.values()]))
    chance = float(np.mean([1 - np.prod([1 - luck for _, luck in tries]) for tries in patients.values()]))
    note = "of patients with a section at this distance"
    return Measurement(f"r-s@{d}", value, *mean_interval(value, n), n, chance=chance, note=note)


def _sections_away(probes: Places, group: int, gallery: Places, name: str) -> np.ndarray:
    """Sections between the group's image and each gallery image of the same patient and block; -1 if unknown."""
    own = _number(probes.section[group])
    same = (gallery.patient == name) & (gallery.block == probes.block[group]) & (gallery.block != "")
    away = np.full(len(gallery.image), -1, dtype=np.int64)
    if own is None:
        return away
    for at in np.flatnonzero(same):
        other = _number(gallery.section[at])
        if other is not None:
            away[at] = abs(own - other)
    return away


def _number(section: str) -> int | None:
    return int(section) if section.strip().isdecimal() else None
