import numpy as np
import pytest
import torch
from attrs import evolve
from safetensors.torch import load_file

from privagams.errors import BudgetError, LedgerError, PluginError
from privagams.ledger import accounting
from privagams.ledger.ledger import Ledger
from privagams.records import Records
from privagams.roles import Space, Summarised, Sums
from privagams.training import asking, checkpoint
from privagams_dp.one_sum import OneSum
from privagams_dp.settings import NoisySumSettings


class Averages:
    """A one-shot model whose features are a record's pixels, scaled to norm at most 1."""

    def __init__(self, dies=False):
        self.weight = torch.zeros(64)
        self.seen, self.dies = [], dies

    def features(self, batch):
        flat = batch["pixels"].flatten(1)
        return flat / flat.norm(dim=1, keepdim=True).clamp(min=1.0)

    def sums(self):
        return [Sums("means", self.features, self.seen.append)]

    def fit(self, rng, progress):
        if self.dies:
            raise KeyboardInterrupt
        summary = self.seen[-1]
        self.weight = summary.totals[0, 0] / summary.patients + 0 * torch.rand(1, generator=rng)
        progress(1, 1)

    def sample(self, labels, rng, progress):
        return np.zeros((len(labels), 8, 8, 1), np.uint8)

    def state_dict(self):
        return {"weight": self.weight}

    def load_state_dict(self, state):
        self.weight = state["weight"]


@pytest.fixture
def once(plain, kit):
    mechanism = OneSum(NoisySumSettings(epsilon=2.0, delta=1e-4))
    return evolve(plain, mechanism=mechanism, account=kit.MemoryAccount())


def expected_sum(records):
    pixels = torch.from_numpy(records.read()).permute(0, 3, 1, 2).float() / 127.5 - 1
    features = Averages().features({"pixels": pixels})
    return sum(features[torch.from_numpy(records.patient == p)].mean(0) for p in records.patients)


def test_a_yardstick_learns_from_the_exact_sum(plain):
    model = Averages()
    assert isinstance(model, Summarised)
    plain.run(model=model)
    (summary,) = model.seen
    torch.testing.assert_close(summary.totals[0, 0], expected_sum(plain.records))
    assert (summary.patients, summary.noise_std) == (6, 0.0)


def test_the_sum_is_charged_and_has_the_noise_that_it_says(once):
    model = Averages()
    result = once.run(model=model)
    (summary,) = model.seen
    (event,) = once.account.events
    assert event.noise_multiplier == summary.noise_std == result.noise_multiplier
    assert accounting.epsilon([event], 1e-4)[0] == pytest.approx(2.0, rel=1e-3)
    error = summary.totals[0, 0] - expected_sum(once.records)
    assert 0.5 < float(error.std()) / summary.noise_std < 1.5


def test_many_records_weigh_no_more_than_one(plain, kit):
    one, many = Averages(), Averages()
    records = kit.records((1, 3))
    doubled = records.take(np.array([0] * 300 + [1, 2, 3]))
    plain.run(model=one, records=records)
    plain.run(model=many, records=doubled, folder=plain.folder.with_name("many"))
    torch.testing.assert_close(one.seen[0].totals, many.seen[0].totals)


def test_a_crash_after_the_release_reuses_the_sum_and_costs_nothing_more(once):
    with pytest.raises(KeyboardInterrupt):
        once.run(model=(first := Averages(dies=True)))
    result = once.run(model=(second := Averages()))
    assert torch.equal(first.seen[0].totals, second.seen[0].totals)
    assert len(once.account.events) == 1
    assert torch.equal(load_file(once.folder / result.weights)["weight"], second.weight)
    assert result.notes == ()


@pytest.mark.parametrize("point", ["before close", "after close"])
def test_a_crash_while_the_block_is_closed_reuses_the_sum(once, point):
    once.account.fail_at = (point, 1)
    with pytest.raises(KeyboardInterrupt):
        once.run(model=Averages())
    once.account.fail_at = None
    once.run(model=Averages())
    assert len(once.account.events) == 1


def test_a_crash_between_ledger_and_file_leaves_nothing_to_spend(once):
    once.account.fail_at = ("after reserve", 1)
    with pytest.raises(KeyboardInterrupt):
        once.run(model=Averages())
    once.account.fail_at = None
    with pytest.raises(BudgetError, match="of which no checkpoint is left"):
        once.run(model=(again := Averages()))
    assert again.seen == []
    assert len(once.account.events) == 1


