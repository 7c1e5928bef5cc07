"""The kit catches: for each law a component that breaks it, and no other law, and is caught by that check alone."""

import itertools
import math
import os
import secrets

import numpy as np
import pytest
import torch
from attrs import define, evolve, field, frozen
from dp_accounting import PoissonSampledDpEvent, SelfComposedDpEvent
from PIL import Image
from torch import nn

from privagams.access import Access, Scores
from privagams.component import Component
from privagams.errors import NotApplicable, SlideError
from privagams.evidence import Measurement
from privagams.roles import Invertible, Phase, Sums
from privagams.testing import checks_for, worlds
from privagams.testing.catalogue import law_of, remedy_of
from privagams.testing.checking import try_law
from privagams.testing.subject import Subject
from privagams_dp import entropy
from privagams_dp.dp_sgd import DpSgd
from privagams_dp.noisy_sum import GaussianSum
from privagams_dp.settings import DpSgdSettings

ROLES = ("readers", "generators", "mechanisms", "embedders", "attacks", "metrics")
ELSEWHERE = {"check_listing_loads_no_torch"}  # a child process; has a test of its own below
PRICED = {"check_calibrated_noise_keeps_the_budget", "check_cost_grows_with_use"}  # seconds each


# Readers


class GoodSlide:
    mpp = None

    def __init__(self, pixels):
        self.pixels, self.reads = pixels, 0
        self.size = pixels.shape[1], pixels.shape[0]

    def read(self, x, y, width, height, downsample):
        self.reads += 1
        wide, high = round(width * downsample), round(height * downsample)
        region = np.full((high, wide, 3), self.outside, dtype=np.uint8)
        top, left = max(y, 0), max(x, 0)
        inside = self.pixels[top : max(y + high, 0), left : max(x + wide, 0)]
        region[top - y : top - y + inside.shape[0], left - x : left - x + inside.shape[1]] = inside
        return np.asarray(Image.fromarray(region).resize((width, height), Image.Resampling.BOX)).copy()

    outside = 255

    def close(self):
        pass


class GoodReader:
    slide = GoodSlide

    def __init__(self, settings):
        pass

    def open(self, path):
        try:
            with Image.open(path, formats=["PNG"]) as image:
                return self.slide(np.asarray(image.convert("RGB")))
        except Exception as error:
            raise self.failure(path) from error

    def failure(self, path):
        return SlideError("a damaged image")


class ZeroScaleSlide(GoodSlide):
    mpp = 0.0


class ZeroScale(GoodReader):
    slide = ZeroScaleSlide


class FloatSlide(GoodSlide):
    def read(self, *place):
        return super().read(*place).astype(np.float32)


class FloatPixels(GoodReader):
    slide = FloatSlide


class TiringSlide(GoodSlide):
    def read(self, *place):
        found = super().read(*place)
        found[0, 0] ^= self.reads == 3
        return found


class ThirdReadDiffers(GoodReader):
    slide = TiringSlide


class SlippedSlide(GoodSlide):
    def read(self, x, y, *rest):
        return super().read(x, y - (0 < y < 100), *rest)


class SlippedRow(GoodReader):
    slide = SlippedSlide


class BlackSlide(GoodSlide):
    outside = 0


class BlackOutside(GoodReader):
    slide = BlackSlide


class OneLevelSlide(GoodSlide):
    def read(self, x, y, width, height, downsample):
        return super().read(x, y, width, height, 1.0)


class IgnoresResolution(GoodReader):
    slide = OneLevelSlide


class RaisesValueError(GoodReader):
    def failure(self, path):
        return ValueError("damaged")


class NamesTheFile(GoodReader):
    def failure(self, path):
        return SlideError(f"{path.name} is damaged")


# Embedders


class GoodEmbedder:
    def __init__(self, settings):
        pass

    def embed(self, pixels):
        return pixels.reshape(len(pixels), -1)[:, ::7].astype(np.float32) / 255


class DoubleFeatures(GoodEmbedder):
    def embed(self, pixels):
        return super().embed(pixels).astype(np.float64)


