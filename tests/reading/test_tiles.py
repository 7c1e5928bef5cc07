"""Which tiles come out of a table of images, and what is lost when a file is bad."""

import io
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from attrs import evolve
from PIL import Image

from privagams.errors import SlideError, StageError
from privagams.reading.tile_choice import Candidate, grid_of
from privagams.reading.tile_reading import read_all, read_tiles, tissue_of_pixels, tissue_of_slide
from privagams.reading.tiles import ImageFile, Limits, TileSettings
from privagams.records_store import PIXELS, TABLE
from privagams_images import ImagesSettings, build_images

SMALL = TileSettings(size=32, mpp="native", per_patient=12)


def tiles_of(records, patient):
    chosen = records.take(records.patient == patient)
    keys = [
        f"{slide} {x} {y}"
        for slide, x, y in zip(*(chosen.table[n] for n in ("slide", "x", "y")), strict=True)
    ]
    return dict(zip(keys, chosen.read(), strict=True))


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def plain(cut, regions):
    return cut(regions, SMALL)


def test_every_patient_gives_at_most_its_cap_over_all_slides(plain):
    outcome, records = plain
    counts = {patient: int((records.patient == patient).sum()) for patient in records.patients}
    assert counts == {"p0": 12, "p1": 12, "p2": 12, "p3": 12}
    assert outcome.tiles == len(records) == 48
    assert len(set(records.take(records.patient == "p2").table["slide"])) > 1


def test_tiles_are_the_pixels_at_their_place(plain, regions):
    _, records = plain
    paths = {image.image: image.path for image in regions}
    for number in (0, 17, 47):
        x, y = int(records.table["x"][number]), int(records.table["y"][number])
        whole = np.asarray(Image.open(paths[records.table["image"][number]]))
        assert np.array_equal(records.read(np.array([number]))[0], whole[y : y + 32, x : x + 32])


def test_the_order_of_files_changes_nothing(plain, cut, regions):
    _, records = plain
    _, other = cut(regions[::-1], SMALL, workers=2)
    for name in ("patient", "slide", "image", "x", "y"):
        assert list(records.table[name]) == list(other.table[name])
    assert np.array_equal(records.read(), other.read())


def test_another_patients_arrival_moves_nobody(plain, cut, regions, pyramid):
    _, records = plain
    newcomer = ImageFile(pyramid, "o-new", "s", "i")
    _, other = cut([newcomer, *regions], SMALL)
    assert (other.patient == "o-new").sum() == 12
    for patient in ("p0", "p1", "p2", "p3"):
        assert same(tiles_of(records, patient), tiles_of(other, patient))


