import warnings

import numpy as np
import pytest
import torch
from torch import nn

from privagams.errors import PluginError, StageError
from privagams.roles import Space
from privagams.training.feed import Feed
from privagams.training.gradients import PatientGradients, memory_hint, refuse_mixing_layers
from privagams.training.phase_run import PrivateSteps


class UnetLoss(nn.Module):
    """Noise prediction by diffusers' UNet2DModel with attention: the network on which Opacus' hooks fail."""

    def __init__(self):
        super().__init__()
        from diffusers import UNet2DModel

        self.unet = UNet2DModel(
            sample_size=16, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=8, attention_head_dim=8,
        )  # fmt: skip

    def forward(self, batch, noise):
        guess = self.unet(batch["pixels"] + noise["eps"], noise["t"], return_dict=False)[0]
        return (guess - noise["eps"]).square().flatten(1).mean(1)


def one_by_one(module, names, batch, noise, patients):
    """The reference: each patient's mean loss by itself, through plain autograd."""
    parameters = [dict(module.named_parameters())[n] for n in names]
    cut = [{k: t.chunk(patients)[i] for k, t in d.items()} for d in (batch, noise) for i in range(patients)]
    pairs = zip(cut[:patients], cut[patients:], strict=True)
    return [torch.autograd.grad(module(b, n).mean(), parameters) for b, n in pairs]


@pytest.mark.parametrize("runs", [1, 6])
def test_per_patient_gradients_equal_a_looped_reference(runs):
    torch.manual_seed(0)
    module, patients = UnetLoss(), 3
    names = [n for n, _ in module.named_parameters()]
    batch = {"pixels": torch.randn(patients * runs, 1, 16, 16)}
    noise = {"eps": torch.randn(patients * runs, 1, 16, 16), "t": torch.randint(0, 1000, (patients * runs,))}
    found = PatientGradients(module, names)(batch, noise, patients)
    for i, expected in enumerate(one_by_one(module, names, batch, noise, patients)):
        norm = torch.sqrt(sum(g.square().sum() for g in expected))
        error = torch.sqrt(sum((f[i] - g).square().sum() for f, g in zip(found, expected, strict=True)))
        assert error / norm < 1e-5
        assert all(g.abs().sum() > 0 for g in expected)


def test_draws_are_averaged_inside_a_patient(kit):
    """K draws of one record weigh as much as one: the gradient is the mean of K single ones."""
    torch.manual_seed(0)
    module, draws = kit.Denoiser(), 4
    names = [n for n, _ in module.named_parameters()]
    pixels = torch.randn(1, 1, 8, 8).expand(draws, -1, -1, -1)
    noise = {"eps": torch.randn(draws, 1, 8, 8), "t": torch.rand(draws, 1, 1, 1)}
    together = PatientGradients(module, names)({"pixels": pixels}, noise, 1)
    single = PatientGradients(module, names)({"pixels": pixels}, noise, draws)
    for whole, parts in zip(together, single, strict=True):
        torch.testing.assert_close(whole[0], parts.mean(0))


@pytest.mark.parametrize(
    ("layer", "word"),
    [
        (nn.BatchNorm2d(4), "BatchNorm2d"),
        (nn.BatchNorm2d(4, track_running_stats=False).eval(), "BatchNorm2d"),
        (nn.InstanceNorm2d(4, track_running_stats=True), "InstanceNorm2d"),
        (nn.Dropout(0.1), "dropout"),
    ],
)
def test_a_network_with_batch_statistics_is_refused_by_name(layer, word):
    with pytest.raises(StageError, match=f"(?s)inner.odd.*{word}"):
        refuse_mixing_layers(nn.ModuleDict({"inner": nn.ModuleDict({"odd": layer})}), "main")


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm2d(4).eval(), nn.InstanceNorm2d(4), nn.GroupNorm(2, 4), nn.Dropout(0.0)]
)
def test_layers_that_keep_to_one_record_are_accepted(layer):
    refuse_mixing_layers(nn.Sequential(layer), "main")


def test_a_private_fit_refuses_batch_norm_before_anything_is_reserved(private, kit):
    model = kit.TinyModel(private.space, 1)
    model.net.norm = nn.BatchNorm2d(8)
    with pytest.raises(StageError, match="layer 'norm'"):
        private.run(model=model)
    assert private.account.events == []


def test_a_loss_over_the_whole_batch_is_refused(private, kit):
    model = kit.TinyModel(private.space, 1)
    model.net.forward = lambda batch, noise: batch["pixels"].mean() * model.net.last.weight.mean()
    with pytest.raises(PluginError, match="one loss per record"):
        private.run(model=model)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("CUDA out of memory. Tried"), torch.OutOfMemoryError("out of memory")],
)
def test_running_out_of_memory_says_which_setting_to_lower(error):
    with (
        pytest.raises(StageError, match="lower the mechanism's `physical_patients`"),
        memory_hint("the mechanism's `physical_patients`"),
    ):
        raise error


