"""Embedding by a network from a local file."""

import hashlib
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from privagams.errors import ConfigError, StageError
from privagams_metrics import WeightsSettings, build_weights
from privagams_metrics.timm_import import import_timm


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    save_file(import_timm().create_model("resnet10t", pretrained=False).state_dict(), path)
    return path


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def settings(path, **others):
    return WeightsSettings(**({"model": "resnet10t", "file": str(path), "size": 64} | others))


def test_torchvision_stays_as_absent_as_it_was():
    import_timm()
    assert "torchvision.transforms" not in sys.modules or hasattr(sys.modules["torchvision"], "__version__")


def test_features_are_the_network_s_own(resnet, pixels):
    net = import_timm().create_model("resnet10t", pretrained=False)
    net.load_state_dict(load_file(resnet))
    net.eval()
    mean, std = (torch.tensor(net.pretrained_cfg[k])[:, None, None] for k in ("mean", "std"))
    with torch.no_grad():
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
        expected = net.forward_head(net.forward_features((images - mean) / std), pre_logits=True)
    found = build_weights(settings(resnet, size=32)).embed(pixels)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_each_row_depends_on_its_image_alone(resnet, pixels):
    embedder = build_weights(settings(resnet, batch=2))
    together = embedder.embed(pixels)
    for i in range(5):
        np.testing.assert_allclose(embedder.embed(pixels[i : i + 1])[0], together[i], rtol=1e-4, atol=1e-5)


def test_grey_images_are_shown_as_grey(resnet, pixels):
    embedder = build_weights(settings(resnet))
    grey = pixels[..., :1]
    np.testing.assert_allclose(
        embedder.embed(grey), embedder.embed(grey.repeat(3, axis=3)), rtol=1e-4, atol=1e-6
    )


def test_no_images_give_no_rows(resnet, pixels):
    embedder = build_weights(settings(resnet))
    assert embedder.embed(pixels[:0]).shape == (0, embedder.embed(pixels).shape[1])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"weights\.file: expected a file at .*none\.safetensors"):
        build_weights(settings(tmp_path / "none.safetensors"))


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin", ".ckpt"])
def test_files_that_can_run_code_are_refused_unopened(tmp_path, ending):
    with pytest.raises(ConfigError, match=r"can run any code; convert it .*save_file"):
        build_weights(settings(tmp_path / f"model{ending}"))


def test_another_architecture_is_told_by_its_tensors(resnet):
    with pytest.raises(ConfigError, match=r"'resnet14t', found \d+ tensors missing: layer1\.0\.bn3\.bias"):
        build_weights(settings(resnet, model="resnet14t"))


def test_tensors_that_do_not_belong_are_told(resnet, tmp_path):
    path = tmp_path / "more.safetensors"
    save_file(load_file(resnet) | {"extra.weight": torch.zeros(1)}, path)
    with pytest.raises(ConfigError, match=r"1 tensors not of this model: extra\.weight"):
        build_weights(settings(path))


def test_an_unknown_architecture_gets_a_suggestion(resnet):
    with pytest.raises(ConfigError, match=r"found 'resnet10'; did you mean .*resnet10t"):
        build_weights(settings(resnet, model="resnet10"))


@pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/somewhere"])
def test_names_that_would_fetch_or_read_elsewhere_are_refused(resnet, name):
    with pytest.raises(ConfigError, match=r"weights\.model: expected an architecture"):
        build_weights(settings(resnet, model=name))


def test_a_changed_file_is_refused_by_its_checksum(resnet, tmp_path):
    right = hashlib.sha256(resnet.read_bytes()).hexdigest()
    build_weights(settings(resnet, sha256=right))
    changed = bytearray(resnet.read_bytes())
    changed[-1] ^= 1
    path = tmp_path / "changed.safetensors"
    path.write_bytes(changed)
    with pytest.raises(StageError, match="expected sha256"):
        build_weights(settings(path, sha256=right))


def test_a_truncated_file_is_told(resnet, tmp_path):
    path = tmp_path / "short.safetensors"
    path.write_bytes(resnet.read_bytes()[:-100])
    with pytest.raises(StageError, match="found a damaged one"):
        build_weights(settings(path))


def test_weights_that_are_not_finite_are_told(resnet, tmp_path):
    path = tmp_path / "nan.safetensors"
    save_file(load_file(resnet) | {"bn1.weight": torch.full((32,), torch.nan)}, path)
    with pytest.raises(StageError, match=r"finite numbers, found others in bn1\.weight"):
        build_weights(settings(path))


def test_a_size_that_the_network_cannot_take_is_told(tmp_path):
    path = tmp_path / "vit.safetensors"
    net = import_timm().create_model("test_vit", pretrained=False)
    save_file(net.state_dict(), path)
    assert build_weights(settings(path, model="test_vit", size=None)).embed(
        np.zeros((1, 16, 16, 1), dtype=np.uint8)
    ).shape == (1, net.num_features)
    with pytest.raises(ConfigError, match="leave size out"):
        build_weights(settings(path, model="test_vit", size=64))


def test_weights_that_learnt_from_members_are_refused(resnet, tmp_path):
    """An embedder that knows members would carry them into scores and attacks, past every claim."""
    path = tmp_path / "own.safetensors"
    save_file(load_file(resnet), path, {"learnt from": "members"})
    with pytest.raises(ConfigError, match="learnt from others than members"):
        build_weights(settings(path))
