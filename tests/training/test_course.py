import json

import numpy as np
import pytest
import torch
from attrs import evolve
from safetensors.torch import load_file

from privagams.errors import StageError
from privagams.roles import Sums
from privagams.training import course, watch
from privagams.training.course import load_course


@pytest.fixture
def watched(private, kit):
    return evolve(private, reference=kit.records((4, 4, 4), seed=9), phase={"steps": 8})


def test_the_course_tells_the_loss_on_reference_images_after_each_block(watched, kit):
    watched.run()
    seen = load_course(watched.folder)
    assert [(point.phase, point.step) for point in seen.points] == [("denoise", n) for n in (2, 4, 6, 8)]
    assert all(np.isfinite(point.loss) for point in seen.points)
    assert any("loss on reference images" in note for _, _, *notes in watched.told for note in notes)


def test_images_are_drawn_four_times_on_the_way(watched):
    watched.run()
    seen = load_course(watched.folder)
    assert seen.drawn == (2, 4, 6, 8)
    assert seen.images.shape == (4, 8, 8, 8, 1)


def test_the_course_of_a_training_does_not_look_at_members(watched, kit):
    """With other members and a model that stays where it is, all that is seen is the same."""
    seen = []
    for seed in (1, 2):
        still = evolve(watched, records=kit.records(seed=seed), phase={"steps": 8, "learning_rate": 0.0})
        evolve(still, folder=watched.folder.with_name(str(seed))).run(account=kit.MemoryAccount())
        seen.append(load_course(watched.folder.with_name(str(seed))))
    one, other = seen
    assert one.points == other.points != ()
    assert np.array_equal(one.images, other.images)


def test_watching_a_training_changes_nothing(plain, kit, monkeypatch):
    watched = evolve(plain, reference=kit.records((4, 4), seed=9))
    watched.run()
    monkeypatch.setattr(watch.Watch, "look", lambda self, phase, done, total: None)
    alone = evolve(plain, folder=plain.folder.with_name("alone"))
    alone.run()
    one, other = (load_file(s.folder / "weights.safetensors") for s in (watched, alone))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_resumed_training_keeps_what_was_seen_before(watched):
    watched.account.fail_at = ("after reserve", 3)
    with pytest.raises(KeyboardInterrupt):
        watched.run()
    before = load_course(watched.folder)
    assert [point.step for point in before.points] == [2, 4]
    watched.account.fail_at = None
    watched.run()
    after = load_course(watched.folder)
    assert after.points[:2] == before.points
    assert [point.step for point in after.points] == sorted({point.step for point in after.points})


def test_without_reference_patients_there_are_images_and_no_loss(private):
    private.run()
    seen = load_course(private.folder)
    assert seen.points == ()
    assert len(seen.images) == len(seen.drawn) > 0


def test_a_course_that_cannot_be_read_is_an_empty_one(tmp_path):
    (tmp_path / course.COURSE).write_text(json.dumps({"points": [], "drawn": [5]}))
    assert load_course(tmp_path).drawn == ()
    (tmp_path / course.COURSE).write_text("{")
    assert load_course(tmp_path).points == ()


def test_an_unprotected_training_says_no_loss_on_the_terminal(plain, kit):
    evolve(plain, reference=kit.records((4, 4), seed=9)).run()
    assert all(len(said) == 2 for said in plain.told)


def test_a_look_that_fails_costs_nothing_but_the_look(private, kit):
    class Shy(kit.TinyModel):
        def sample(self, labels, rng, progress):
            raise StageError("no finite image")

    result = evolve(private, model=Shy(private.space)).run()
    assert result.steps == 6
    seen = load_course(private.folder)
    assert (seen.drawn, seen.missed) == ((), 3)


def test_a_yardstick_that_warmed_up_on_members_means_says_no_loss(plain, kit):
    """What it learnt of them it learnt without noise, whichever images it is trained on now."""
    model = kit.TinyModel(plain.space)
    (phase,) = model.phases()
    flat = lambda batch: batch["pixels"].flatten(1) / 8  # noqa: E731
    made = evolve(phase, data="released", images=lambda: {"pixels": torch.zeros(4, 1, 8, 8)})
    model.phases = lambda: [Sums("means", flat, lambda summary: None), made]
    evolve(plain, reference=kit.records((4, 4), seed=9), model=model).run()
    assert all(len(said) == 2 for said in plain.told)
