"""The source table: which image belongs to which patient, checked row by row, with pseudonyms for all names."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from privagams.errors import ConfigError
from privagams.home import pseudonym
from privagams.pipeline import Pipeline
from privagams.reading.tiles import ImageFile

_OPTIONAL = ("block", "section", "scanner", "site", "date", "sex", "age")
_SHOWN = 8
_SMALL = 64 * 2**20
_PROBES = 64
_NO_CONTENT = {"missing", "not a file", "unreadable", hashlib.sha256(b"").hexdigest()}


@frozen
class Row:
    """One image of the table, under its real names; never written anywhere."""

    path: Path
    name: str
    """The path as the table writes it, so that pseudonyms and keys survive a move of the whole project."""
    patient: str
    slide: str
    mpp: float | None
    columns: Mapping[str, str]


def read_rows(pipeline: Pipeline) -> list[Row]:
    """Read and check the table; raises `ConfigError` with all faults, naming lines of the table."""
    table = (pipeline.folder / pipeline.source.table).resolve()
    lines = _read_csv(table)
    names = pipeline.source.columns
    if not lines:
        raise ConfigError(f"source.table: {table} has no rows")
    absent = [f"source.columns.{key}" for key in ("file", "patient") if getattr(names, key) not in lines[0]]
    if absent:
        raise ConfigError(
            [
                f"{path}: the table has no column {getattr(names, path.rsplit('.', 1)[1])!r}; "
                f"it has {', '.join(lines[0])}; name the right one under [source] columns"
                for path in absent
            ]
        )
    chosen = _chosen_files(pipeline)
    rows, faults = [], []
    for number, line in enumerate(lines, start=2):
        path = (table.parent / line[names.file]).resolve() if line[names.file] else None
        if path is None:
            faults.append(f"source.table line {number}: no file named")
        elif chosen is None or path in chosen:
            rows.append(_row(pipeline, path, line, number, faults))
    faults += _contradictions(rows) + _unlisted(chosen, rows)
    faults += _label_faults(pipeline, rows)
    if not rows and not faults:
        faults.append(f"source.files: {pipeline.source.files!r} matches no file of the table")
    if faults:
        more = [f"… and {len(faults) - _SHOWN} more like these"] if len(faults) > _SHOWN else []
        raise ConfigError(faults[:_SHOWN] + more)
    return rows


def image_files(rows: Sequence[Row], key: bytes) -> list[ImageFile]:
    """Replace every name by its keyed pseudonym; only the reader still sees the path."""
    return [
        ImageFile(
            path=row.path,
            patient=pseudonym(key, "patient", row.patient),
            slide=pseudonym(key, "slide", f"{row.patient}/{row.slide}") if row.slide else "",
            image=pseudonym(key, "image", row.name),
            mpp=row.mpp,
            columns=row.columns,
        )
        for row in rows
    ]


def refuse_shared_images(rows: Sequence[Row], digests: Sequence[str]) -> None:
    """Raise `ConfigError` where one image stands under two patients: one of them would be two units of privacy."""
    owners: dict[str, dict[str, str]] = defaultdict(dict)
    for row, digest in zip(rows, digests, strict=True):
        if digest not in _NO_CONTENT:
            owners[digest].setdefault(row.patient, row.name)
    faults = [
        f"source.table: {' and '.join(map(repr, found.values()))} are one image under {len(found)} patients; "
        "it would be in two splits: give it one patient"
        for found in owners.values()
        if len(found) > 1
    ]
    if faults:
        raise ConfigError(faults[:_SHOWN])


class Digests:
    """Content digests of image files, remembered by path, size, time of change and inode.

    A file of more than 64 MiB is digested by its size, time of change and 64 spread blocks: reading a terabyte
    of slides before every plan would take longer than the work it saves.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.known: dict[str, str] = json.loads(cache.read_text()) if cache.is_file() else {}

    def of(self, path: Path) -> str:
        try:
            status = path.stat()
        except OSError:
            return "missing"
        name = f"{path}|{status.st_size}|{status.st_mtime_ns}|{status.st_ino}"
        # The cache would otherwise hold file names.
        name = hashlib.sha256(name.encode()).hexdigest()
        if name not in self.known:
            self.known[name] = _content_digest(path, status)
        return self.known[name]

    def save(self) -> None:
        from privagams.store import write_text

        self.cache.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_text(self.cache, json.dumps(self.known))


