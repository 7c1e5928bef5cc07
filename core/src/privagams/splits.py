"""Which patients are members, and which of their images the adversary already holds."""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from attrs import frozen

from privagams.errors import ConfigError
from privagams.pipeline import SplitSettings
from privagams.records import Records

__all__ = ["SplitSettings", "SplitTable", "check", "coin", "role_of", "split"]

MEMBER, NONMEMBER, REFERENCE = "member", "nonmember", "reference"
MAIN, AUXILIARY = "main", "auxiliary"
OTHER_SLIDE, OTHER_IMAGE, SAME_IMAGE = "other slide", "other image", "same image"


@frozen(eq=False)
class SplitTable:
    """The split of some records, one row per record in their order; all columns are text, "n"."""

    patient: np.ndarray
    role: np.ndarray
    """"member", "nonmember" or "reference"; one per patient."""
    part: np.ndarray
    """"main" (trained on or released, for members) or "auxiliary" (held by the adversary, never either)."""
    relation: np.ndarray
    """How an auxiliary record relates to its patient's main ones; empty for main records."""

    def where(self, role: str | None = None, part: str | None = None) -> np.ndarray:
        """Mask of the records with this role and part, bool "n"."""
        chosen = np.ones(len(self.patient), dtype=bool)
        if role is not None:
            chosen &= self.role == role
        if part is not None:
            chosen &= self.part == part
        return chosen

    def patients(self, role: str | None = None, part: str | None = None) -> np.ndarray:
        """The distinct patients with such a record, sorted."""
        return np.unique(self.patient[self.where(role, part)])

    def save(self, path: Path) -> None:
        """Write the table as Parquet."""
        columns = {name: pa.array(getattr(self, name).tolist(), pa.string()) for name in _COLUMNS}
        pq.write_table(pa.table(columns), path)

    @classmethod
    def load(cls, path: Path) -> SplitTable:
        """Read what `save` wrote."""
        table = pq.read_table(path, columns=list(_COLUMNS))
        return cls(*(_text(table.column(name).to_pylist()) for name in _COLUMNS))


_COLUMNS = ("patient", "role", "part", "relation")


def split(records: Records, settings: SplitSettings, salt: bytes) -> SplitTable:
    """Give every patient a role and every record a part.

    Guarantee: a patient's rows depend on (salt, that patient's records) alone, so one patient's arrival moves
    nobody else. Test: `test_adding_a_patient_changes_nobody_else`.
    """
    patient = _text(records.patient)
    role = np.empty(len(patient), dtype="U9")
    part = np.full(len(patient), MAIN, dtype="U9")
    relation = np.full(len(patient), "", dtype="U11")
    for name, rows in _rows_by(patient):
        role[rows] = role_of(settings, salt, name)
        auxiliary, how = _auxiliary(records.take(rows), settings, salt, name)
        part[rows[auxiliary]] = AUXILIARY
        relation[rows[auxiliary]] = how
    return SplitTable(patient, role, part, relation)


def coin(salt: bytes, *parts: str) -> float:
    """A number in [0, 1) that only a holder of `salt` can foresee: HMAC-SHA256 of the parts, 53 bits of it.

    Each part goes in with its length, so that ("ab", "c") and ("a", "bc") differ.
    """
    message = b"".join(len(text).to_bytes(8, "big") + text for text in (part.encode() for part in parts))
    digest = hmac.digest(salt, message, "sha256")
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def check(
    table: SplitTable,
    settings: SplitSettings,
    *,
    members: int = 1,
    nonmembers: int = 1,
    reference: int = 0,
    probes: int = 0,
) -> None:
    """Raise `ConfigError` listing each role with fewer patients than needed.

    `probes`: members with auxiliary images, which linkage attacks need.
    """
    others = 1 - settings.members - settings.reference
    problems = [
        *_short(table, MEMBER, members, "split.members", settings.members),
        *_short(table, NONMEMBER, nonmembers, "split", others),
        *_short(table, REFERENCE, reference, "split.reference", settings.reference),
    ]
    held = len(table.patients(MEMBER, AUXILIARY))
    if held < probes:
        problems.append(
            f"split.auxiliary: expected at least {probes} members with auxiliary images, found {held} of "
            f"{len(table.patients(MEMBER))}; add patients with several slides or images, "
            "set auxiliary above 0, or, for tiles, same_image = true"
        )
    if problems:
        raise ConfigError(problems)


