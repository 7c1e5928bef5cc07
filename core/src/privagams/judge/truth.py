"""What only the judge knows of the candidates: who took part, and how held images relate to released ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from attrs import field, frozen

from privagams.attributes import age_group
from privagams.records import TEXT_COLUMNS, Records
from privagams.splits import AUXILIARY, MAIN, MEMBER, SAME_IMAGE, SplitTable

OTHER_REGION, OTHER_SECTION = "other region", "other section"
STRATA = (
    SAME_IMAGE, OTHER_REGION, OTHER_SECTION, "other block", "other scanner", "other date", "other site",
)  # fmt: skip
"""From the closest relation between a patient's held images and its released ones to the farthest."""

_HELD = {"other images": (AUXILIARY,), "training images": (MAIN,), "all images": (MAIN, AUXILIARY)}


@frozen(eq=False)
class Places:
    """Where image files come from; columns of text, empty where unknown, all of one length."""

    image: np.ndarray
    patient: np.ndarray
    block: np.ndarray
    section: np.ndarray
    site: np.ndarray


@frozen(eq=False)
class Truth:
    """What only the judge knows. Arrays over candidate patients, "k", in the order of `World.patients`."""

    patients: np.ndarray
    member: np.ndarray
    """Whether the patient's images were trained on or released, bool "k"."""
    relation: np.ndarray
    """How the candidate images relate to the patient's main ones; empty where not known or of no matter."""
    groups: np.ndarray | None = None
    """The true patient of each released group; None for drawn images."""
    member_share: float | None = None
    """The probability with which each candidate became a member, by a coin of its own; None: not by coins."""
    holds: str = "other images"
    strata: Mapping[str, np.ndarray] = field(factory=dict)
    """By relation (`STRATA`): to which candidates it applies, bool "k"."""
    attributes: Mapping[str, np.ndarray] = field(factory=dict)
    """By column: each candidate's value, the most frequent of its records; empty where unknown, "k"."""
    sites: tuple[frozenset[str], ...] = ()
    """Each candidate's sites; empty where any record's site is unknown."""
    images: Places | None = None
    """The candidates' image files, in the order of `World.images`."""
    group_places: Places | None = None
    """The image file of each released group."""


def truth_of(
    split: SplitTable,
    records: Records,
    patients: np.ndarray,
    *,
    holds: str,
    member_share: float,
    released_rows: np.ndarray | None = None,
    group: np.ndarray | None = None,
) -> Truth:
    """Make the truth about candidate `patients` of whom the adversary has images as `holds` says.

    records: everything that was split, row for row. member_share: the probability of being a member for a
    patient who is member or non-member, members / (1 − reference). For copies, `released_rows` is the row of
    each released record and `group` its group.
    """
    names = np.array([str(name) for name in patients], dtype=str)
    held = np.isin(split.part, _HELD[holds])
    rows = _rows_of(split.patient)
    sources = _sources(split, released_rows)
    places = _places(records, split.patient)
    members = set(split.patients(MEMBER).tolist())
    pairs = [(rows[n][held[rows[n]]], rows[n][sources[rows[n]]]) for n in names.tolist()]
    columns = {name: _text(records, name) for name in TEXT_COLUMNS if name != "patient"}
    marks = [relations(columns, mine, theirs) for mine, theirs in pairs]
    firsts = None if group is None or released_rows is None else _first_rows(released_rows, group)
    return Truth(
        names,
        np.array([name in members for name in names.tolist()], dtype=bool),
        _relation(split, names, holds, copies=released_rows is not None),
        None if firsts is None else split.patient[firsts],
        member_share,
        holds,
        {
            s: np.array([s in mark for mark in marks], dtype=bool)
            for s in STRATA
            if any(s in m for m in marks)
        },
        _attributes(columns, [rows[name] for name in names.tolist()]),
        _sites(columns["site"], [rows[name] for name in names.tolist()]),
        _image_places(places, held & np.isin(split.patient, names)),
        None if firsts is None else _taken(places, firsts),
    )


