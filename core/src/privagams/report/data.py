"""What a report is made of: the pages, cards and JSON need this and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from attrs import field, frozen, validators

from privagams.evidence import Measurement

Kind = Literal["drawn images", "raw copies", "randomised copies", "model"]
Status = Literal["refused by gate", "waiting for approval", "approved", "yardstick", "not released"]
Game = Literal["linkage", "membership", "attribute", "extraction"]
DRAWING_KINDS: tuple[Kind, ...] = ("drawn images", "model")


def _at_least_zero(_: Any, attribute: Any, value: float) -> None:
    if math.isnan(value) or value < 0:
        raise ValueError(f"{attribute.name}: expected a number ≥ 0 or inf, found {value}")


def _optional_float(value: Any) -> float | None:
    return None if value is None else float(value)


@frozen
class Claim:
    """An upper bound on what a release tells about one unit, priced by an accountant. ε in nat."""

    epsilon: float = field(converter=float, validator=_at_least_zero)
    """Also takes "inf", as claims are written in JSON."""
    delta: float = field(converter=float, validator=[validators.ge(0.0), validators.le(1.0)])
    unit: str = "patient"
    adjacency: str = "zero-out"
    accountant: str = ""
    protects: str = ""
    replace_one_epsilon: float | None = field(default=None, converter=_optional_float)
    """The figure under replace-one adjacency, where it differs."""
    per_element_epsilon: float | None = field(default=None, converter=_optional_float)
    """The figure for one released value; printed beside the claim, never instead of it."""

    @property
    def bounded(self) -> bool:
        """Whether the claim promises anything at all."""
        return math.isfinite(self.epsilon) and self.delta < 1


@frozen
class Chosen:
    """A component that a release used, with its settings as resolved."""

    name: str
    settings: Mapping[str, Any] = field(factory=dict)


@frozen
class Searched:
    """A search that chose a generator's settings. How many trainings there were is a secret, and not in here."""

    score: str
    """The metric that told the best."""
    trials: float
    """Trainings on average."""
    distribution: Literal["poisson", "geometric"]
    images: int
    """Drawn for each score."""
    over: Mapping[str, tuple[Any, ...]]
    """Settings, and which values of each were tried."""
    chosen: Mapping[str, Any] | None
    """None on public pages until the release is approved."""
    epsilon_of_one: float
    """What one of its trainings costs by itself."""
    notes_without_choice: tuple[str, ...] = ()
    """What the world is told instead of `public_notes` of a release that was not let go."""

    @property
    def candidates(self) -> int:
        return math.prod(len(values) for values in self.over.values())


@frozen
class Curve:
    """A curve of an attack: "roc" has (false alarms, found), "rank" has (rank, share found by that rank)."""

    kind: Literal["roc", "rank"]
    points: tuple[tuple[float, float], ...]


@frozen
class LatentLevel:
    """One level of a flow on held-out images: under the model mean 0, sd 1, and 0.27 % beyond 3."""

    coordinates: int
    mean: float
    sd: float
    beyond_3: float


@frozen
class Latents:
    """How normal the latents of held-out images are; private, since these are non-members' images."""

    images: int
    levels: tuple[LatentLevel, ...]
    """Coarsest first."""
    histogram: tuple[float, ...]
    """Shares of all values between `edges`; the outermost hold all that lies beyond."""
    edges: tuple[float, ...]


@frozen
class CoursePoint:
    """The mean loss on reference images after `step` steps, in the phase then trained."""

    phase: str
    step: int
    loss: float


@frozen(eq=False)
class Course:
    """How a training went; no member was asked."""

    points: tuple[CoursePoint, ...] = ()
    drawn: tuple[int, ...] = ()
    """Steps after which images were drawn."""
    images: np.ndarray | None = None
    """Those images, uint8 "looks n h w c"."""
    missed: int = 0
    """Looks that failed."""

    @property
    def phases(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(point.phase for point in self.points))

    @property
    def broken(self) -> int | None:
        """After how many steps the loss was no finite number for the first time."""
        return next((point.step for point in self.points if not math.isfinite(point.loss)), None)