class WhitensBatch(GoodEmbedder):
    def embed(self, pixels):
        found = super().embed(pixels)
        return found - 0.5 * found.mean(axis=0)


class SeesNothing(GoodEmbedder):
    def embed(self, pixels):
        return super().embed(pixels) * 0


# Attacks


class GoodAttack:
    game, access, holds, labels, shadows = "linkage", Access.RELEASED, "other images", False, 0

    def __init__(self, settings):
        pass

    def run(self, target, world, rng):
        released, known = self.points(target.released), self.points(world.candidates)
        gaps = np.stack([np.linalg.norm(released - image, axis=1) for image in known])
        nearest = np.stack([gaps[world.candidates.patient == p].min(axis=0) for p in world.patients])
        if target.groups is None:
            return Scores(-nearest.min(axis=1))
        group = target.released.table["group"]
        return Scores(-np.stack([nearest[:, group == g].mean(axis=1) for g in range(target.groups)]))

    def points(self, records):
        return records.read().reshape(len(records), -1)[:, ::29].astype(np.float64)


class NegativeShadows(GoodAttack):
    shadows = -1


class MatrixForMembership(GoodAttack):
    game = "membership"


class SortsPatients(GoodAttack):
    def run(self, target, world, rng):
        return super().run(target, evolve(world, patients=np.unique(world.patients)), rng)


class ComparesGroups(GoodAttack):
    def run(self, target, world, rng):
        values = super().run(target, world, rng).values
        return Scores(values - values.mean(axis=0) if values.ndim == 2 else values)


class KnowsTheTruth(GoodAttack):
    """It has the list of members from elsewhere: the only way to be right about a null release."""

    def run(self, target, world, rng):
        values = super().run(target, world, rng).values
        if values.ndim == 2:
            return Scores(values)
        case = worlds.case("null", "drawn", patients=len(world.patients))
        return Scores(values + 1e4 * np.isin(world.patients, case.world.patients[case.member]))


class WrongSign(GoodAttack):
    def run(self, target, world, rng):
        return Scores(-super().run(target, world, rng).values)


class TakesTheModel(GoodAttack):
    def run(self, target, world, rng):
        target._model()
        return super().run(target, world, rng)


class GoodFlowAttack:
    """Through the flow behind copies; drawn images it leaves alone."""

    game, access, holds, labels, shadows = "linkage", Access.WEIGHTS, "all images", False, 0

    def __init__(self, settings):
        pass

    def run(self, target, world, rng):
        if target.groups is None:
            raise NotApplicable("the images were drawn")
        model, oracle = target.oracle.model(), target.oracle
        if not isinstance(model, Invertible):
            raise NotApplicable("the model gives no latent vectors")

        def encoded(records):
            return np.concatenate([model.encode(batch).numpy() for _, batch in oracle.batches(records)])

        released, known = self.shown(encoded(target.released)), encoded(world.candidates)
        group, owner = target.released.table["group"], world.candidates.patient
        gaps = np.square(released[:, None] - known).sum(axis=2)
        near = np.stack([gaps[:, owner == p].min(axis=1) for p in world.patients], axis=1)
        return Scores(-np.stack([near[group == g].mean(axis=0) for g in range(target.groups)]))

    def shown(self, vectors):
        return vectors


class CentresCopies(GoodFlowAttack):
    def shown(self, vectors):
        return vectors - vectors.mean(axis=0)


class ClaimsLess(GoodFlowAttack):
    access = Access.LOSS


class GoodLossAttack:
    game, access, holds, labels, shadows = "membership", Access.LOSS, "training images", True, 0

    def __init__(self, settings):
        pass

    def run(self, target, world, rng):
        losses = target.oracle.losses(world.candidates, draws=1, seed=0)
        owner = world.candidates.patient
        return Scores(np.array([-losses[owner == p].mean() for p in world.patients]))


class ReadsWeights(GoodLossAttack):
    def run(self, target, world, rng):
        target.oracle.model()
        return super().run(target, world, rng)


# What breaks a law of every component