def relations(columns: Mapping[str, np.ndarray], held: np.ndarray, main: np.ndarray) -> set[str]:
    """How one patient's held rows relate to its released ones; each only where known on both sides."""
    if len(held) == 0 or len(main) == 0:
        return set()
    found = set()
    if set(columns["image"][held]) & set(columns["image"][main]):
        found.add(SAME_IMAGE if len(np.intersect1d(held, main)) else OTHER_REGION)
    for name in ("block", "scanner", "date", "site"):
        if _known(columns[name], held, main) and not set(columns[name][held]) & set(columns[name][main]):
            found.add(f"other {name}")
    if _known(columns["block"], held, main) and _known(columns["section"], held, main):
        blocks = set(columns["block"][held]) & set(columns["block"][main])
        cuts = [
            {(b, s) for b, s in zip(columns["block"][at], columns["section"][at], strict=True) if b in blocks}
            for at in (held, main)
        ]
        if blocks and not cuts[0] & cuts[1]:
            found.add(OTHER_SECTION)
    return found


def _known(column: np.ndarray, *sides: np.ndarray) -> bool:
    return all(bool((column[rows] != "").all()) for rows in sides)


def _relation(split: SplitTable, names: np.ndarray, holds: str, copies: bool) -> np.ndarray:
    """The split's own word on auxiliary images; the very same images where the adversary holds all of a copy's.

    Of drawn images nobody holds the original: who holds all images holds what membership attacks hold too.
    """
    if holds == "all images" and copies:
        return np.full(len(names), SAME_IMAGE)
    if holds in ("training images", "all images"):
        return np.full(len(names), "", dtype="U1")
    auxiliary = split.where(part=AUXILIARY)
    relation = dict(zip(split.patient[auxiliary].tolist(), split.relation[auxiliary].tolist(), strict=True))
    return np.array([relation.get(name, "") for name in names.tolist()], dtype=str)


def _sources(split: SplitTable, released_rows: np.ndarray | None) -> np.ndarray:
    """The rows that held images are compared with: a released patient's released ones, else the main ones."""
    main: np.ndarray = split.part == MAIN
    if released_rows is None:
        return main
    released = np.zeros(len(main), dtype=bool)
    released[released_rows] = True
    return np.where(np.isin(split.patient, np.unique(split.patient[released])), released, main)


def _first_rows(released_rows: np.ndarray, group: np.ndarray) -> np.ndarray:
    """One row of each group, in the order of the groups 0, 1, …"""
    numbers, first = np.unique(group, return_index=True)
    if not np.array_equal(numbers, np.arange(len(numbers))):
        raise ValueError(f"group: expected the numbers 0 to {len(numbers) - 1}, found others; number them so")
    rows: np.ndarray = released_rows[first]
    return rows


def _rows_of(patient: np.ndarray) -> dict[str, np.ndarray]:
    names, index = np.unique(patient, return_inverse=True)
    parts = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
    return dict(zip(names.tolist(), parts, strict=True))


def _text(records: Records, name: str) -> np.ndarray:
    column = np.asarray(records.column(name))
    text: np.ndarray = column.astype(str)
    if column.dtype == object:
        text[column == np.array(None)] = ""
    return text


def _attributes(columns: Mapping[str, np.ndarray], rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    found = {}
    for name in ("label", "sex", "age", "site", "scanner"):
        shown = age_group if name == "age" else str
        values = [Counter(shown(v) for v in columns[name][mine].tolist() if v) for mine in rows]
        if any(values):
            found[name] = np.array([min(c, key=lambda v: (-c[v], v)) if c else "" for c in values], dtype=str)
    return found


def _sites(site: np.ndarray, rows: list[np.ndarray]) -> tuple[frozenset[str], ...]:
    found = tuple(frozenset(site[mine].tolist()) for mine in rows)
    return () if any("" in sites for sites in found) else found


def _places(records: Records, patient: np.ndarray) -> Places:
    image, block, section, site = (_text(records, name) for name in ("image", "block", "section", "site"))
    return Places(image, patient, block, section, site)


def _image_places(places: Places, held: np.ndarray) -> Places:
    rows = np.flatnonzero(held)
    return _taken(places, rows[np.unique(places.image[rows], return_index=True)[1]])


def _taken(places: Places, rows: np.ndarray) -> Places:
    return Places(
        *(
            column[rows]
            for column in (places.image, places.patient, places.block, places.section, places.site)
        )
    )
