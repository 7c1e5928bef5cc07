"""How tiles lie on disk while they are cut, and how they get into shards without one process holding many."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import numpy as np
from attrs import frozen

from privagams.errors import StageError
from privagams.records_store import PIXELS

CHUNK_BYTES, CHUNK_RECORDS = 2**20, 32
"""What is read at once from disk: at most so many bytes before compression, and so many records."""
SHARD_BYTES, SHARD_RECORDS = 48 * 2**20, 4096
"""What one file of the array holds at most; one process holds as much in memory."""


@contextmanager
def named_disk_errors(what: str) -> Iterator[None]:
    """Turn an `OSError` while writing into a `StageError` that says what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        wrong = (
            "the disk is full" if full else f"the disk refused it ({error.strerror or type(error).__name__})"
        )
        next_step = "make room and run again" if full else "see to the folder of the runs and run again"
        raise StageError(f"tiles: {what} could not be written: {wrong}; {next_step}") from error


class Scratch:
    """One image's tiles as raw bytes, in the order of their rank."""

    def __init__(self, path: Path, record_bytes: int) -> None:
        self._record_bytes = record_bytes
        with named_disk_errors("tiles"):
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def put(self, position: int, pixels: np.ndarray) -> None:
        with named_disk_errors("tiles"):
            view = np.ascontiguousarray(pixels).reshape(-1).data
            at, written = position * self._record_bytes, 0
            while written < self._record_bytes:
                written += os.pwrite(self._file, view[written:], at + written)

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Source = tuple[Path, int]
"""A scratch file and a position in it."""


@frozen
class PackJob:
    """One shard: rows from `start` on and where each waits."""

    start: int
    sources: tuple[Source, ...]


def make_array(folder: Path, records: int, shape: tuple[int, int, int]) -> int:
    """Make the empty array; returns the records of one shard."""
    import zarr
    from zarr.codecs import ZstdCodec

    record_bytes = int(np.prod(shape))
    chunk = max(1, min(CHUNK_RECORDS, CHUNK_BYTES // record_bytes))
    chunks = max(1, min(SHARD_BYTES // (chunk * record_bytes), SHARD_RECORDS // chunk, -(-records // chunk)))
    with named_disk_errors("the pixel array"):
        zarr.create_array(
            store=folder / PIXELS,
            shape=(records, *shape),
            dtype="uint8",
            chunks=(chunk, *shape),
            shards=(chunk * chunks, *shape),
            # Level -5 is twice as fast as 1 on stained tissue and takes 7 % more room.
            compressors=[ZstdCodec(level=-5)],
            fill_value=0,
        )
    return chunk * chunks


def pack(folder: Path, job: PackJob) -> None:
    """Write one shard, whole: so each is written once, by one process."""
    import zarr

    array = zarr.open_array(folder / PIXELS, mode="r+")
    rows = np.empty((len(job.sources), *array.shape[1:]), dtype=np.uint8)
    flat = rows.reshape(len(rows), -1)
    with named_disk_errors("the pixel array"):
        for path, wanted in groupby(enumerate(job.sources), key=lambda one: one[1][0]):
            with path.open("rb", buffering=0) as file:
                for row, (_, position) in wanted:
                    file.seek(position * flat.shape[1])
                    if file.readinto(memoryview(flat[row])) != flat.shape[1]:
                        raise OSError(errno.EIO, "a scratch file is shorter than it was written")
        array[job.start : job.start + len(rows)] = rows
