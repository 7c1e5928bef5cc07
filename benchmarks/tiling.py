"""Tiling against a bare openslide-python loop, in tiles per second, and the memory that a large slide takes.

Run by hand: `python benchmarks/tiling.py [--tiles 20000]`. Real slides come from PRIVAGAMS_DATA. Only ratios
within one run mean something; CPU seconds are compared as well, since other work on the machine moves the
clock. Start-up (imports of the reading processes) is left out: by the clock, which starts when each process
has done its first slide, and by the CPU seconds of a run of one slide, which are taken off.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import openslide
import psutil
import tifffile
from attrs import frozen
from PIL import Image

from privagams.reading.tiles import ImageFile, Limits, TileSettings, cut_tiles
from privagams_openslide import build_openslide
from privagams_openslide.settings import OpenSlideSettings

DATA = Path(os.environ.get("PRIVAGAMS_DATA", Path(__file__).parents[2] / "shared" / "data"))
SLIDE = DATA / "wsi" / "CMU-1-Small-Region.svs"


CASES = {
    "64 px at 2 µm/px, tissue": TileSettings(size=64, mpp=2.0, per_patient=10**6),
    "64 px at 2 µm/px, all": TileSettings(size=64, mpp=2.0, per_patient=10**6, tissue=0.0),
    "256 px native, tissue": TileSettings(size=256, mpp="native", per_patient=10**6),
    "256 px native, all": TileSettings(size=256, mpp="native", per_patient=10**6, tissue=0.0),
}


def bare(count: int, size: int, downsample: float) -> float:
    """Tiles per CPU second of a loop that reads tile by tile, shrinks where asked, and keeps nothing."""
    step = size * downsample
    done, started = 0, time.process_time()
    while done < count:
        with openslide.OpenSlide(SLIDE) as slide:
            for row, column in np.ndindex(grid(step)):
                at = (round(column * step), round(row * step))
                tile = slide.read_region(at, 0, (round(step), round(step))).convert("RGB")
                if downsample > 1:
                    tile = tile.resize((size, size), Image.Resampling.BOX)
                np.asarray(tile)
                done += 1
    return done / (time.process_time() - started)


def grid(step: float) -> tuple[int, int]:
    with openslide.OpenSlide(SLIDE) as slide:
        return int(slide.dimensions[1] // step), int(slide.dimensions[0] // step)


@frozen
class Cost:
    wall: float
    cpu: float


def cut(folder: Path, slides: int, settings: TileSettings, workers: int) -> Cost:
    """Cut the slide under `slides` names; the wall clock starts when every process has done its first."""
    images = [ImageFile(SLIDE, f"p{i:05}", f"s{i:05}", f"i{i:05}") for i in range(slides)]
    clock: list[float] = []

    def progress(done: int, total: int) -> None:
        if not clock and done >= workers:
            clock.append(time.perf_counter())

    cpu = used()
    reader = partial(build_openslide, OpenSlideSettings())
    cut_tiles(images, reader, settings, b"salt", folder, workers, Limits(), progress)
    shutil.rmtree(folder)
    return Cost(time.perf_counter() - clock[0], used() - cpu)


def used() -> float:
    """CPU seconds of this process and of its children that have ended."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


def speed(count: int, folder: Path) -> None:
    print("tiles of the real SVS (one level, JPEG); a tile without tissue is read and counted, but not kept")
    print(f"{'':>26} {'tiles':>6} | {'tiles per CPU second':^24} | {'tiles per second, by the clock':^30}")
    print(
        f"{'':>26} {'':>6} | {'bare':>7} {'ours':>7} {'ratio':>7}  | {'1 process':>10} {'2':>8} {'ratio':>8}"
    )
    for name, settings in CASES.items():
        downsample = 1.0 if settings.mpp == "native" else float(settings.mpp or 0) / 0.499
        per_slide = int(np.prod(grid(settings.size * downsample)))
        slides = -(-count // per_slide)
        tiles = slides * per_slide
        loop = bare(tiles // 2, settings.size, downsample)
        start = cut(folder / "start", 1, settings, 1)
        one = cut(folder / "one", slides + 1, settings, 1)
        two = cut(folder / "two", slides + 2, settings, 2)
        loop = (loop + bare(tiles // 2, settings.size, downsample)) / 2
        ours = tiles / (one.cpu - start.cpu)
        print(
            f"{name:>26} {tiles:6} | {loop:7.0f} {ours:7.0f} {ours / loop:7.2f}  | "
            f"{tiles / one.wall:10.0f} {tiles / two.wall:8.0f} {one.wall / two.wall:8.2f}",
            flush=True,
        )


def make_large(path: Path, side: int, levels: int) -> None:
    """Write a tiled JPEG TIFF of `side`² px, streamed: a stained disc on glass."""

    def tiles(length: int) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(0)
        stained = rng.integers(120, 220, (256, 256, 3), dtype=np.uint8)
        stained[..., 1] //= 2
        glass = np.full((256, 256, 3), 245, dtype=np.uint8)
        axis = (np.arange(256) - length / 2) / length
        for row, column in np.ndindex((-(-length // 256),) * 2):
            down, across = axis + row * 256 / length, axis + column * 256 / length
            inside = down[:, None] ** 2 + across[None, :] ** 2 < 0.16
            yield np.where(inside[..., None], stained, glass)

    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(levels):
            length = side // 2**level
            file.write(
                tiles(length), shape=(length, length, 3), dtype="uint8", tile=(256, 256), photometric="rgb",
                compression="jpeg", compressionargs={"level": 80}, subfiletype=1 if level else 0,
                resolutionunit="CENTIMETER", resolution=(40000 / 2**level, 40000 / 2**level),
            )  # fmt: skip


def peak_memory(folder: Path, side: int) -> None:
    print(f"\npeak resident memory of all processes together, TIFF of {side} × {side} px")
    for name, levels in (("pyramid", 7), ("one level", 1)):
        path = folder / "large.tiff"
        make_large(path, side, levels)
        image = ImageFile(path, "p", "s", "i")
        for size, mpp, per_patient in ((64, 2.0, 64), (256, 0.25, 2000)):
            settings = TileSettings(size=size, mpp=mpp, per_patient=per_patient)
            with _Watch() as watch:
                started = time.perf_counter()
                outcome = cut_tiles(
                    [image], partial(build_openslide, OpenSlideSettings()), settings, b"salt", folder / "out",
                    1, Limits(), lambda done, total: None,
                )  # fmt: skip
            shutil.rmtree(folder / "out")
            seconds = time.perf_counter() - started
            print(
                f"{name:>10}, {size} px at {mpp} µm/px: {outcome.tiles:5} tiles in {seconds:5.1f} s, "
                f"one process at most {watch.largest / 2**20:5.0f} MiB, "
                f"together {watch.together / 2**20:5.0f} MiB"
            )
        path.unlink()


class _Watch:
    """Samples the memory of this process and its children, twenty times a second."""

    def __enter__(self) -> _Watch:
        self.largest = self.together = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.05):
            sizes = []
            for process in (me, *me.children(recursive=True)):
                try:
                    sizes.append(process.memory_info().rss)
                except psutil.Error:
                    continue  # ended meanwhile
            self.largest, self.together = max(self.largest, *sizes), max(self.together, sum(sizes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=30_000, help="of the large slide, px; 0 leaves it out")
    parser.add_argument("--folder", type=Path, help="where scratch files go (by default the system's)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
        speed(chosen.tiles, Path(scratch))
        if chosen.side:
            peak_memory(Path(scratch), chosen.side)
    print(f"\n{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