def test_a_finished_folder_is_not_charged_again(once):
    first = once.run(model=Averages())
    assert once.run(model=(again := Averages())) == first
    assert again.seen == []
    assert len(once.account.events) == 1


@pytest.mark.slow
def test_a_real_ledger_holds_what_was_spent_and_knows_its_checkpoint(
    private, once, tmp_path, real_accounting
):
    """Both kinds of training against the ledger on disk; a ledger put back behind a checkpoint is refused."""
    run_folder, home = tmp_path / "run", tmp_path / "home"
    run_folder.mkdir()

    pseudonyms = [f"{i:016x}" for i in range(6)]

    def account(fit):
        return Ledger(home / "data").account(
            run="r", release=fit, fit=fit, patients=pseudonyms, budget=None,
            run_folder=run_folder,
        )  # fmt: skip

    result = evolve(private, account=account("sgd")).run(block_steps=3)
    evolve(once, account=account("sum"), folder=tmp_path / "sum").run(model=Averages())
    ledger = Ledger(home / "data")
    assert sum(event.count for event in ledger.spent("sgd")) == result.steps == 6
    assert len(ledger.spent("sum")) == 1
    assert 8.0 < ledger.total(1e-4).epsilon <= 10.0
    ledger.path.write_text("")
    (private.folder / checkpoint.WEIGHTS).unlink()
    with pytest.raises(LedgerError):
        evolve(private, account=account("sgd")).run(block_steps=3)


class Twice(Averages):
    """Asks for the mean first, and then, about that mean, for each class by itself."""

    def __init__(self, dies=False):
        super().__init__(dies)
        self.centre = None

    def about_the_centre(self, batch):
        return self.features(batch) / 2 - self.centre / 2

    def centred(self, summary):
        self.seen.append(summary)
        self.centre = torch.nn.functional.normalize(summary.totals[0, 0], dim=0) / 2

    def sums(self):
        return [
            Sums("centre", self.features, self.centred, share=0.25, by_class=False),
            Sums("classes", self.about_the_centre, self.seen.append, share=0.75),
        ]


CLASSES = Space(8, 1, ("a", "b"))


def test_a_second_question_rests_on_the_first_answer_and_both_keep_to_the_budget(once):
    model = Twice()
    once.run(model=model, space=CLASSES)
    centre, classes = model.seen
    assert tuple(centre.totals.shape) == (1, 1, 64)
    assert tuple(classes.totals.shape) == (1, 2, 64)
    first, second = once.account.events
    assert (first.noise_multiplier, second.noise_multiplier) == (centre.noise_std, classes.noise_std)
    # Shares of 1/z²: three times as much for the second.
    assert centre.noise_std**2 / classes.noise_std**2 == pytest.approx(3.0)
    assert accounting.epsilon([first, second], 1e-4)[0] == pytest.approx(2.0, rel=1e-3)


def test_records_stand_in_the_block_of_their_class(plain, kit):
    drawn = kit.records((1, 3, 2))
    # Patients whose records are of both classes.
    records = Records(drawn.read(), {**drawn.table, "label": np.array(["a", "b", "a", "b", "b", "a"])})
    model = Twice()
    plain.run(model=model, records=records, space=CLASSES)
    pixels = torch.from_numpy(records.read()).permute(0, 3, 1, 2).float() / 127.5 - 1
    vectors = model.about_the_centre({"pixels": pixels})
    labels = records.label_index(CLASSES.classes)
    expected = torch.zeros(2, 64)
    for patient in records.patients:
        mine = records.patient == patient
        for row in np.flatnonzero(mine):
            expected[labels[row]] += vectors[row] / mine.sum()
    torch.testing.assert_close(model.seen[1].totals[0], expected)


def test_many_patients_in_parts_sum_as_in_one(plain, kit, monkeypatch):
    records = kit.records((5, 1, 1, 9, 2, 1))
    found = []
    for rows in (256, 3):
        monkeypatch.setattr(asking, "_ROWS", rows)
        model = Twice()
        plain.run(model=model, records=records, space=CLASSES, folder=plain.folder.with_name(str(rows)))
        found.append(model.seen[1].totals)
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("clip", [1.0, 1e-3])
def test_sums_are_in_units_of_the_clip_norm_whatever_it_is(once, clip):
    once.mechanism.clip_norm = clip
    model = Averages()
    once.run(model=model)
    error = model.seen[0].totals[0, 0] - expected_sum(once.records)
    assert 0.5 < float(error.std()) / model.seen[0].noise_std < 1.5


