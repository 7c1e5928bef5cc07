"""The diffusion model as the training loop and a release use it."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.func import functional_call, grad, vmap

from privagams.errors import ConfigError
from privagams.roles import Space, Trained
from privagams_diffusion import DiffusionSettings, build_diffusion

SMALL = {"channels": (8, 16), "timesteps": 50, "sampling_steps": 5, "steps": 10, "batch": 8}


def make(size=16, planes=3, classes=("benign", "tumour"), seed=0, **settings):
    return build_diffusion(DiffusionSettings(**(SMALL | settings))).model(Space(size, planes, classes), seed)


def trained_a_little(model, steps=3, rate=1e-2):
    """Away from fresh biases of zero, where wrong gradients could hide."""
    batch = batch_of(model, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    rng = torch.Generator().manual_seed(5)
    for _ in range(steps):
        model(batch, model.draw(8, rng)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def batch_of(model, n, seed=1):
    rng = torch.Generator().manual_seed(seed)
    side, channels = model.space.size, model.space.channels
    batch = {"pixels": torch.rand((n, channels, side, side), generator=rng) * 2 - 1}
    if model.space.classes:
        batch["labels"] = torch.arange(n) % len(model.space.classes)
    return batch


def rng(seed=2):
    return torch.Generator().manual_seed(seed)


def quiet(done, total):
    pass


@pytest.mark.parametrize("classes", [(), ("benign", "tumour")])
@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("prediction", ["v", "epsilon"])
def test_there_is_one_finite_loss_per_record(classes, planes, prediction):
    model = make(classes=classes, planes=planes, prediction=prediction)
    losses = model(batch_of(model, 5), model.draw(5, rng()))
    assert losses.shape == (5,)
    assert torch.isfinite(losses).all()


def test_the_model_is_trained_by_one_phase_with_the_settings_numbers():
    model = make(learning_rate=0.01, ema=0.9)
    assert isinstance(model, Trained)
    (phase,) = model.phases()
    assert (phase.steps, phase.batch, phase.learning_rate, phase.ema) == (10, 8, 0.01, 0.9)
    assert phase.data == "members"


def test_all_noise_has_the_records_as_its_first_axis():
    drawn = make().draw(7, rng())
    assert {len(tensor) for tensor in drawn.values()} == {7}


def test_replacing_one_record_changes_no_other_loss():
    model = trained_a_little(make())
    batch, noise = batch_of(model, 6), model.draw(6, rng())
    before = model(batch, noise)
    pixels, labels = batch["pixels"].clone(), batch["labels"].clone()
    pixels[2], labels[2] = -pixels[2], 1 - labels[2]
    after = model({"pixels": pixels, "labels": labels}, noise)
    others = [0, 1, 3, 4, 5]
    torch.testing.assert_close(after[others], before[others], rtol=1e-6, atol=1e-6)
    assert abs(after[2] - before[2]) > 1e-4


def test_computing_losses_leaves_the_state_as_it_was():
    model = make()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model(batch_of(model, 4), model.draw(4, rng())).mean().backward()
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("attention", [True, False])
def test_gradients_by_vmap_equal_those_of_a_loop(attention):
    model = trained_a_little(make(attention=attention, label_dropout=0.3))
    batch, noise = batch_of(model, 4), model.draw(4, rng())
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters, batch, noise):
        one = ({k: t[None] for k, t in batch.items()}, {k: t[None] for k, t in noise.items()})
        return functional_call(model, parameters, one).sum()

    at_once = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, batch, noise)
    for i in range(4):
        model.zero_grad()
        row = slice(i, i + 1)
        model({k: t[row] for k, t in batch.items()}, {k: t[row] for k, t in noise.items()}).sum().backward()
        norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
        for name, parameter in model.named_parameters():
            assert (at_once[name][i] - parameter.grad).norm() < 1e-5 * norm, name


def test_every_parameter_learns():
    model = trained_a_little(make())
    model(batch_of(model, 4), model.draw(4, rng())).mean().backward()
    still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # One number added to all keys cancels in softmax, so only rounding moves that bias.
    assert {name for name in still if not name.endswith("to_k.bias")} == set()


def test_the_loss_falls_on_eight_images():
    model = make(planes=1, classes=())
    batch = batch_of(model, 8)
    batch["pixels"] = batch["pixels"].mean((2, 3), keepdim=True).sign().expand(-1, -1, 16, 16).clone()
    noise = model.draw(8, rng(3))
    first = model(batch, noise).mean().item()
    optimizer, source = torch.optim.AdamW(model.parameters(), lr=3e-3), rng(4)
    for _ in range(80):
        loss = model(batch, model.draw(8, source)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert model(batch, noise).mean().item() < 0.7 * first


def test_drawn_images_are_bytes_of_the_space_and_depend_on_the_seed_alone():
    model = trained_a_little(make())
    labels = np.array([0, 1, 1, -1, 0])
    drawn = model.sample(labels, rng(7), quiet)
    assert drawn.dtype == np.uint8
    assert drawn.shape == (5, 16, 16, 3)
    assert np.array_equal(drawn, model.sample(labels, rng(7), quiet))
    assert not np.array_equal(drawn, model.sample(labels, rng(8), quiet))
    assert len(np.unique(drawn.reshape(5, -1), axis=0)) == 5


def test_the_label_changes_what_is_drawn():
    model = trained_a_little(make(), steps=20)
    one, other = (model.sample(np.full(3, label), rng(7), quiet) for label in (0, 1))
    assert not np.array_equal(one, other)


def test_no_images_are_drawn_for_no_labels():
    assert make().sample(np.empty(0, dtype=np.int64), rng(), quiet).shape == (0, 16, 16, 3)


def test_progress_ends_at_its_total():
    told = []
    make(sampling_batch=2).sample(
        np.zeros(5, dtype=np.int64), rng(), lambda done, total: told.append((done, total))
    )
    assert told == [(i + 1, 15) for i in range(15)]


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_alone():
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    one, same, other = make(seed=3), make(seed=3), make(seed=4)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_saved_model_draws_the_same_images(tmp_path):
    model, labels = trained_a_little(make()), np.array([0, 1])
    save_file(dict(model.state_dict()), tmp_path / "model.safetensors")
    fresh = make(seed=9)
    fresh.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert np.array_equal(model.sample(labels, rng(), quiet), fresh.sample(labels, rng(), quiet))


def test_guidance_needs_and_uses_hidden_labels():
    with pytest.raises(ValueError, match=r"guidance: 2\.0 needs .* set label_dropout to about 0\.1"):
        DiffusionSettings(guidance=2.0)
    plain = trained_a_little(make(label_dropout=0.2), steps=10)
    guided = make(label_dropout=0.2, guidance=3.0)
    guided.load_state_dict(plain.state_dict())
    labels = np.array([0, 1])
    assert not np.array_equal(plain.sample(labels, rng(), quiet), guided.sample(labels, rng(), quiet))


def test_hidden_labels_do_not_reach_the_loss():
    model = trained_a_little(make(label_dropout=0.5))
    batch, noise = batch_of(model, 4), dict(model.draw(4, rng()))
    noise["hide"] = torch.ones(4, dtype=torch.bool)
    flipped = {"pixels": batch["pixels"], "labels": 1 - batch["labels"]}
    assert torch.equal(model(batch, noise), model(flipped, noise))
    noise["hide"] = torch.zeros(4, dtype=torch.bool)
    assert not torch.equal(model(batch, noise), model(flipped, noise))


@pytest.mark.parametrize(
    ("size", "settings", "nearest"), [(30, {}, 32), (18, {"patch": 1, "channels": (8, 16, 16)}, 20)]
)
def test_a_size_that_cannot_be_halved_names_the_settings_and_the_way_out(size, settings, nearest):
    with pytest.raises(
        ConfigError, match=rf"channels.*patch.*multiple of 4 px, found {size} px.*tiles\.size to {nearest}"
    ):
        make(size=size, **settings)


@pytest.mark.parametrize("widths", [(), (12,), (0, 8)])
def test_widths_that_cannot_be_normalised_are_refused(widths):
    with pytest.raises(ValueError, match="multiple of 8"):
        DiffusionSettings(channels=widths)


def test_more_sampling_steps_than_timesteps_are_refused():
    with pytest.raises(ValueError, match="at most timesteps"):
        DiffusionSettings(timesteps=10, sampling_steps=20)
