"""Weights of an earlier run as a start, and files that are refused."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from privagams.errors import ConfigError, StageError
from privagams.records import Records
from privagams.training.train import fit


@pytest.fixture
def saved(bench, tmp_path):
    """A model off its start, and the file that an earlier run would have left of it."""
    model = bench.moved(bench.make(seed=4))
    path = tmp_path / "model.safetensors"
    save_file(dict(model.state_dict()), path)
    return model, path


@pytest.mark.parametrize("tune", ["all", "attention", "lora"])
def test_a_model_starts_as_the_earlier_run_ended(bench, saved, tune):
    earlier, path = saved
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    model = bench.make(start_public=True, start=str(path), start_sha256=digest.upper(), tune=tune)
    batch, noise = bench.batch(model, 4), model.draw(4, bench.rng())
    torch.testing.assert_close(model(batch, noise), earlier(batch, noise))


def test_adapters_of_an_earlier_run_are_added_to_the_weights_beside_them(bench, tmp_path):
    earlier = bench.moved(bench.make(tune="lora", pretrain=1, lora_convs=True, lora_rank=3))
    save_file(dict(earlier.state_dict()), tmp_path / "model.safetensors")
    model = bench.make(start_public=True, start=str(tmp_path / "model.safetensors"), tune="lora", lora_rank=2)
    batch, noise = bench.batch(model, 4), model.draw(4, bench.rng())
    torch.testing.assert_close(model(batch, noise), earlier(batch, noise), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"channels": (8, 24)}, r"tensors of another shape: net\..*instead of"),
        ({"layers": 2}, r"tensors missing: net\."),
        ({"attention": False}, r"tensors not of this model: net\.mid_block\.attentions\."),
        ({"classes": ("a", "b", "c")}, r"net\.class_embedding\.weight \(\(3, 32\) instead of \(4, 32\)\)"),
        ({"classes": ()}, r"1 tensors not of this model: net\.class_embedding\.weight"),
    ],
)
def test_weights_of_another_network_are_refused_by_the_tensors_that_differ(bench, saved, settings, text):
    with pytest.raises(ConfigError, match=text):
        bench.make(start_public=True, start=str(saved[1]), **settings)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".pkl"])
def test_a_start_that_can_run_code_is_refused_unopened(bench, tmp_path, suffix):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trapped"), "w"))

    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ConfigError, match=r"safetensors.*can run any code"):
        bench.make(start_public=True, start=str(path))
    disguised = tmp_path / "model.safetensors"
    path.rename(disguised)
    with pytest.raises(StageError, match="damaged"):
        bench.make(start_public=True, start=str(disguised))
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("source", ["members", "public"])
def test_a_start_from_members_is_refused(bench, saved, source):
    model, path = saved
    save_file(dict(model.state_dict()), path, metadata={"learnt from": source})
    if source == "public":
        assert torch.equal(
            next(bench.make(start_public=True, start=str(path)).parameters()), next(model.parameters())
        )
        return
    with pytest.raises(ConfigError, match="learnt from members"):
        bench.make(start_public=True, start=str(path))


def test_what_a_run_on_the_reference_leaves_can_be_a_start_and_what_members_leave_cannot(bench, tmp_path):
    rng = np.random.default_rng(0)
    names = np.array([f"p{i}" for i in range(6)], dtype=object)
    label = np.array(["benign", "tumour"] * 3, dtype=object)
    records = Records(
        rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8), {"patient": names, "label": label}
    )
    for source in ("reference", "members"):
        model = bench.make(train_on=source, steps=1)
        folder = tmp_path / source
        folder.mkdir()
        result = fit(model, records, records, model.space, None, 6, 1, folder, None, lambda *progress: None)
        if source == "reference":
            started = bench.make(start_public=True, start=str(folder / result.weights), seed=5)
            assert torch.equal(next(started.parameters()), next(model.parameters()))
        else:
            with pytest.raises(ConfigError, match="learnt from members"):
                bench.make(start_public=True, start=str(folder / result.weights))


def test_a_changed_file_is_refused(bench, saved):
    _, path = saved
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(StageError, match=rf"expected sha256 {digest}, found"):
        bench.make(start_public=True, start=str(path), start_sha256=digest)


def test_a_missing_file_a_damaged_one_and_numbers_that_are_none_are_refused(bench, saved, tmp_path):
    model, path = saved
    with pytest.raises(ConfigError, match="found none"):
        bench.make(start_public=True, start=str(tmp_path / "other.safetensors"))
    with pytest.raises(ConfigError, match=r"expected a \.safetensors file, found 'weights\.onnx'"):
        bench.make(start_public=True, start=str(tmp_path / "weights.onnx"))
    with torch.no_grad():
        next(model.parameters())[0] = float("nan")
    save_file(dict(model.state_dict()), path)
    with pytest.raises(StageError, match="expected finite numbers"):
        bench.make(start_public=True, start=str(path))