class UnseededAttack(GoodAttack):
    def run(self, target, world, rng):
        values = super().run(target, world, rng).values
        return Scores(values + 1e-9 * np.frombuffer(os.urandom(8), dtype=np.uint16)[0])


class WritesLabels(GoodAttack):
    def run(self, target, world, rng):
        target.released.table["label"][0] = "?"
        return super().run(target, world, rng)


class DrawsGlobally(GoodAttack):
    def run(self, target, world, rng):
        np.random.rand()
        return super().run(target, world, rng)


@frozen
class Undocumented:
    cells: int = 4


@frozen
class Halving:
    share: float = field(default=1.0, converter=lambda x: x / 2, metadata={"doc": "halved when read"})


@define
class Changeable:
    share: float = field(default=1.0, metadata={"doc": "a share"})


# Metrics


class GoodMetric:
    better = "lower"

    def __init__(self, settings):
        pass

    def measure(self, real, released, world, rng):
        bright = real.read().mean(axis=(1, 2, 3))
        by_patient = np.array([bright[real.patient == p].mean() for p in real.patients])
        value = float(by_patient.mean() - released.read().mean())
        yield self.measurement(value, 1e-3, len(by_patient), real, released)

    def measurement(self, value, half, n, real, released):
        return Measurement("brightness", value, value - half, value + half, n)


class NoDirection(GoodMetric):
    better = "bigger"


class SameNameTwice(GoodMetric):
    def measure(self, *args):
        return [*super().measure(*args), *super().measure(*args)]


class ValueInName(GoodMetric):
    def measurement(self, value, half, n, real, released):
        return Measurement(f"brightness-{value:.2f}", value, value - half, value + half, n)


class IntervalElsewhere(GoodMetric):
    def measurement(self, value, half, n, real, released):
        return Measurement("brightness", value, value + 1, value + 2, n)


class FirstImageOnly(GoodMetric):
    def measurement(self, value, half, n, real, released):
        value = float(released.read()[0].mean())
        return Measurement("brightness", value, value - half, value + half, n)


class CountsTiles(GoodMetric):
    def measurement(self, value, half, n, real, released):
        return Measurement("brightness", value, value - half, value + half, len(real))


class GoodPairedMetric:
    better = "lower"

    def __init__(self, settings):
        pass

    def measure_pairs(self, real, originals, released, world, rng):
        gap = np.abs(originals.read().astype(float) - released.read()).mean(axis=(1, 2, 3))
        owner = originals.patient
        value = float(np.mean([gap[owner == p].mean() for p in np.unique(owner)]))
        yield self.measurement(value, len(np.unique(owner)), gap)

    def measurement(self, value, n, gap):
        return Measurement("difference", value, value - 1e-3, value + 1e-3, n)


class FirstPairOnly(GoodPairedMetric):
    def measurement(self, value, n, gap):
        return super().measurement(float(gap[0]), n, gap)


class CountsPairs(GoodPairedMetric):
    def measurement(self, value, n, gap):
        return super().measurement(value, len(gap), gap)


# Generators


class GoodModel(nn.Module):
    def __init__(self, space, seed):
        super().__init__()
        self.space = space
        start = torch.randn((space.channels, 1, 1), generator=torch.Generator().manual_seed(seed))
        self.mean = nn.Parameter(0.1 * start)
        self.spread = nn.Parameter(torch.ones(1))
        self.register_buffer("seen", torch.zeros(1))

    share = 1.0

    def phases(self):
        return [Phase("fit", self, self.draw, steps=2, learning_rate=0.1, share=self.share)]

    def draw(self, n, rng):
        return {"noise": torch.randn((n, 1, 1, 1), generator=rng)}

    def forward(self, batch, noise):
        guess = self.mean + self.spread * noise["noise"]
        return (batch["pixels"] - guess).square().flatten(1).mean(1)

    @torch.no_grad()
    def sample(self, labels, rng, progress):
        shape = (len(labels), self.space.channels, self.space.size, self.space.size)
        drawn = self.mean + 0.3 * self.spread * torch.randn(shape, generator=rng)
        return ((drawn + 1) * 127.5).clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


