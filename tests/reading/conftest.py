"""Real images, images made for the purpose, and a short way to cut them."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from privagams.reading.tiles import ImageFile, Limits, TileOutcome, TileSettings, cut_tiles, open_records
from privagams.records import Records
from privagams_images import ImagesSettings, build_images
from privagams_openslide import OpenSlideSettings, build_openslide

HOSTILE = '''
"""A reader whose files say what they do to the process that opens them."""
import os, resource, time
from pathlib import Path
import numpy as np

class Slide:
    size, mpp = (64, 64), 1.0
    def __init__(self, word):
        self.word = word
    def read(self, x, y, width, height, downsample):
        if self.word == "abort":
            os.abort()
        if self.word == "hang":
            time.sleep(1000)
        if self.word == "eat":
            np.ones(2**33, dtype=np.uint8)
        if self.word == "raise":
            raise RuntimeError("not my day")
        return np.full((height, width, 3), (150, 60, 150), dtype=np.uint8)
    def close(self):
        pass

class Reader:
    def open(self, path):
        word = Path(path).read_text()
        if word == "abort-on-opening":
            os.abort()
        return Slide(word)

def build():
    return Reader()

def build_on_a_full_disk():
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    return Reader()
'''


@pytest.fixture(scope="session")
def data() -> Path:
    folder = Path(os.environ.get("PRIVAGAMS_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (folder / "wsi").is_dir():
        pytest.skip(f"no real images in {folder}; set PRIVAGAMS_DATA")
    return folder


@pytest.fixture(scope="session")
def wsi(data: Path) -> Path:
    return data / "wsi"


@pytest.fixture(scope="session")
def openslide_reader():
    return build_openslide(OpenSlideSettings())


@pytest.fixture(scope="session")
def images_reader():
    return build_images(ImagesSettings())


Cut = Callable[..., tuple[TileOutcome, Records]]


@pytest.fixture(scope="session")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Cut:
    """Cut images with one process, the openslide reader and the salt b"salt" unless told otherwise."""

    def run(
        images: Sequence[ImageFile],
        settings: TileSettings,
        reader: Callable = partial(build_openslide, OpenSlideSettings()),  # noqa: B008
        workers: int = 1,
        limits: Limits | None = None,
        folder: Path | None = None,
    ) -> tuple[TileOutcome, Records]:
        folder = folder or tmp_path_factory.mktemp("records")
        limits = limits or Limits(memory_mb=2048, seconds=60)
        outcome = cut_tiles(
            images, reader, settings, b"salt", folder, workers, limits, lambda done, total: None
        )
        return outcome, open_records(folder, "key")

    return run


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Make files for the reader `hostile_reader`, which child processes can import."""
    (tmp_path / "hostile_reader.py").write_text(HOSTILE)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "files").mkdir()

    def make(word: str) -> Path:
        path = tmp_path / "files" / f"{word}.img"
        path.write_text(word)
        return path

    return make


def stained(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Purple noise, "height width 3"."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(120, 220, (size[1], size[0], 3), dtype=np.uint8)
    pixels[..., 1] //= 2
    return pixels


@pytest.fixture(scope="session")
def regions(tmp_path_factory: pytest.TempPathFactory) -> list[ImageFile]:
    """Four patients with one to three stained PNG regions of 160 × 160 px each."""
    folder = tmp_path_factory.mktemp("regions")
    made = []
    for patient, slides in enumerate((1, 2, 3, 2)):
        for slide in range(slides):
            path = folder / f"SECRET-{patient}-{slide}.png"
            Image.fromarray(stained((160, 160), seed=10 * patient + slide)).save(path)
            made.append(ImageFile(path, f"p{patient}", f"p{patient}s{slide}", f"p{patient}i{slide}"))
    return made


@pytest.fixture(scope="session")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pyramidal TIFF of 2048 × 1024 px at 0.5 µm/px: tissue in the left half, glass in the right."""
    path = tmp_path_factory.mktemp("pyramid") / "pyramid.tiff"
    full = np.full((1024, 2048, 3), 245, dtype=np.uint8)
    full[:, :1024] = stained((1024, 1024))
    with tifffile.TiffWriter(path) as file:
        for level in range(4):
            shrunk = np.asarray(Image.fromarray(full).reduce(2**level))
            file.write(
                shrunk, tile=(256, 256), photometric="rgb", compression="zlib",
                subfiletype=1 if level else 0, resolutionunit="CENTIMETER",
                resolution=(20000 / 2**level, 20000 / 2**level),
            )  # fmt: skip
    return path