def test_a_crash_between_two_questions_asks_the_first_no_second_time(once):
    once.account.fail_at = ("before reserve", 2)
    with pytest.raises(KeyboardInterrupt):
        once.run(model=(first := Twice()), space=CLASSES)
    once.account.fail_at = None
    once.run(model=(second := Twice()), space=CLASSES)
    assert torch.equal(first.seen[0].totals, second.seen[0].totals)
    assert torch.equal(first.centre, second.centre)
    assert len(second.seen) == 2
    assert len(once.account.events) == 2
    assert accounting.epsilon(once.account.events, 1e-4)[0] <= 2.0 + 1e-9


def test_a_crash_in_the_second_question_leaves_it_unasked(once):
    """What was reserved is spent, and half of an answer is none: the budget is gone, and it says so."""
    once.account.fail_at = ("after reserve", 2)
    with pytest.raises(KeyboardInterrupt):
        once.run(model=Twice(), space=CLASSES)
    once.account.fail_at = None
    with pytest.raises(BudgetError, match="of which no checkpoint is left"):
        once.run(model=Twice(), space=CLASSES)
    assert len(once.account.events) == 2


class Warmed:
    """Asks for three sums, trains on what they told, and then on members."""

    def __init__(self, kit):
        self.inner, self.told = kit.TinyModel(Space(8, 1)), []
        self.state_dict, self.load_state_dict = self.inner.state_dict, self.inner.load_state_dict
        self.sample = self.inner.sample

    def phases(self):
        (phase,) = self.inner.phases()
        made = evolve(phase, name="made", data="released", images=self.made)
        sums = Sums("means", Averages().features, self.told.append, share=0.2, count=3)
        return [sums, made, evolve(phase, share=0.8)]

    def made(self):
        means = self.told[-1].totals[:, 0] / self.told[-1].patients
        return {"pixels": means.reshape(3, 1, 8, 8).repeat(4, 1, 1, 1)}


def test_sums_warm_up_a_model_that_learns_by_gradients(private, kit):
    model = Warmed(kit)
    result = private.run(model=model)
    (summary,) = model.told
    assert tuple(summary.totals.shape) == (3, 1, 64)
    assert not torch.equal(summary.totals[0], summary.totals[1])
    assert result.steps == 3 + 6 + 6
    sums, *steps = private.account.events
    assert sum(event.count for event in steps) == 6
    assert sums.count == 3
    assert accounting.epsilon(private.account.events, 1e-4)[0] <= 8.0 + 1e-9
    # A fifth of 1/z² for three sums, four fifths for six steps.
    assert (3 / sums.event.noise_multiplier**2) / (6 / steps[0].event.noise_multiplier ** 2) == pytest.approx(
        0.25
    )


def test_a_resumed_training_is_told_again_what_was_asked_before_it(private, kit):
    private.account.fail_at = ("before reserve", 3)
    with pytest.raises(KeyboardInterrupt):
        private.run(model=(first := Warmed(kit)))
    private.account.fail_at = None
    private.run(model=(second := Warmed(kit)))
    assert torch.equal(first.told[0].totals, second.told[0].totals)
    assert second.told[0].noise_std == first.told[0].noise_std > 0
    assert accounting.epsilon(private.account.events, 1e-4)[0] <= 8.0 + 1e-9


def test_made_images_are_for_released_phases_only(private, kit):
    class Confused(Warmed):
        def phases(self):
            return [
                evolve(part, data="members") if getattr(part, "images", None) else part
                for part in super().phases()
            ]

    with pytest.raises(PluginError, match="images"):
        private.run(model=Confused(kit))


def test_labels_reach_the_features(plain):
    seen = []

    class Labelled(Averages):
        def features(self, batch):
            seen.append(batch["labels"])
            return super().features(batch)

    plain.run(model=Labelled(), space=Space(8, 1, ("a", "b")))
    assert torch.cat(seen).unique().tolist() == [0, 1]