class GoodGenerator:
    network = GoodModel

    def __init__(self, settings):
        pass

    def model(self, space, seed):
        return self.network(space, seed)


class GreyNan(GoodModel):
    def forward(self, batch, noise):
        return super().forward(batch, noise) * (1.0 if self.space.channels == 3 else torch.nan)


class NanForGrey(GoodGenerator):
    network = GreyNan


class TwiceTheRows(GoodModel):
    def draw(self, n, rng):
        return {**super().draw(n, rng), "spare": torch.zeros(2 * n)}


class DrawsTooMuch(GoodGenerator):
    network = TwiceTheRows


class BatchMeanModel(GoodModel):
    def forward(self, batch, noise):
        losses = super().forward(batch, noise)
        return losses + losses.mean()


class BatchMean(GoodGenerator):
    network = BatchMeanModel


class CountingModel(GoodModel):
    def forward(self, batch, noise):
        self.seen.add_(1)
        return super().forward(batch, noise)


class Counting(GoodGenerator):
    network = CountingModel


class BranchingModel(GoodModel):
    def forward(self, batch, noise):
        assert batch["pixels"].isfinite().all(), "a branch on values"
        return super().forward(batch, noise)


class Branching(GoodGenerator):
    network = BranchingModel


class FloatModel(GoodModel):
    def sample(self, labels, rng, progress):
        return super().sample(labels, rng, progress).astype(np.float32)


class FloatImages(GoodGenerator):
    network = FloatModel


class ForgetfulModel(GoodModel):
    def state_dict(self):
        return {name: tensor for name, tensor in super().state_dict().items() if name != "mean"}

    def load_state_dict(self, state):
        return super().load_state_dict(state, strict=False)


class Forgetful(GoodGenerator):
    network = ForgetfulModel


class GoodSummaryModel(GoodModel):
    phases = None  # not a trained model

    def __init__(self, space, seed):
        super().__init__(space, seed)

    def features(self, batch):
        x = torch.nan_to_num(batch["pixels"]).clamp(-1, 1)
        return self.scaled(x.mean((2, 3)) / 4)

    def scaled(self, features):
        return features

    def sums(self):
        return [Sums("means", self.features, self.take, by_class=False)]

    def take(self, summary):
        self.told = summary.totals[0, 0] / summary.patients

    def fit(self, rng, progress):
        with torch.no_grad():
            self.mean.copy_(self.told[:, None, None])


class GoodSummariser(GoodGenerator):
    network = GoodSummaryModel


class UnclampedModel(GoodSummaryModel):
    def features(self, batch):
        return torch.nan_to_num(batch["pixels"]).mean((2, 3)).clamp(-2, 2) / 2


class Unclamped(GoodGenerator):
    network = UnclampedModel


class CentringModel(GoodSummaryModel):
    def scaled(self, features):
        return features - features.mean(0)


class Centring(GoodGenerator):
    network = CentringModel


# Mechanisms


class SaysNothing(DpSgd):
    protects = ""


class Unreachable(DpSgd):
    def __init__(self, settings):
        super().__init__(settings)
        self.epsilon = 1e-9


class FewStepsCostMore(DpSgd):
    def event(self, noise_multiplier, steps, patients):
        return super().event(noise_multiplier, max(steps, 7), patients)


class HalfTheRate(DpSgd):
    def event(self, noise_multiplier, steps, patients):
        event = super().event(noise_multiplier, steps, patients)
        rate = event.event.sampling_probability / 2
        return SelfComposedDpEvent(PoissonSampledDpEvent(rate, event.event.event), event.count)


class ClipsEachTensor(DpSgd):
    def noisy_sum(self, like, noise_multiplier, patients):
        rate = self.sampling_rate(patients)
        return EachTensor([GaussianSum([t], self.clip_norm, noise_multiplier, rate) for t in like])


class EachTensor:
    def __init__(self, doors):
        self.doors = doors

    def sample(self, patients):
        return self.doors[0].sample(patients)

    def add(self, vectors):
        for door, vector in zip(self.doors, vectors, strict=True):
            door.add([vector])

    def add_blocks(self, vectors, patients, blocks):
        self.doors[0].add_blocks(vectors, patients, blocks)

    def release(self):
        return [tensor for door in self.doors for tensor in door.release()]