def _content_digest(path: Path, status: os.stat_result) -> str:
    if not path.is_file():
        return "not a file"
    try:
        with open(path, "rb") as file:
            if status.st_size <= _SMALL:
                return hashlib.file_digest(file, "sha256").hexdigest()
            sampled = hashlib.sha256(f"{status.st_size}|{status.st_mtime_ns}".encode())
            for probe in range(_PROBES):
                file.seek(probe * (status.st_size - 65536) // (_PROBES - 1))
                sampled.update(file.read(65536))
            return sampled.hexdigest()
    except OSError:
        return "unreadable"


def _read_csv(table: Path) -> list[dict[str, str]]:
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            return [{k: (v or "").strip() for k, v in line.items() if k} for line in csv.DictReader(file)]
    except FileNotFoundError:
        raise ConfigError(f"source.table: {table}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"source.table: {table}: not readable as CSV in UTF-8: {error}") from error


def _chosen_files(pipeline: Pipeline) -> set[Path] | None:
    pattern = pipeline.source.files
    if pattern is None:
        return None
    anchor = Path(pipeline.folder.anchor) if Path(pattern).is_absolute() else pipeline.folder
    relative = str(Path(pattern).relative_to(anchor)) if Path(pattern).is_absolute() else pattern
    # glob does not climb: leading ".." are walked by hand.
    while relative.startswith("../"):
        anchor, relative = anchor.parent, relative[3:]
    found = {path.resolve() for path in anchor.glob(relative)}
    if not found:
        raise ConfigError(f"source.files: {pattern!r} matches nothing below {anchor}")
    return found


def _row(pipeline: Pipeline, path: Path, line: Mapping[str, str], number: int, faults: list[str]) -> Row:
    names = pipeline.source.columns
    patient = unicodedata.normalize("NFC", line[names.patient])
    if not patient:
        faults.append(f"source.table line {number}: no patient; without one nobody can be protected")
    label = line.get(names.label, "")
    columns = {"label": pipeline.source.labels.get(label, label)}
    columns |= {c: line[getattr(names, c)] for c in _OPTIONAL if line.get(getattr(names, c))}
    return Row(
        path,
        line[names.file],
        patient,
        line.get(names.slide, ""),
        _mpp(line.get(names.mpp, ""), number, faults),
        columns,
    )


def _mpp(text: str, number: int, faults: list[str]) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
        if 0.01 <= value <= 1000:
            return value
    except ValueError:
        pass  # said below, together with what is out of range
    faults.append(
        f"source.table line {number}: mpp: expected µm per px between 0.01 and 1000, found {text!r}"
    )
    return None


def _contradictions(rows: Sequence[Row]) -> list[str]:
    owners: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        owners["file", str(row.path)].add(row.patient)
        if row.slide:
            owners["slide", row.slide].add(row.patient)
    faults = [
        f"source.table: {kind} {name!r} belongs to {len(patients)} patients; "
        "it would be in two splits: give it one patient"
        for (kind, name), patients in owners.items()
        if len(patients) > 1
    ]
    spellings: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        spellings[row.patient.casefold()].add(row.patient)
    faults += [
        f"source.table: {' and '.join(map(repr, sorted(found)))} differ in case only; one person under two names would "
        "spend twice: write the name in one way"
        for found in spellings.values()
        if len(found) > 1
    ]
    twice = [path for path, count in Counter(row.path for row in rows).items() if count > 1]
    return faults + [f"source.table: {path.name!r} is listed twice; remove one row" for path in twice]


def _unlisted(chosen: set[Path] | None, rows: Sequence[Row]) -> list[str]:
    unlisted = sorted((chosen or set()) - {row.path for row in rows})
    if not unlisted:
        return []
    return [
        f"source.files: {len(unlisted)} files are in no row of the table, such as {unlisted[0].name!r}; "
        "add them with their patient, or narrow source.files"
    ]


def _label_faults(pipeline: Pipeline, rows: Sequence[Row]) -> list[str]:
    if not pipeline.classes:
        return []
    stray = Counter(row.columns["label"] for row in rows if row.columns["label"] not in pipeline.classes)
    return [
        f"public.classes: {count} images have label {label or 'nothing'!r}, which is none of "
        f"{', '.join(pipeline.classes)}; add it, or rename it under [source] labels"
        for label, count in stray.items()
    ]
