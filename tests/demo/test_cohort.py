"""The demo cohort: readable slides in three formats, and a truth that tests may rely on."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image

from privagams.demo.cohort import MPP, make_cohort, personal, slides_of
from privagams.demo.signature import CLASSES, cut, signature
from privagams.demo.tiles import render_slide, render_tiles
from privagams.errors import StageError

PATIENTS = 6


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("cohort"), PATIENTS, processes=2).parent


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "slides.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def patient_number(row: dict[str, str]) -> int:
    return int(row["patient_id"][2:6])


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in (folder / "slides").rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_every_file_opens_with_the_size_the_mpp_and_the_colours_that_were_drawn(cohort: Path) -> None:
    kinds = {".tiff": "tiff", ".dcm": "dicom", ".png": "png"}
    vendors = {"tiff": "generic-tiff", "dicom": "dicom", "png": None}
    seen = set()
    for row in rows(cohort):
        path = cohort / row["file"]
        kind = kinds[path.suffix]
        seen.add(kind)
        slide = openslide.open_slide(path)
        drawn, _ = render_slide(patient_number(row), int(row["slide_id"][-1]) - 1, MPP[kind])
        assert slide.properties.get("openslide.vendor") == vendors[kind]
        stated = row["mpp"] if kind == "png" else slide.properties["openslide.mpp-x"]
        assert float(stated) == pytest.approx(MPP[kind])
        assert slide.dimensions == (drawn.shape[1], drawn.shape[0])
        assert slide.level_count == (1 if kind == "png" else 2)
        read = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"), dtype=float)
        assert np.abs(read - drawn).mean() < 6
        assert np.abs((read - drawn).mean((0, 1))).max() < 1.5
        slide.close()
    assert seen == set(kinds.values())


def test_a_slide_shows_the_same_picture_on_both_levels(cohort: Path) -> None:
    for suffix in ("*.tiff", "*/*level0.dcm"):
        slide = openslide.OpenSlide(next((cohort / "slides").glob(suffix)))
        width, height = slide.level_dimensions[1]
        small = slide.read_region((0, 0), 1, (width, height)).convert("RGB")
        fine = slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")
        shrunk = fine.resize((width, height), Image.Resampling.BOX)
        assert np.abs(np.asarray(small, dtype=float) - np.asarray(shrunk, dtype=float)).mean() < 6


def test_the_table_says_mpp_only_where_the_file_does_not(cohort: Path) -> None:
    for row in rows(cohort):
        assert bool(row["mpp"]) == row["file"].endswith(".png")


def test_a_larger_cohort_holds_the_smaller_one_byte_for_byte(cohort: Path, tmp_path: Path) -> None:
    small = make_cohort(tmp_path / "small", 3, processes=1).parent
    large = digests(cohort)
    assert digests(small).items() <= large.items()
    assert rows(small) == rows(cohort)[: len(rows(small))]


def test_another_seed_gives_other_patients() -> None:
    assert signature(0, seed=0) != signature(0, seed=1)
    assert personal(0, seed=0) != personal(0, seed=1)
    assert not np.array_equal(render_tiles([0], 2, 32, seed=0)[0], render_tiles([0], 2, 32, seed=1)[0])


def test_the_table_states_the_known_truth(cohort: Path) -> None:
    for row in rows(cohort):
        assert row["label"] == signature(patient_number(row)).label
    for patient in range(PATIENTS):
        own = [row for row in rows(cohort) if patient_number(row) == patient]
        assert len(own) == slides_of(patient)
        assert {row["patient_id"] for row in own} == {personal(patient)[0]}
        assert len({row["scanner"] for row in own}) == len(own)


def test_classes_are_even_and_most_patients_have_two_slides() -> None:
    tumours = np.mean([signature(patient).label == "tumour" for patient in range(1000)])
    two = np.mean([slides_of(patient) == 2 for patient in range(1000)])
    assert tumours == pytest.approx(0.5, abs=0.05)
    assert two == pytest.approx(0.6, abs=0.05)


def test_each_file_carries_made_up_personal_data_that_a_leak_would_show(cohort: Path) -> None:
    for row in rows(cohort):
        identity, name, _ = personal(patient_number(row))
        content = (cohort / row["file"]).read_bytes()
        assert identity.encode() in content
        assert name.encode() in content
        assert identity in Path(row["file"]).name


@pytest.fixture(scope="module")
def two_slides() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Tiles of the first slide and of the second, their patients and their classes."""
    first, owner, label = render_tiles(range(16), 8, 32, slide=0)
    return first, render_tiles(range(16), 8, 32, slide=1)[0], owner, label


def test_tumour_tiles_are_darker_than_benign_ones(two_slides: tuple[np.ndarray, ...]) -> None:
    pixels, _, _, label = two_slides
    darkness = 255 - pixels.mean((1, 2, 3))
    tumour = label == CLASSES.index("tumour")
    assert darkness[tumour].mean() > darkness[~tumour].mean() + 10


def test_two_slides_of_one_patient_share_a_signature_but_not_pixels(
    two_slides: tuple[np.ndarray, ...],
) -> None:
    first, second, owner, _ = two_slides
    assert first.shape == second.shape == (16 * 8, 32, 32, 3)
    assert first.dtype == np.uint8
    assert list(owner) == [patient for patient in range(16) for _ in range(8)]
    assert not np.array_equal(first, second)
    distances = np.linalg.norm(_statistics(first)[:, None] - _statistics(second)[None], axis=-1)
    found = (distances.argmin(axis=1) == np.arange(16)).sum()
    # By chance 1 of 16 is found; 7 or more once in 12,000 matchings.
    assert found >= 7


def _statistics(pixels: np.ndarray) -> np.ndarray:
    """Quantiles of colour over a patient's tiles, standardised."""
    quantiles = np.percentile(pixels.reshape(16, -1, 3), [10, 30, 50, 70], axis=1).transpose(1, 0, 2)
    flat = quantiles.reshape(16, -1)
    return (flat - flat.mean(0)) / flat.std(0)


def test_a_second_cut_is_a_slight_shift_of_the_same_patient() -> None:
    truth, first, second = signature(5), cut(5, 0), cut(5, 1)
    assert first != second
    assert first.gland_radius == second.gland_radius == truth.gland_radius
    assert first.eosin_strength == pytest.approx(truth.eosin_strength, rel=0.15)


def test_a_slide_has_tissue_and_glass() -> None:
    for patient in range(6):
        image, tissue = render_slide(patient, 0, 2.0)
        assert 0.2 < tissue.mean() < 0.95
        assert image[~tissue].mean() > 225 > image[tissue].mean()


def test_a_missing_package_is_named_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(StageError, match=r'pydicom.*pip install "privagams\[demo\]"'):
        make_cohort(tmp_path, 1)
    assert not list(tmp_path.iterdir())


def test_a_finished_cohort_is_not_overwritten(cohort: Path) -> None:
    with pytest.raises(StageError, match=r"expected no slides\.csv yet"):
        make_cohort(cohort, 1)


def test_an_interrupted_cohort_can_be_made_again(tmp_path: Path) -> None:
    (tmp_path / "slides" / f"{personal(1)[0]}-S1").mkdir(parents=True)
    (tmp_path / "slides" / f"{personal(0)[0]}-S1.tiff").write_bytes(b"half")
    make_cohort(tmp_path, 2, processes=1)
    for row in rows(tmp_path):
        openslide.open_slide(tmp_path / row["file"]).close()