def _short(table: SplitTable, role: str, needed: int, where: str, share: float) -> list[str]:
    found, everybody = len(table.patients(role)), len(table.patients())
    if found >= needed:
        return []
    enough = (
        f"about {math.ceil(needed / share)} patients in all, or a larger share"
        if share > 0
        else "a share above 0"
    )
    return [
        f"{where}: expected at least {needed} {role} patients, found {found} of {everybody} "
        f"(share {share:g}); that takes {enough}"
    ]


def role_of(settings: SplitSettings, salt: bytes, patient: str) -> str:
    u = coin(salt, "split", patient)
    if u < settings.members:
        return MEMBER
    return REFERENCE if u < settings.members + settings.reference else NONMEMBER


def shadow_half(table: SplitTable, salt: bytes, number: int) -> np.ndarray:
    """Names of the members and non-members that shadow model `number` is trained on.

    Shadows come in pairs, the second with the patients that the first leaves out, so that of any even number
    each patient is in exactly one half. Depends on (salt, patient) alone.
    """
    names = np.union1d(table.patients(MEMBER, MAIN), table.patients(NONMEMBER, MAIN))
    first = np.array([coin(salt, "shadow", str(number // 2), str(name)) < 0.5 for name in names], dtype=bool)
    return names[first if number % 2 == 0 else ~first]


def _auxiliary(
    records: Records, settings: SplitSettings, salt: bytes, patient: str
) -> tuple[np.ndarray, str]:
    """Which of one patient's records are auxiliary (mask), and how they relate to the others."""
    slide, image = _text(records.column("slide")), _text(records.column("image"))
    nobody = np.zeros(len(records), dtype=bool)
    if settings.auxiliary == 0:
        return nobody, ""
    # An image of unknown slide might lie on any of the patient's slides: then only images can be told apart.
    if (slide != "").all() and len(np.unique(slide)) > 1:
        return _some_units(slide, settings.auxiliary, salt, patient), OTHER_SLIDE
    if (image != "").all() and len(np.unique(image)) > 1:
        return _some_units(image, settings.auxiliary, salt, patient), OTHER_IMAGE
    if settings.same_image:
        return _half_of_image(records, salt, patient, str(image[0])), SAME_IMAGE
    return nobody, ""


def _some_units(unit: np.ndarray, share: float, salt: bytes, patient: str) -> np.ndarray:
    names = sorted(np.unique(unit).tolist(), key=lambda name: coin(salt, "auxiliary", patient, name))
    count = min(max(math.ceil(len(names) * share - 0.5), 1), len(names) - 1)
    return np.isin(unit, names[:count])


def _half_of_image(records: Records, salt: bytes, patient: str, image: str) -> np.ndarray:
    """Cut one image's tiles at the middle of their longer extent; the salt says which half is auxiliary."""
    missing = [name for name in ("x", "y") if name not in records.table]
    if missing:
        raise ConfigError(
            "split.same_image: expected tiles with the columns x and y, "
            f"found none called {' or '.join(missing)}; leave same_image out for whole images"
        )
    place = np.stack([np.asarray(records.table[name], dtype=float) for name in ("x", "y")])
    extent = np.ptp(place, axis=1)
    along = place[int(extent[1] > extent[0])]
    first: np.ndarray = along < (along.min() + along.max()) / 2
    if not first.any():
        return first
    return first if coin(salt, "half", patient, image) < 0.5 else ~first


def _rows_by(names: np.ndarray) -> list[tuple[str, np.ndarray]]:
    distinct, index = np.unique(names, return_inverse=True)
    order = np.argsort(index, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(index, minlength=len(distinct)))[:-1])
    return list(zip(distinct.tolist(), rows, strict=True))


def _text(values: Iterable[object]) -> np.ndarray:
    return np.array([str(value) for value in values], dtype=str)