def test_an_allocation_that_fails_is_recognised():
    with pytest.raises(StageError, match="lower it"), memory_hint("it"):
        torch.empty(1 << 60)


def test_other_runtime_errors_pass_unchanged():
    with pytest.raises(RuntimeError, match="shape"), memory_hint("it"):
        raise RuntimeError("shape mismatch")


def test_only_the_known_vmap_warning_is_silenced():
    class Warns(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, batch, noise):
            warnings.warn("There is a performance drop of another kind", stacklevel=1)
            return batch["pixels"].flatten(1).mean(1) * self.weight

    with pytest.warns(UserWarning, match="another kind"):
        PatientGradients(Warns(), ["weight"])({"pixels": torch.zeros(2, 1, 2, 2)}, {}, 2)


def steps(kit, mechanism, records, patients=6, phase=None, noise_multiplier=0.0):
    """Private steps with the noise off, and what they hand on."""
    model = kit.TinyModel(Space(8, 1), 1)
    names = [n for n, _ in model.net.named_parameters()]
    noisy_sum = mechanism.noisy_sum(list(model.net.parameters()), noise_multiplier, patients)
    return PrivateSteps(
        phase or model.phases()[0], names, Feed(records, ()), mechanism, noisy_sum, patients, "cpu"
    )


@pytest.mark.parametrize("tiles", [1, 3])
def test_a_patient_with_many_tiles_gets_as_many_draws_as_one_with_one(kit, dp, tiles):
    seen = []
    unequal = steps(kit, dp(tiles_per_step=tiles, physical_patients=1, noise_draws=2), kit.records((200, 1)))
    inner = unequal._patient_gradients
    unequal._patient_gradients = lambda batch, noise, n: (
        seen.append(len(batch["pixels"])) or inner(batch, noise, n)
    )
    unequal.gradients(0)
    assert seen == [2 * tiles, 2 * tiles]


def test_tiles_are_drawn_from_the_patient_alone_and_all_of_them_in_time(kit, dp):
    private = steps(kit, dp(tiles_per_step=2), kit.records((3, 5)))
    first, second = private._feed.by_patient()
    seen = set()
    batch = private._feed.batch
    private._feed.batch = lambda positions: seen.add(tuple(positions)) or batch(positions)
    for step in range(60):
        private.gradients(step)
    assert {i for four in seen for i in four[:2]} == set(first)
    assert {i for four in seen for i in four[2:]} == set(second)


def test_the_normaliser_is_public_and_not_counted(kit, dp):
    """With 12 patients stated, 6 present give half the gradient that 6 stated would."""
    norms = []
    for stated in (6, 12):
        mechanism = dp(patients_per_step=stated, clip_norm=1e-6)
        private = steps(kit, mechanism, kit.records((1,) * 6), patients=stated)
        private._rng.manual_seed(0)
        norms.append(float(torch.cat([g.flatten() for g in private.gradients(0)]).norm()))
    assert norms[0] == pytest.approx(2 * norms[1], rel=1e-4)


def test_chunks_change_no_result(kit, dp):
    sums = []
    for physical in (1, 4, 100):
        private = steps(kit, dp(physical_patients=physical, clip_norm=1e-3), kit.records((1,) * 6))
        # Draws come in chunks too: make them equal for all records.
        fixed = private._phase.draw(1, torch.Generator().manual_seed(0))
        draw = lambda n, rng, fixed=fixed: {k: t.expand(n, *t.shape[1:]) for k, t in fixed.items()}  # noqa: E731
        object.__setattr__(private._phase, "draw", draw)
        sums.append(torch.cat([g.flatten() for g in private.gradients(0)]))
    for other in sums[1:]:
        torch.testing.assert_close(sums[0], other, rtol=1e-4, atol=1e-9)


def test_records_without_a_known_label_are_left_out(kit):
    feed = Feed(kit.records((2, 2, 2)), ("b",))
    assert len(feed) == 2
    assert feed.batch(np.array([0, 1, 0]))["labels"].tolist() == [0, 0, 0]


def test_pixels_are_scaled_and_read_alike_from_memory_and_disk(kit, tmp_path, monkeypatch):
    import zarr
    from attrs import evolve

    from privagams.training import feed

    records = kit.records((4, 4), channels=3)
    stored = zarr.create_array(
        tmp_path / "p.zarr", shape=records.pixels.shape, chunks=(3, 8, 8, 3), dtype="uint8"
    )
    stored[:] = records.pixels
    positions = np.array([5, 0, 5, 2])
    expected = feed.Feed(records, ()).batch(positions)["pixels"]
    assert expected.shape == (4, 3, 8, 8)
    assert expected.dtype == torch.float32
    np.testing.assert_allclose(
        expected[1].numpy(), records.pixels[0].transpose(2, 0, 1) / 127.5 - 1, atol=1e-6
    )
    monkeypatch.setattr(feed, "IN_MEMORY_BYTES", 0)
    torch.testing.assert_close(
        feed.Feed(evolve(records, pixels=stored), ()).batch(positions)["pixels"], expected
    )