def test_tiles_do_not_overlap(plain):
    _, records = plain
    places = {
        (image, x // 32, y // 32)
        for image, x, y in zip(*(records.table[n] for n in ("image", "x", "y")), strict=True)
    }
    assert len(places) == len(records)
    assert all(value % 32 == 0 for value in (*records.table["x"], *records.table["y"]))


def test_another_salt_chooses_other_tiles(regions):
    from privagams.reading.tile_choice import best

    places = [(column, row) for column in range(10) for row in range(10)]
    one, other = ({(t.column, t.row) for t in best(salt, regions[0], places, 20)} for salt in (b"a", b"b"))
    assert len(one) == len(other) == 20
    assert one != other


def test_only_tissue_is_cut(cut, pyramid):
    settings = TileSettings(size=32, mpp=1.0, per_patient=1000)
    outcome, records = cut([ImageFile(pyramid, "p", "s", "i")], settings)
    # The left half of 2048 × 1024 px at 0.5 µm/px: 16 × 16 tiles of 64 px at full resolution.
    assert outcome.tiles == 256
    assert records.table["x"].max() < 1024
    assert set(records.table["mpp"]) == {1.0}
    assert records.read().mean() < 200


def test_no_tissue_is_skipped_and_not_a_failure(cut, regions, tmp_path):
    blank, tiny = tmp_path / "blank.png", tmp_path / "tiny.png"
    Image.new("RGB", (128, 128), (244, 243, 245)).save(blank)
    Image.new("RGB", (20, 128), (150, 60, 150)).save(tiny)
    images = [ImageFile(blank, "b", "s", "i"), ImageFile(tiny, "t", "s", "i"), regions[0]]
    outcome, _ = cut(images, SMALL)
    assert {one.path for one in outcome.skipped} == {blank, tiny}
    assert outcome.failures == ()
    assert outcome.patients == 1


def test_a_missing_resolution_is_named_with_the_way_out_and_the_table_can_state_it(cut, regions):
    settings = evolve(SMALL, mpp=1.0)
    stated = [evolve(image, mpp=0.5) for image in regions[1:]]
    outcome, records = cut([regions[0], *stated], settings)
    assert [one.path for one in outcome.failures] == [regions[0].path]
    assert "column `mpp`" in outcome.failures[0].reason
    assert "native" in outcome.failures[0].reason
    assert set(records.table["mpp"]) == {1.0}


@pytest.mark.parametrize(
    ("mpp", "wanted", "downsample"), [(0.5, 2.0, 4.0), (0.2526, 0.25, 1.0), (0.499, 2.0, 2.0 / 0.499)]
)
def test_the_grid_has_the_stated_resolution(mpp, wanted, downsample):
    grid = grid_of((10_000, 5_000), mpp, TileSettings(size=64, mpp=wanted))
    assert grid.downsample == pytest.approx(downsample)
    assert grid.mpp == pytest.approx(mpp * downsample)
    assert grid.columns == int(10_000 // (64 * downsample))


def test_finer_than_the_file_is_refused():
    with pytest.raises(SlideError, match="finer"):
        grid_of((1000, 1000), 0.5, TileSettings(size=64, mpp=0.25))


def test_reading_in_blocks_gives_what_reading_tile_by_tile_gives(openslide_reader, pyramid):
    slide = openslide_reader.open(pyramid)
    for mpp in (0.5, 1.0, 2.0, 1.3):
        grid = grid_of(slide.size, slide.mpp, TileSettings(size=32, mpp=mpp))
        places = [(c, r) for c in range(grid.columns) for r in range(grid.rows) if (c * 7 + r) % 3]
        tiles = [Candidate(bytes([i % 256]), *place) for i, place in enumerate(places[:60])]
        whole = read_all(slide, grid, 32, lambda: None)
        for position, pixels in read_tiles(slide, grid, tiles, 32, lambda: None):
            tile = tiles[position]
            alone = slide.read(*grid.corner(tile.column, tile.row), 32, 32, grid.downsample)
            kept = whole[tile.row * 32 : (tile.row + 1) * 32, tile.column * 32 : (tile.column + 1) * 32]
            limit = 0 if grid.downsample in (1, 2, 4) else 12  # else corners fall between px
            assert np.abs(pixels.astype(int) - alone).mean() <= limit
            assert np.abs(kept.astype(int) - alone).mean() <= limit


def test_both_ways_to_find_tissue_agree(openslide_reader, pyramid):
    slide = openslide_reader.open(pyramid)
    grid = grid_of(slide.size, slide.mpp, TileSettings(size=64, mpp=1.0))
    pixels = read_all(slide, grid, 64, lambda: None)
    one, other = tissue_of_pixels(pixels, grid, 64), tissue_of_slide(slide, grid, lambda: None)
    assert np.array_equal(one >= 0.5, other >= 0.5)
    assert one[:, :8].min() > 0.9
    assert one[:, 8:].max() < 0.1


def test_the_cap_reaches_over_to_sound_slides_when_one_fails_late(cut, regions, tmp_path):
    """A truncated slide often opens; that its tiles fail must not cost the patient's other slides theirs."""
    broken = tmp_path / "truncated.png"
    content = regions[1].path.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    images = [ImageFile(broken, "p1", "zz", "zz"), *regions]
    for settings in (SMALL, evolve(SMALL, tissue=0.0)):
        outcome, records = cut(images, settings)
        assert [one.path for one in outcome.failures] == [broken]
        assert (records.patient == "p1").sum() == 12


def test_bad_files_are_named_and_the_rest_is_done(cut, regions, tmp_path):
    (tmp_path / "empty.svs").write_bytes(b"")
    (tmp_path / "text.svs").write_text("not a slide")
    (tmp_path / "folder.svs").mkdir()
    bad = [tmp_path / name for name in ("empty.svs", "text.svs", "folder.svs", "absent.svs")]
    outcome, records = cut([*regions, *(ImageFile(p, f"x{p.stem}", "s", "i") for p in bad)], SMALL)
    assert {one.path for one in outcome.failures} == set(bad)
    assert all(one.reason for one in outcome.failures)
    assert len(records) == 48


def test_nothing_that_could_be_cut_is_an_error(cut, tmp_path):
    with pytest.raises(StageError, match="no such file"):
        cut([ImageFile(tmp_path / "absent.svs", "p", "s", "i")], SMALL)


def hostile_images(hostile, words):
    sound = [ImageFile(hostile("sound"), f"p{i}", "s", "i") for i in range(3)]
    return [*sound, *(ImageFile(hostile(word), "p1", f"s-{word}", f"i-{word}") for word in words)]


def build_hostile(name):
    import importlib

    return getattr(importlib.import_module("hostile_reader"), name)


def test_a_file_that_aborts_the_process_costs_itself_only(cut, hostile):
    images = hostile_images(hostile, ["abort", "abort-on-opening", "raise", "eat"])
    limits = Limits(memory_mb=1024, seconds=30)
    outcome, records = cut(images, SMALL, reader=build_hostile("build"), limits=limits)
    reasons = {one.path.stem: one.reason for one in outcome.failures}
    assert set(reasons) == {"abort", "abort-on-opening", "raise", "eat"}
    assert "SIGABRT" in reasons["abort"]
    assert "SIGABRT" in reasons["abort-on-opening"]
    assert "not my day" in reasons["raise"]
    assert "memory" in reasons["eat"]
    assert set(records.patients) == {"p0", "p1", "p2"}
    assert len(records) == 3 * 4


def test_a_file_that_hangs_is_given_up(cut, hostile):
    images = hostile_images(hostile, ["hang"])
    limits = Limits(memory_mb=1024, seconds=4)
    outcome, records = cut(images, SMALL, reader=build_hostile("build"), limits=limits)
    assert [one.path.stem for one in outcome.failures] == ["hang"]
    assert "4 s" in outcome.failures[0].reason
    assert len(records) == 12


def test_a_full_disk_is_said_plainly(cut, hostile):
    """A limit on the size of files is what a test can set; the error takes the same path as a full disk's."""
    with pytest.raises(StageError, match="could not be written"):
        cut(hostile_images(hostile, []), SMALL, reader=build_hostile("build_on_a_full_disk"))


def test_records_take_several_shards_and_come_back_in_order(cut, regions, monkeypatch, tmp_path):
    import privagams.reading.tile_store as store

    monkeypatch.setattr(store, "SHARD_BYTES", 10 * 32 * 32 * 3)
    monkeypatch.setattr(store, "CHUNK_RECORDS", 5)
    _, records = cut(regions, SMALL, folder=tmp_path)
    array = zarr.open_array(str(tmp_path / PIXELS))
    assert array.shards == (10, 32, 32, 3)
    assert array.chunks == (5, 32, 32, 3)
    _, plain = cut(regions, evolve(SMALL, per_patient=12))
    assert np.array_equal(records.read(), plain.read())


def test_whole_images_are_fitted_as_asked(cut, tmp_path):
    wide = np.zeros((64, 128, 3), dtype=np.uint8)
    wide[:, :64] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    image = ImageFile(tmp_path / "wide.png", "p", "s", "i")
    reader = partial(build_images, ImagesSettings())
    made = {
        fit: cut([image], TileSettings(size=32, whole=True, fit=fit, grey=True), reader)[1]
        .read()[0, :, :, 0]
        .astype(int)
        for fit in ("pad", "crop", "squash")
    }
    assert (made["pad"][:8] == 0).all()
    assert made["pad"][10:22, 2:14] == pytest.approx(200, abs=3)
    for fit in ("crop", "squash"):
        assert made[fit][:, :14] == pytest.approx(200, abs=3)
        assert made[fit][:, 18:] == pytest.approx(0, abs=3)


def test_a_whole_image_is_never_enlarged(cut, regions, tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "small.png")
    images = [ImageFile(tmp_path / "small.png", "a", "s", "i"), regions[0]]
    outcome, _ = cut(images, TileSettings(size=32, whole=True))
    assert "enlarged" in outcome.failures[0].reason


def test_real_xrays_become_one_grey_record_each(cut, data):
    files = sorted((data / "cxr_nih64" / "images").glob("*.png"))
    modes = {}
    for path in files:
        with Image.open(path) as image:
            modes[path] = image.mode
    chosen = [p for p in files if modes[p] == "RGBA"] + [p for p in files if modes[p] == "RGB"][:40]
    assert len(chosen) == 61
    images = [ImageFile(path, path.name[:8], path.stem, path.stem) for path in chosen]
    settings = TileSettings(size=64, whole=True, grey=True)
    outcome, records = cut(images, settings, partial(build_images, ImagesSettings()))
    assert outcome.failures == ()
    assert records.shape == (64, 64, 1)
    assert len(records) == 61
    assert records.read().std(axis=(1, 2, 3)).min() > 5


@pytest.fixture(scope="module")
def real(cut, wsi, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    truncated = folder / "truncated-1234.svs"
    content = (wsi / "CMU-1-Small-Region.svs").read_bytes()
    truncated.write_bytes(content[: len(content) // 3])
    names = [
        "CMU-1-Small-Region.svs", "CMU-1-Small-Region.derived-pyramid.tiff",
        "TCGA-CR-7395-01A-01-TS1.svs", "camelyon16_lowres_jpeg2000.dcm", "broken.svs",
    ]  # fmt: skip
    images = [ImageFile(wsi / name, f"p{i}", f"s{i}", f"i{i}") for i, name in enumerate(names)]
    images[2] = evolve(images[2], mpp=0.25)
    images.append(ImageFile(truncated, "p9", "s9", "i9"))
    outcome, records = cut(
        images, TileSettings(size=64, mpp=30.0, per_patient=16, tissue=0.1), folder=folder / "out"
    )
    return folder / "out", outcome, records


def test_real_slides_of_every_format_are_cut(real):
    _, outcome, records = real
    assert {one.path.name for one in outcome.failures} == {"broken.svs", "truncated-1234.svs"}
    assert set(records.patients) | {
        f"p{i}" for i in range(4) if any(f"p{i}" in str(o) for o in outcome.skipped)
    }
    assert "p3" in records.patients


def test_names_labels_and_properties_reach_no_byte_of_the_artifact(real):
    folder, _, _ = real
    array = zarr.open_array(str(folder / PIXELS))
    table = folder / TABLE
    written = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    written += repr(dict(array.attrs)).encode() + repr(pq.read_schema(table).metadata).encode()
    plain = io.BytesIO()
    pq.write_table(pq.read_table(table), plain, compression="none", use_dictionary=False)
    written += plain.getvalue()
    for secret in (
        b"CMU",
        b"TCGA",
        b"7395",
        b"camelyon",
        b"truncated",
        b".svs",
        b"Aperio",
        b"aperio",
        b"SECRET",
    ):
        assert secret not in written, secret
    assert not any("scratch" in str(path) for path in folder.rglob("*"))


def test_memory_and_time_limits_have_sound_bounds():
    with pytest.raises(ValueError, match="memory_mb"):
        Limits(memory_mb=1)
    with pytest.raises(ValueError, match="mpp"):
        TileSettings(size=64)
    with pytest.raises(ValueError, match="mpp"):
        TileSettings(size=64, mpp=0.0)