@frozen
class AttackResult:
    """What the judge made of one attack on one release. Sentences come from the judge."""

    attack: str
    game: Game
    access: str
    measurements: tuple[Measurement, ...]
    relation: str = ""
    """How probe and gallery are related: "same image", "other region", "other section"…"""
    sentence: str = ""
    caps: Mapping[str, float] = field(factory=dict)
    """Largest value that the claim allows, by measurement name; inf where it allows everything."""
    largest_bound: float | None = None
    """The largest ε that the gate's test of this attack could have shown at all."""
    gate: Literal["passed", "failed", "beyond reach", ""] = ""
    """Beyond reach: with so many patients or canaries the test could not have contradicted this claim."""
    curves: tuple[Curve, ...] = ()
    private: bool = True
    """Whether it saw private data; False only for audits on reference or demo patients."""
    notes: tuple[str, ...] = ()
    not_tested: tuple[str, ...] = ()
    """What this attack could not measure, and why: listed under what was not tested."""


@frozen
class MetricResult:
    """What a utility metric found."""

    metric: str
    better: Literal["higher", "lower"]
    measurements: tuple[Measurement, ...]
    sentence: str = ""
    private: bool = True


@frozen
class PatientFigure:
    """One worst-off patient, by pseudonym."""

    pseudonym: str
    value: float
    n: int
    """Number of that patient's images behind the figure."""
    low: float | None = None
    high: float | None = None


@frozen
class WorstOff:
    """Those for whom an attack works best, beside the average patient."""

    attack: str
    what: str
    """What the figure says, such as "share of this patient's images linked at first guess"."""
    average: Measurement
    patients: tuple[PatientFigure, ...]
    sentence: str = ""


@frozen
class Needed:
    """How many patients a better release would need."""

    patients: int
    sentence: str


@frozen
class Approval:
    """Who let a release go, and when."""

    who: str
    when: str


@frozen(eq=False)
class Examples:
    """Images that a model drew: `pixels` uint8 "n h w c" with c of 1 or 3; a class name for each, or none."""

    pixels: np.ndarray = field()
    classes: tuple[str, ...] = ()

    @pixels.validator
    def _check_pixels(self, _: Any, pixels: np.ndarray) -> None:
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
            raise ValueError(
                f'examples: expected uint8 "n h w c" with 1 or 3 channels, found {pixels.dtype} of shape '
                f"{pixels.shape}; convert them first"
            )

    def __attrs_post_init__(self) -> None:
        if self.classes and len(self.classes) != len(self.pixels):
            raise ValueError(
                f"examples: expected one class name per image, found {len(self.classes)} for "
                f"{len(self.pixels)}; give one for each, or none"
            )