class EachBlock(GaussianSum):
    def add_blocks(self, vectors, patients, blocks):
        super().add_blocks(vectors, torch.arange(len(vectors)), blocks)


class ClipsEachBlock(DpSgd):
    def noisy_sum(self, like, noise_multiplier, patients):
        return EachBlock(like, self.clip_norm, noise_multiplier, self.sampling_rate(patients))


class HalfTheNoise(DpSgd):
    def noisy_sum(self, like, noise_multiplier, patients):
        return super().noisy_sum(like, noise_multiplier / 2, patients)


class SeededDoor(GaussianSum):
    def __init__(self, *settings):
        super().__init__(*settings)
        self.rng = torch.Generator().manual_seed(7)

    def release(self):
        std, self._std = self._std, 0.0
        exact, self._std = super().release(), std
        return [t + std * torch.randn(t.shape, generator=self.rng) for t in exact]


class SeededNoise(DpSgd):
    def noisy_sum(self, like, noise_multiplier, patients):
        return SeededDoor(like, self.clip_norm, noise_multiplier, self.sampling_rate(patients))


class FixedDoor(GaussianSum):
    def sample(self, patients):
        chosen = secrets.SystemRandom().sample(range(patients), round(self._rate * patients))
        return np.array(chosen, dtype=np.int64)


class FixedBatches(DpSgd):
    def noisy_sum(self, like, noise_multiplier, patients):
        return FixedDoor(like, self.clip_norm, noise_multiplier, self.sampling_rate(patients))


class SteppedNoise(GaussianSum):
    """Noise of the right size that is drawn once, for all sums."""

    def __init__(self, *settings):
        super().__init__(*settings)
        self.noise = entropy.gaussian(self._total.shape, self._std)

    def release(self):
        self._std = 0.0
        self._total += self.noise
        return super().release()


class UniformNoise(GaussianSum):
    def release(self):
        bits = np.frombuffer(os.urandom(4 * len(self._total)), dtype=np.uint32)
        uniform = torch.from_numpy((bits + 0.5) / 2**32 - 0.5)
        self._total += math.sqrt(12) * self._std * uniform
        std, self._std = self._std, 0.0
        exact, self._std = super().release(), std
        return exact


class StickyCoins(GaussianSum):
    """One coin in ten is not flipped anew."""

    before = np.empty(0, dtype=np.int64)

    def sample(self, patients):
        heads = np.zeros((2, patients), dtype=bool)
        heads[0, super().sample(patients)] = True
        heads[1, self.before] = True
        kept = entropy.coins(patients, 0.1 if len(self.before) else 0.0)
        heads[0, kept] = heads[1, kept]
        self.before = np.flatnonzero(heads[0])
        return self.before


class SlightlyWeighted(GaussianSum):
    """Every other patient is drawn a fifth more often, the rest a fifth less."""

    def sample(self, patients):
        often, seldom = (entropy.coins(patients, self._rate * factor) for factor in (1.2, 0.8))
        return np.sort(np.concatenate([often[often % 2 == 0], seldom[seldom % 2 == 1]]))


class CountingDoor(GaussianSum):
    """Takes the rate from the number of patients in the data."""

    def sample(self, patients):
        return entropy.coins(patients, min(1.0, 32 / patients))


class MeanDoor(GaussianSum):
    """Gives the mean over those drawn, times the number expected."""

    drawn = None

    def sample(self, patients):
        chosen = super().sample(patients)
        self.drawn = max(len(chosen), 1) / (self._rate * patients)
        return chosen

    def release(self):
        return [t / (self.drawn or 1.0) for t in super().release()]


class OddDoor(DpSgd):
    door = GaussianSum

    def noisy_sum(self, like, noise_multiplier, patients):
        return self.door(like, self.clip_norm, noise_multiplier, self.sampling_rate(patients))


class WeightsPatients(OddDoor):
    door = SlightlyWeighted


class UniformlyNoisy(OddDoor):
    door = UniformNoise


