"""What readers give, and what never gets past them."""

import struct
import zlib
from pathlib import Path

import numpy as np
import openslide
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from privagams.errors import SlideError
from privagams.reading.slides import Level, read_levels
from privagams_images import ImagesSettings, build_images

PUBLIC = {"size", "mpp", "read", "close", "downsamples"}


@pytest.mark.parametrize(
    ("name", "size", "mpp"),
    [
        ("CMU-1-Small-Region.svs", (2220, 2967), 0.499),
        ("CMU-1-Small-Region.derived-pyramid.tiff", (2220, 2967), 0.499),
        ("TCGA-CR-7395-01A-01-TS1.svs", (4443, 3567), None),
        ("camelyon16_lowres_jpeg2000.dcm", (1696, 812), 28.9685),
    ],
)
def test_openslide_reads_every_real_slide_and_never_guesses_the_resolution(
    wsi, openslide_reader, name, size, mpp
):
    slide = openslide_reader.open(wsi / name)
    assert slide.size == size
    assert slide.mpp == (None if mpp is None else pytest.approx(mpp, rel=1e-4))
    pixels = slide.read(size[0] // 2, size[1] // 2, 64, 48, 2.0)
    assert pixels.shape == (48, 64, 3)
    assert pixels.dtype == np.uint8
    assert pixels.std() > 1
    slide.close()


def test_a_broken_slide_is_refused_without_its_name(wsi, openslide_reader):
    with pytest.raises(SlideError) as caught:
        openslide_reader.open(wsi / "broken.svs")
    assert "broken" not in str(caught.value)


def test_a_read_at_full_resolution_is_what_openslide_returns(wsi, openslide_reader):
    path = wsi / "CMU-1-Small-Region.svs"
    with openslide.OpenSlide(path) as raw:
        expected = np.asarray(raw.read_region((700, 800), 0, (128, 96)).convert("RGB"))
    assert np.array_equal(openslide_reader.open(path).read(700, 800, 128, 96, 1.0), expected)


def test_shrinking_averages_the_area(openslide_reader, pyramid):
    slide = openslide_reader.open(pyramid)
    for downsample in (2.0, 3.0, 4.008, 7.9, 16.0):
        side = int(256 // downsample)
        exact = slide.read(256, 256, round(side * downsample), round(side * downsample), 1.0).mean((0, 1))
        assert slide.read(256, 256, side, side, downsample).mean((0, 1)) == pytest.approx(exact, abs=2.0)


def test_white_does_not_bleed_into_the_edges(images_reader, tmp_path):
    Image.new("RGB", (300, 300)).save(tmp_path / "black.png")
    slide = images_reader.open(tmp_path / "black.png")
    for downsample in (1.0, 1.5, 2.0, 3.0, 7.5):
        side = round(300 / downsample)
        assert (slide.read(0, 0, side, side, downsample) == 0).all()


def test_what_lies_outside_is_white(openslide_reader, pyramid):
    slide = openslide_reader.open(pyramid)
    for downsample in (1.0, 5.0, 8.0):
        pixels = slide.read(-400, -400, 100, 100, downsample)
        assert (pixels[:, :5] == 255).all()
        inside, skip = slide.read(0, 0, 100, 100, downsample), round(400 / downsample)
        if skip < 100:
            assert np.abs(pixels[skip:, skip:].astype(int) - inside[:-skip, :-skip]).mean() < 1
    assert (slide.read(10**6, 10**6, 8, 8, 2.0) == 255).all()


def test_a_read_of_any_size_fetches_pieces_of_bounded_size():
    largest = 0

    def fetch(level: int, x: int, y: int, width: int, height: int) -> Image.Image:
        nonlocal largest
        largest = max(largest, width * height)
        return Image.new("RGB", (width, height), (10, 20, 30))

    out = read_levels(fetch, [Level((40_000, 40_000), 1.0)], 0, 0, 300, 300, 100.0)
    assert (out == (10, 20, 30)).all()
    assert largest <= 2600**2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what TIAToolbox's own imports warn of is not ours
@pytest.mark.parametrize("downsample", [1.0, 2.0 / 0.499, 8.0])
def test_tiatoolbox_and_openslide_read_the_same_tile(wsi, openslide_reader, downsample):
    tiatoolbox = pytest.importorskip("privagams_tiatoolbox")
    reader = tiatoolbox.build_tiatoolbox(tiatoolbox.TiatoolboxSettings())
    for name in ("CMU-1-Small-Region.svs", "CMU-1-Small-Region.derived-pyramid.tiff"):
        ours, theirs = openslide_reader.open(wsi / name), reader.open(wsi / name)
        assert theirs.size == ours.size
        assert theirs.mpp == pytest.approx(ours.mpp)
        for corner in ((600, 900), (-20, -30), (2100, 2900)):
            one, other = (s.read(*corner, 64, 64, downsample).astype(int) for s in (ours, theirs))
            assert np.abs(one - other).max() <= 1  # of 255


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_tiatoolbox_does_not_guess_the_resolution_either(wsi, tmp_path):
    tiatoolbox = pytest.importorskip("privagams_tiatoolbox")
    reader = tiatoolbox.build_tiatoolbox(tiatoolbox.TiatoolboxSettings())
    # The real slide, less its resolution; it still states a magnification, and TIAToolbox infers 0.5 µm/px.
    path = tmp_path / "magnified.svs"
    content = (wsi / "CMU-1-Small-Region.svs").read_bytes()
    assert b"AppMag = 20" in content
    path.write_bytes(content.replace(b"MPP = ", b"XXX = "))
    from tiatoolbox.wsicore.wsireader import WSIReader

    assert WSIReader.open(path).info.mpp is not None
    assert reader.open(path).mpp is None
    assert reader.open(wsi / "camelyon16_lowres_jpeg2000.dcm").mpp == pytest.approx(28.9685)
    with pytest.raises(SlideError):
        reader.open(wsi / "broken.svs")


def test_nothing_but_pixels_gets_past_a_reader(wsi, openslide_reader, images_reader, tmp_path):
    plain = tmp_path / "SECRET.png"
    Image.new("RGB", (16, 16)).save(plain)
    slides = [openslide_reader.open(wsi / "CMU-1-Small-Region.svs"), images_reader.open(plain)]
    for slide in slides:
        offered = {name for name in dir(slide) if not name.startswith("_")}
        assert offered <= PUBLIC
        assert "SECRET" not in repr(slide)


def test_the_label_of_the_real_slide_is_never_opened(wsi, openslide_reader, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("an associated image was opened")

    monkeypatch.setattr(openslide.lowlevel, "read_associated_image", refuse)
    monkeypatch.setattr(openslide.lowlevel, "get_associated_image_names", refuse)
    slide = openslide_reader.open(wsi / "CMU-1-Small-Region.svs")
    assert slide.mpp
    assert slide.read(0, 0, 32, 32, 4.0).shape == (32, 32, 3)


def test_transparency_becomes_white(images_reader, openslide_reader, tmp_path):
    path = tmp_path / "clear.png"
    Image.new("RGBA", (32, 32), (200, 0, 0, 0)).save(path)
    for reader in (images_reader, openslide_reader):
        assert (reader.open(path).read(0, 0, 32, 32, 1.0) == 255).all()


def test_an_image_bomb_is_refused_by_what_it_declares(images_reader, openslide_reader, tmp_path):
    for side in (30_000, 2_000_000):
        path = tmp_path / f"{side}.png"
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
        body = b"".join(
            struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
        )
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
        for reader in (images_reader, openslide_reader):
            with pytest.raises(SlideError, match="declares"):
                reader.open(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\x00junk"]
)
def test_what_is_no_image_is_refused(images_reader, openslide_reader, tmp_path, content):
    path = tmp_path / "SECRET.png"
    path.write_bytes(content)
    for reader in (images_reader, openslide_reader):
        with pytest.raises(SlideError) as caught:
            reader.open(path).read(0, 0, 4, 4, 1.0)
        assert "SECRET" not in str(caught.value)


def test_grey_of_16_bits_keeps_its_order(images_reader, tmp_path):
    ramp = np.linspace(100, 4000, 64 * 64, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", ramp)
    tifffile.imwrite(tmp_path / "b.tif", ramp, photometric="miniswhite")
    for name, turned in (("a.png", False), ("a.tif", False), ("b.tif", True)):
        grey = images_reader.open(tmp_path / name).read(0, 0, 64, 64, 1.0)[..., 0].ravel().astype(int)
        grey = grey[::-1] if turned else grey
        assert (np.diff(grey) >= 0).all()
        assert (grey[0], grey[-1]) == (0, 255)


def test_a_tiff_states_its_resolution_per_centimetre_only(images_reader, tmp_path):
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "cm.tif", pixels, resolution=(20000, 20000), resolutionunit="CENTIMETER")
    tifffile.imwrite(tmp_path / "inch.tif", pixels, resolution=(300, 300), resolutionunit="INCH")
    assert images_reader.open(tmp_path / "cm.tif").mpp == pytest.approx(0.5)
    assert images_reader.open(tmp_path / "inch.tif").mpp is None


def xray(path: Path, stored: np.ndarray, **tags: object) -> Path:
    """Write a DICOM X-ray of 12 bits."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = (
        SecondaryCaptureImageStorage,
        ExplicitVRLittleEndian,
    )
    meta.MediaStorageSOPInstanceUID = generate_uid()
    made = Dataset()
    made.file_meta = meta
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.PatientName, made.PatientID = "SECRET^NAME", "SECRET-ID"
    made.Rows, made.Columns = stored.shape
    made.SamplesPerPixel, made.PixelRepresentation = 1, 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    made.PhotometricInterpretation = "MONOCHROME2"
    made.PixelData = stored.astype("<u2").tobytes()
    for name, value in tags.items():
        setattr(made, name, value)
    pydicom.dcmwrite(path, made, enforce_file_format=True)
    return path


RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def shown(reader, path: Path) -> np.ndarray:
    return reader.open(path).read(0, 0, 64, 64, 1.0)[..., 0].ravel().astype(int)


def test_monochrome1_is_turned_round(images_reader, tmp_path):
    up = shown(images_reader, xray(tmp_path / "up", RAMP))
    down = shown(images_reader, xray(tmp_path / "down", RAMP, PhotometricInterpretation="MONOCHROME1"))
    assert (up[0], up[-1]) == (0, 255)
    assert np.array_equal(down, 255 - up)


def test_a_window_cuts_and_stretches_after_the_rescale(images_reader, tmp_path):
    tags = {"WindowCenter": [600, 40], "WindowWidth": [401, 80], "RescaleSlope": 2, "RescaleIntercept": -1000}
    grey = shown(images_reader, xray(tmp_path / "x", RAMP, **tags))
    # Rescaled 2 v − 1000 is black to 399.5 (stored 699), white from 799.5 (stored 900): PS3.3 C.11.2.1.2.
    assert (grey[:700] == 0).all()
    assert (grey[900:] == 255).all()
    assert grey[800] == pytest.approx(127.5, abs=2)


def test_padding_does_not_set_the_range(images_reader, tmp_path):
    stored = RAMP.copy() // 4 + 1000
    stored[0] = 4095
    grey = shown(images_reader, xray(tmp_path / "x", stored, PixelPaddingValue=4095))
    assert grey[-1] == 255
    assert grey[64] < 10


def test_burned_in_text_is_refused_unless_allowed(images_reader, tmp_path):
    path = xray(tmp_path / "x", RAMP, BurnedInAnnotation="YES")
    with pytest.raises(SlideError, match="burned"):
        images_reader.open(path)
    assert build_images(ImagesSettings(burned_in=True)).open(path).size == (64, 64)


def test_spacing_of_an_xray_is_its_resolution(images_reader, tmp_path):
    assert images_reader.open(xray(tmp_path / "x", RAMP, PixelSpacing=[0.139, 0.139])).mpp == pytest.approx(
        139
    )


def test_damaged_dicom_is_refused_without_its_tags(images_reader, tmp_path):
    path = xray(tmp_path / "x", RAMP)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(SlideError) as caught:
        images_reader.open(path).read(0, 0, 8, 8, 1.0)
    assert "SECRET" not in str(caught.value)
