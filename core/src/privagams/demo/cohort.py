"""What the made-up cohort holds: which patients and slides there are, in which files, and their table."""

from __future__ import annotations

import csv
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from attrs import asdict, frozen

from privagams.demo.signature import signature
from privagams.demo.tiles import render_slide
from privagams.demo.writers import Caption, Format, require_packages, write
from privagams.errors import StageError

FORMATS: tuple[Format, Format, Format] = ("tiff", "dicom", "png")
MPP: dict[Format, float] = {"tiff": 1.0, "dicom": 1.0, "png": 1.25}
"""µm per px at full resolution."""
TWO_SLIDES = 0.6
"""Share of patients with a second slide."""

_SCANNERS: dict[Format, str] = {"tiff": "scanner-a", "dicom": "scanner-b", "png": "camera-c"}
_SITES = ("north", "south", "west")
_GIVEN = ("Zdenka", "Quirin", "Wolfhard", "Xenia", "Yrsa", "Vendelin", "Ottokar", "Ulrike")


@frozen
class Row:
    """One line of `slides.csv`."""

    file: str
    """Relative to the table."""
    patient_id: str
    slide_id: str
    label: str
    mpp: str
    """Only where the file does not state it."""
    scanner: str
    site: str
    block: str
    section: str
    date: str


def make_cohort(
    folder: Path,
    patients: int = 400,
    seed: int = 0,
    processes: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write slides of `patients` invented patients and `slides.csv`; return the table's path.

    Patient number i depends on `(seed, i)` alone, so a larger cohort of one seed holds the smaller ones.
    `signature(i, seed)` is the truth about patient i. What an interrupted call left is written anew.
    Raises `StageError` when the folder holds a cohort, or a package of the extra `demo` is missing.
    """
    require_packages()
    table = folder / "slides.csv"
    if table.exists():
        raise StageError(
            f"{folder}: expected no slides.csv yet, found one; choose another folder, or remove it"
        )
    slides = folder / "slides"
    slides.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for done, written in enumerate(_written(slides, patients, seed, processes or _cores()), start=1):
        rows.extend(written)
        progress(done, patients)
    # The table comes last and whole: where it stands, the cohort is complete.
    draft = folder / "slides.csv.part"
    with draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    return draft.replace(table)


def personal(patient: int, seed: int = 0) -> tuple[str, str, str]:
    """State a patient's made-up id, name and birth date: all files hold them, so that leaks can be found."""
    rng = np.random.default_rng([seed, patient, 0, 0])
    mark = "".join(rng.choice(list("BCDFGHJKLMNPQRSTVWXZ"), 6))
    name = f"{mark.title()}ova^{rng.choice(_GIVEN)}"
    born = f"{rng.integers(1931, 1990)}-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}"
    return f"ZQ{patient:04d}{mark}", name, born


def slides_of(patient: int, seed: int = 0) -> int:
    """State how many slides a patient has."""
    return 2 if np.random.default_rng([seed, patient, 0, 1]).random() < TWO_SLIDES else 1


def _written(folder: Path, patients: int, seed: int, processes: int) -> Iterator[list[Row]]:
    work = partial(_write_patient, folder, seed)
    if processes == 1:
        yield from map(work, range(patients))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(work, range(patients), chunksize=4)


def _write_patient(folder: Path, seed: int, patient: int) -> list[Row]:
    rng = np.random.default_rng([seed, patient, 0, 2])
    identity, name, born = personal(patient, seed)
    site = str(rng.choice(_SITES))
    year, month, day = rng.integers(2012, 2024), rng.integers(1, 13), rng.integers(1, 29, 2)
    rows = []
    for slide in range(slides_of(patient, seed)):
        # Three patients in a row come in all formats; a second slide is never from the first one's scanner.
        kind = FORMATS[(patient + slide) % len(FORMATS)]
        caption = Caption(
            identity, name, born, f"{identity}-S{slide + 1}", f"{year}-{month:02d}-{day[slide]:02d}"
        )
        image, _ = render_slide(patient, slide, MPP[kind], seed)
        path = write(kind, folder, image, MPP[kind], caption)
        rows.append(
            Row(
                file=path.relative_to(folder.parent).as_posix(),
                patient_id=identity,
                slide_id=caption.slide_id,
                label=signature(patient, seed).label,
                mpp=str(MPP[kind]) if kind == "png" else "",
                scanner=_SCANNERS[kind],
                site=site,
                block="AB"[slide],
                section="1",
                date=caption.date,
            )
        )
    return rows


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