class ReusesNoise(OddDoor):
    door = SteppedNoise


class ReusesCoins(OddDoor):
    door = StickyCoins


class CountsPatients(OddDoor):
    door = CountingDoor


class DividesByBatch(OddDoor):
    door = MeanDoor


# The cases

PRIVATE = {"epsilon": 8.0, "delta": 1e-4}


def subject(role, build, settings=None, training=None, given=None, name="kit-component"):
    return Subject(role, Component(name, "A component for the kit.", build, settings, training), given or {})


def mechanism(build):
    return subject("mechanisms", build, DpSgdSettings, "gradients", PRIVATE)


def generator(build, training="gradients"):
    return subject("generators", build, None, training)


GOOD = {
    "reader": subject("readers", GoodReader),
    "embedder": subject("embedders", GoodEmbedder),
    "attack": subject("attacks", GoodAttack),
    "attack on losses": subject("attacks", GoodLossAttack),
    "attack through a flow": subject("attacks", GoodFlowAttack),
    "metric": subject("metrics", GoodMetric),
    "metric on pairs": subject("metrics", GoodPairedMetric),
    "trained generator": generator(GoodGenerator),
    "summarised generator": generator(GoodSummariser, "summary"),
    "mechanism": mechanism(DpSgd),
}
BROKEN = {
    "name_and_summary_can_be_shown": [subject("attacks", GoodAttack, name="Kit Component")],
    "every_setting_is_documented": [subject("attacks", GoodAttack, Undocumented)],
    "settings_survive_the_file": [
        subject("attacks", GoodAttack, Halving),
        subject("attacks", GoodAttack, Changeable),
    ],
    "component_reaches_child_processes": [subject("attacks", lambda settings: GoodAttack(settings))],
    "same_seed_gives_the_same_result": [subject("attacks", UnseededAttack)],
    "inputs_stay_as_they_were": [subject("attacks", WritesLabels)],
    "global_randomness_is_left_alone": [subject("attacks", DrawsGlobally)],
    "slide_states_size_and_resolution": [subject("readers", ZeroScale)],
    "region_has_the_shape_asked_for": [subject("readers", FloatPixels)],
    "two_reads_are_equal": [subject("readers", ThirdReadDiffers)],
    "place_is_at_full_resolution": [subject("readers", SlippedRow)],
    "outside_is_white": [subject("readers", BlackOutside)],
    "resolutions_show_the_same": [subject("readers", IgnoresResolution)],
    "damaged_file_is_a_slide_error": [subject("readers", RaisesValueError)],
    "message_names_no_file": [subject("readers", NamesTheFile)],
    "one_finite_vector_per_image": [subject("embedders", DoubleFeatures)],
    "rows_are_independent": [subject("embedders", WhitensBatch)],
    "different_images_differ": [subject("embedders", SeesNothing)],
    "declares_game_and_access": [subject("attacks", NegativeShadows)],
    "one_finite_score_per_candidate": [subject("attacks", MatrixForMembership)],
    "permuting_candidates_permutes_scores": [subject("attacks", SortsPatients)],
    "group_is_scored_by_itself": [subject("attacks", ComparesGroups), subject("attacks", CentresCopies)],
    "null_release_gives_chance": [subject("attacks", KnowsTheTruth)],
    "glass_release_is_seen_through": [subject("attacks", WrongSign)],
    "nothing_above_the_declared_access": [
        subject("attacks", TakesTheModel),
        subject("attacks", ClaimsLess),
        subject("attacks", ReadsWeights),
    ],
    "says_which_way_is_good": [subject("metrics", NoDirection)],
    "yields_named_measurements": [subject("metrics", SameNameTwice)],
    "names_are_stable": [subject("metrics", ValueInName)],
    "interval_contains_the_value": [subject("metrics", IntervalElsewhere)],
    "order_does_not_matter": [subject("metrics", FirstImageOnly), subject("metrics", FirstPairOnly)],
    "n_counts_patients": [subject("metrics", CountsTiles), subject("metrics", CountsPairs)],
    "training_is_as_declared": [generator(GoodGenerator, None)],
    "one_finite_loss_per_record": [generator(NanForGrey)],
    "noise_is_drawn_beforehand": [generator(DrawsTooMuch)],
    "other_records_leave_a_loss_alone": [generator(BatchMean)],
    "a_loss_leaves_nothing_behind": [generator(Counting)],
    "gradients_per_record_are_right": [generator(Branching)],
    "samples_are_images": [generator(FloatImages)],
    "saved_model_draws_the_same": [generator(Forgetful)],
    "features_are_bounded": [generator(Unclamped, "summary")],
    "features_treat_each_record_alone": [generator(Centring, "summary")],
    "states_what_it_protects": [mechanism(SaysNothing)],
    "calibrated_noise_keeps_the_budget": [mechanism(Unreachable)],
    "cost_grows_with_use": [mechanism(FewStepsCostMore)],
    "event_tells_what_is_done": [mechanism(HalfTheRate)],
    "one_patient_moves_the_sum_by_the_clip_norm": [mechanism(ClipsEachTensor)],
    "blocks_of_a_patient_are_clipped_together": [mechanism(ClipsEachBlock)],
    "noise_has_the_size_claimed": [mechanism(HalfTheNoise)],
    "noise_follows_no_seed": [mechanism(SeededNoise)],
    "patients_are_drawn_at_the_rate_claimed": [mechanism(FixedBatches), mechanism(WeightsPatients)],
    "noise_is_gaussian": [mechanism(UniformlyNoisy)],
    "each_sum_has_noise_of_its_own": [mechanism(ReusesNoise)],
    "each_step_draws_anew": [mechanism(ReusesCoins)],
    "rate_follows_the_public_number": [mechanism(CountsPatients)],
    "sum_is_not_divided_by_who_took_part": [mechanism(DividesByBatch)],
}