@frozen(eq=False)
class Release:
    """One release, what it claims, what attacks and metrics found, and how it stands.

    Guarantee: copies of real images, raw or randomised, cannot be shown as examples. The test
    `test_images_of_raw_or_randomised_copies_are_refused` fails without it.
    """

    name: str
    kind: Kind
    status: Status
    images: int | None
    """How many; None on public pages for copies that were not let go, since it counts members' images."""
    yardstick: bool = False
    claims: tuple[Claim, ...] = ()
    """The release alone. The first is the members'; a second one states what reference patients lose."""
    total: Claim | None = None
    """With all other releases of the data set, the largest over patients."""
    generator: Chosen | None = None
    mechanism: Chosen | None = None
    training: Chosen | None = None
    """What protects the generator's own training, where `mechanism` randomises copies."""
    searched: Searched | None = None
    images_per_patient: int | None = None
    """Of randomised copies: how many leave of each member, a public constant."""
    attacks: tuple[AttackResult, ...] = ()
    metrics: tuple[MetricResult, ...] = ()
    examples: Examples | None = None
    course: Course | None = None
    worst_off: tuple[WorstOff, ...] = ()
    adversary: str = ""
    """One sentence: what an adversary could do with this release, on average and to the worst-off."""
    best_of: str = ""
    """What is left of the strongest attack on membership once it is judged as the best of so many."""
    needed: Needed | None = None
    latents: Latents | None = None
    notes: tuple[str, ...] = ()
    """Warnings and remarks that may rest on private data."""
    public_notes: tuple[str, ...] = ()
    approval: Approval | None = None

    def __attrs_post_init__(self) -> None:
        if self.examples is not None and self.kind not in DRAWING_KINDS:
            raise ValueError(
                f"release {self.name!r}: expected no example images for {self.kind}, found "
                f"{len(self.examples.pixels)}; only drawn images may be shown, never real ones or copies "
                "of them"
            )
        if not self.claims and not self.yardstick:
            raise ValueError(
                f"release {self.name!r}: expected a claim, found none; state it, with epsilon = inf if "
                "nothing protects"
            )

    @property
    def alone(self) -> Claim | None:
        """What the release costs a member by itself."""
        return self.claims[0] if self.claims else None

    @property
    def protected(self) -> bool:
        """Whether every claim of the release promises something."""
        return bool(self.claims) and all(claim.bounded for claim in self.claims)


@frozen
class Count:
    """A number in words. Private unless the pipeline states it openly."""

    words: str
    value: int
    private: bool = True


@frozen
class Budget:
    """The data set's privacy budget, and how much of it all releases took before and after this run."""

    epsilon: float
    delta: float
    before_epsilon: float
    before_delta: float
    after_epsilon: float
    after_delta: float


@frozen
class Failures:
    """What became of the input files: counts, never names."""

    read: int
    no_tissue: int = 0
    failed: int = 0


@frozen
class NotRun:
    """An attack that was not run on a release, and why."""

    attack: str
    release: str
    reason: str


@frozen
class Plugin:
    """A distribution that took part."""

    distribution: str
    version: str
    components: tuple[str, ...]


@frozen
class StageTime:
    """Wall time of a stage; a cached one took none in this run."""

    stage: str
    seconds: float | None
    """None where it is told nowhere: of a search, and of what came after it in the same run."""
    cached: bool = False


@frozen
class Selftest:
    """How the known-answer suite ended before this audit."""

    passed: int
    total: int
    seconds: float


@frozen
class Gate:
    """The family of tests that decides whether a claim can stand (Bonferroni)."""

    tests: int
    level: float
    sentence: str = ""


@frozen
class Provenance:
    """What was run with what. Never a host name."""

    seed: int
    python: str
    platform: str = ""
    versions: Mapping[str, str] = field(factory=dict)
    hashes: Mapping[str, str] = field(factory=dict)
    stages: tuple[StageTime, ...] = ()


@frozen(eq=False)
class Report:
    """Everything the pages show."""

    pipeline: str
    dataset: str
    created: str
    """Date and time as text; it is data, so that two writes of one report are equal."""
    public_patients: int
    """The number of patients, or the lower bound, that `[public]` states."""
    releases: tuple[Release, ...]
    provenance: Provenance
    alone: Claim | None = None
    """All releases of this run together."""
    total: Claim | None = None
    """All releases of the data set ever."""
    budget: Budget | None = None
    counts: tuple[Count, ...] = ()
    failures: Failures | None = None
    not_run: tuple[NotRun, ...] = ()
    not_protected: tuple[str, ...] = ()
    """What this data set leaves unprotected beyond the standing list; printed on the public page too."""
    warnings: tuple[str, ...] = ()
    plugins: tuple[Plugin, ...] = ()
    gate: Gate | None = None
    selftest: Selftest | None = None
    approve_options: str = ""
    """What `privagams approve` needs besides the release's name, such as "--pipeline xray.toml"."""
