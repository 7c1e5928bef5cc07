"""Records on disk: pixels in sharded Zarr, the table in Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from privagams.records import Records

CHUNK = 32
SHARD = 1024
PIXELS = "pixels.zarr"
TABLE = "records.parquet"


def create_pixels(folder: Path, shape: tuple[int, int, int, int]) -> Any:
    """Make an empty Zarr array, uint8 "n h w c", whose shards of `SHARD` records are written whole."""
    import zarr
    from zarr.codecs import BloscCodec

    _, height, width, channels = shape
    return zarr.create_array(
        store=str(folder / PIXELS), shape=shape, dtype="uint8", chunks=(CHUNK, height, width, channels),
        shards=(SHARD, height, width, channels), compressors=BloscCodec(cname="zstd", clevel=1), fill_value=0,
    )  # fmt: skip


def write_table(folder: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write the table; its column `row` says which row of the pixels each record is."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table({name: pa.array(column.tolist()) for name, column in columns.items()}), folder / TABLE
    )


def write_records(folder: Path, pixels: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
    """Write records that are in memory."""
    array = create_pixels(folder, pixels.shape)
    for start in range(0, len(pixels), SHARD):
        array[start : start + SHARD] = pixels[start : start + SHARD]
    write_table(folder, {**columns, "row": np.arange(len(pixels))})


def open_records(folder: Path, origin: str) -> Records:
    """Open an artifact's records; pixels stay on disk until they are read."""
    import pyarrow.parquet as pq
    import zarr

    table = pq.ParquetFile(folder / TABLE).read()
    columns = {name: _column(table.column(name).to_pylist()) for name in table.column_names}
    rows = columns.pop("row").astype(np.int64)
    return Records(zarr.open_array(store=str(folder / PIXELS), mode="r"), columns, rows, origin)


def _column(values: list[Any]) -> np.ndarray:
    return np.array(values, dtype=str) if values and isinstance(values[0], str) else np.array(values)
