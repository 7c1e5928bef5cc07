"""How a table of image files becomes records: patients to reading processes, their tiles into one array."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from attrs import frozen

from privagams.errors import StageError
from privagams.reading.children import Crew, Limits
from privagams.reading.tile_choice import ImageFile, TileSettings
from privagams.reading.tile_store import PackJob, Source, make_array, named_disk_errors
from privagams.reading.tile_worker import CutImage, CutJob, CutResult, TileWork
from privagams.records import TEXT_COLUMNS
from privagams.records_store import open_records, write_table
from privagams.roles import Progress, Reader

__all__ = [
    "Failure",
    "ImageFile",
    "Limits",
    "OpenReader",
    "TileOutcome",
    "TileSettings",
    "cut_tiles",
    "open_records",
]

OpenReader = Callable[[], Reader]
"""Makes a reader. Pickled, since child processes call it: a `functools.partial` of an importable function."""
SCRATCH = "scratch"


@frozen
class Failure:
    """A file that gave no tiles, and why. For the terminal and the private table only: it names the file."""

    path: Path
    reason: str


@frozen
class TileOutcome:
    """What became of the images."""

    patients: int
    """Patients that gave tiles."""
    images: int
    """Images that gave tiles; one that is sound may give none when the patient's other images rank first."""
    tiles: int
    failures: tuple[Failure, ...]
    """Files that could not be read."""
    skipped: tuple[Failure, ...]
    """Sound files without a tile to give: no tissue, or smaller than a tile."""


def cut_tiles(
    images: Sequence[ImageFile],
    open_reader: OpenReader,
    tiles: TileSettings,
    salt: bytes,
    folder: Path,
    workers: int,
    limits: Limits,
    progress: Progress,
) -> TileOutcome:
    """Cut `images` into records under `folder`: a sharded Zarr array and a Parquet table.

    A file that cannot be read, or that kills or hangs the process that reads it, costs itself only. Raises
    `StageError` when nothing could be cut, or something could not be written.

    Guarantee: which tiles a patient gives, and their pixels, depend on `salt` and that patient's images
    alone. `test_another_patients_arrival_moves_nobody` fails without it.
    """
    scratch = folder / SCRATCH
    with named_disk_errors("tiles"):
        scratch.mkdir(parents=True, exist_ok=True)
    jobs = _jobs(images)
    results: dict[int, tuple[CutJob, CutResult]] = {}
    seen = 0

    def cut(job: CutJob, result: CutResult) -> None:
        nonlocal seen
        results[job.number] = (job, result)
        seen += len(job.images)
        progress(seen, 2 * len(images))

    try:
        with Crew(partial(TileWork, open_reader, tiles, salt, folder, scratch), workers, limits) as crew:
            crew.run(jobs, CutJob.without, cut)
            done = [results[job.number] for job in jobs]
            outcome = _outcome(done)
            _pack(
                crew,
                done,
                tiles,
                folder,
                lambda share: progress(int((1 + share) * len(images)), 2 * len(images)),
            )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return outcome


def _jobs(images: Sequence[ImageFile]) -> list[CutJob]:
    """One job for each patient, in an order that no file order moves."""
    by_patient: dict[str, list[ImageFile]] = {}
    for image in sorted(images, key=lambda one: (one.patient, one.slide, one.image)):
        by_patient.setdefault(image.patient, []).append(image)
    return [CutJob(number, tuple(files)) for number, files in enumerate(by_patient.values())]


def _outcome(done: Sequence[tuple[CutJob, CutResult]]) -> TileOutcome:
    failures = tuple(
        Failure(job.images[i].path, why) for job, result in done for i, why in result.lost.items()
    )
    skipped = tuple(
        Failure(job.images[i].path, why) for job, result in done for i, why in result.skipped.items()
    )
    given = [cut for _, result in done for cut in result.given]
    if not given:
        first = [f"{one.path}: {one.reason}" for one in (*failures, *skipped)[:5]]
        raise StageError("\n  ".join(["tiles: none of the images gave a tile; the first of them:", *first]))
    patients = sum(bool(result.given) for _, result in done)
    return TileOutcome(patients, len(given), sum(len(cut.corners) for cut in given), failures, skipped)


def _records(done: Sequence[tuple[CutJob, CutResult]]) -> Iterator[tuple[ImageFile, CutImage, int]]:
    """Every tile with its position in the scratch file, in the order of patient, slide, image, y and x."""
    for job, result in done:
        for cut in result.given:
            for position in sorted(range(len(cut.corners)), key=lambda i: cut.corners[i][::-1]):
                yield job.images[cut.index], cut, position


def _pack(
    crew: Crew,
    done: Sequence[tuple[CutJob, CutResult]],
    tiles: TileSettings,
    folder: Path,
    progress: Callable[[float], None],
) -> None:
    """Write the array, shard by shard, and the table."""
    sources: list[Source] = []
    columns: dict[str, list[object]] = {name: [] for name in (*TEXT_COLUMNS, "x", "y", "mpp", "row")}
    for image, cut, position in _records(done):
        own = {"patient": image.patient, "slide": image.slide, "image": image.image}
        for name in TEXT_COLUMNS:
            columns[name].append(own.get(name) or image.columns.get(name, ""))
        x, y = cut.corners[position]
        for name, value in (
            ("x", x),
            ("y", y),
            ("mpp", np.nan if cut.mpp is None else cut.mpp),
            ("row", len(sources)),
        ):
            columns[name].append(value)
        sources.append((cut.scratch, position))
    shard = make_array(folder, len(sources), (tiles.size, tiles.size, tiles.channels))
    jobs = [PackJob(at, tuple(sources[at : at + shard])) for at in range(0, len(sources), shard)]
    packed = 0

    def note(job: PackJob, _: None) -> None:
        nonlocal packed
        packed += len(job.sources)
        progress(packed / len(sources))

    crew.run(jobs, _no_file_at_fault, note)
    with named_disk_errors("the table"):
        write_table(folder, {name: np.array(values) for name, values in columns.items()})


def _no_file_at_fault(job: PackJob, file: int, reason: str) -> PackJob | None:
    raise StageError(f"tiles: the pixel array could not be written: {reason}; run again")