def broken_laws(found, also=()):
    """Names of the laws that `found` breaks, with what the check said."""
    left_out = ELSEWHERE | (PRICED - {f"check_{name}" for name in also})
    outcomes = [try_law(law, found) for law in checks_for(found.role) if law.__name__ not in left_out]
    return {o.law.__name__.removeprefix("check_"): o.reason for o in outcomes if not o.passed}


@pytest.mark.parametrize("found", GOOD.values(), ids=GOOD.keys())
def test_a_sound_component_breaks_no_law(found):
    assert broken_laws(found) == {}


@pytest.mark.parametrize(
    ("law", "found"),
    [
        pytest.param(law, found, id=f"{law}-{number}")
        for law, subjects in BROKEN.items()
        for number, found in enumerate(subjects)
    ],
)
def test_a_broken_component_is_caught_by_exactly_its_law(law, found):
    caught = broken_laws(found, also={law})
    assert set(caught) == {law}
    assert caught[law], "the check must say what it found"


def test_a_plugin_that_imports_torch_is_caught(tmp_path, monkeypatch):
    (law,) = (check for check in checks_for("attacks") if check.__name__ in ELSEWHERE)
    monkeypatch.syspath_prepend(tmp_path)
    for name, imports in (("light_lab", "attrs"), ("heavy_lab", "torch")):
        (tmp_path / f"{name}.py").write_text(f"import {imports}\n")
    sound, heavy = (
        evolve(subject("attacks", Image.open), modules=(name,)) for name in ("light_lab", "heavy_lab")
    )
    assert try_law(law, sound).passed
    outcome = try_law(law, heavy)
    assert not outcome.passed
    assert "heavy_lab imports torch" in outcome.reason


def test_every_law_has_a_component_that_breaks_it():
    known = {law.__name__.removeprefix("check_") for role in ROLES for law in checks_for(role)}
    assert known == set(BROKEN) | {name.removeprefix("check_") for name in ELSEWHERE}


def test_every_check_states_its_law_and_a_remedy():
    checks = {check for role in ROLES for check in checks_for(role)}
    for check in itertools.chain(checks):
        assert law_of(check).endswith("."), check.__name__
        assert remedy_of(check).startswith("If this fails, "), check.__name__
        assert remedy_of(check).endswith("."), check.__name__
