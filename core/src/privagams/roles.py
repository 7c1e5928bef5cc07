"""The roles a component can play. Protocols only: nothing here is to be inherited from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from attrs import field, frozen

if TYPE_CHECKING:
    import numpy as np
    import torch
    from dp_accounting import DpEvent

    from privagams.access import Access, Holds, Scores, Target, World
    from privagams.evidence import Measurement
    from privagams.records import Records

Game = Literal["linkage", "membership", "attribute", "extraction"]
Better = Literal["higher", "lower"]
Noise = Mapping[str, "torch.Tensor"]
Batch = Mapping[str, "torch.Tensor"]


class Progress(Protocol):
    """Told how far work is; it must never be told anything about members' data."""

    def __call__(self, done: int, total: int, note: str = "", /) -> None: ...


class Slide(Protocol):
    """An open image file; a plain image is a slide with one level."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height at full resolution, px."""
        ...

    @property
    def mpp(self) -> float | None:
        """Micrometres per px at full resolution as the file states it, or None. Never guessed."""
        ...

    def read(self, x: int, y: int, width: int, height: int, downsample: float) -> np.ndarray:
        """Read a region as uint8 "height width 3" (RGB).

        `x`, `y`: top left corner in px at full resolution; `width`, `height`: size of the result in px;
        `downsample` ≥ 1: px at full resolution per px of the result. What lies outside the slide is white.
        Raises `SlideError` for a damaged file.
        """
        ...

    def close(self) -> None: ...


class Reader(Protocol):
    """Opens image files. Label, macro, thumbnail, properties and file names never get past it."""

    def open(self, path: Path) -> Slide:
        """Open `path`; raises `SlideError` for a file that is none of this reader's or is damaged."""
        ...


@frozen
class Space:
    """The images a generator learns and draws."""

    size: int
    """Height and width, px."""
    channels: int
    classes: tuple[str, ...] = ()
    """Labels from `[public]`; empty for an unconditional generator."""


@frozen(eq=False)
class Phase:
    """One stretch of training: a module with one loss per record, and how the core's loop runs it.

    `module(batch, noise)` gives one loss per record, float "n". `batch` maps "pixels" to float32 "n c h w" in
    [-1, 1] and, with classes, "labels" to int64 "n". `draw(n, rng)` makes all randomness beforehand, as tensors
    with leading axis n, so that per-patient gradients can be taken by `vmap`. Record i's loss must not depend on
    record j, nor on anything that earlier batches left behind.
    """

    name: str
    module: torch.nn.Module
    draw: Callable[[int, torch.Generator], Noise]
    steps: int
    learning_rate: float
    batch: int = 64
    """Records per step when no mechanism sets it."""
    ema: float = 0.0
    """Decay of the moving average of parameters that ends as the result; 0 for none."""
    weight_decay: float = 0.0
    data: Literal["members", "reference", "released"] = "members"
    """Whose images it learns from; "released": those that `images` gives, made of what earlier phases were told."""
    share: float = 1.0
    """Of the release's privacy budget; shares of a generator's member phases and sums add up to at most 1."""
    trains: Callable[[str], bool] = field(default=lambda _: True)
    """Which of the module's parameters this phase trains, by name."""
    images: Callable[[], Batch] | None = None
    """What a phase on "released" data trains on: "pixels" and, with classes, "labels"; asked for when it starts."""


@frozen(eq=False)
class Summary:
    """What one stretch of noisy sums told, and what is public about it."""

    totals: torch.Tensor
    """Sums over patients of their mean feature vectors, with noise, float32 "sums blocks d"."""
    patients: float
    """Expected number of patients in each sum, from `[public]` and the mechanism; never counted from the data."""
    noise_std: float
    """Standard deviation of the noise on each entry of `totals`; 0 for a yardstick."""


@frozen(eq=False)
class Sums:
    """A stretch in which members are asked for noisy sums, in place of gradients.

    `features(batch)` gives one vector per record, float32 "n d", of L2 norm at most 1, which depends on that record
    alone. The core takes the mean over a patient's m records, 1/m each, whatever their classes; with `by_class` a
    record's vector stands in the block of its class and all other blocks are 0. `take` is told the noisy sums, once
    and again after every resume: it may fix what later stretches ask, and nothing else of members ever comes.
    """

    name: str
    features: Callable[[Batch], torch.Tensor]
    take: Callable[[Summary], None]
    share: float = 1.0
    """Of the release's privacy budget, as a share of 1/σ²."""
    count: int = 1
    """How many sums, each over its own sample of patients."""
    by_class: bool = True
    """Whether each class has a block of its own; without classes there is one block in any case."""


class Model(Protocol):
    """A generator's network for one space; a `torch.nn.Module` whose `state_dict` is all there is to save."""

    def sample(self, labels: np.ndarray, rng: torch.Generator, progress: Progress) -> np.ndarray:
        """Draw one image per entry of `labels` (int64 "n"; zeros when unconditional), uint8 "n h w c"."""
        ...

    def state_dict(self) -> Mapping[str, torch.Tensor]: ...
    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> Any: ...


@runtime_checkable
class Trained(Model, Protocol):
    """A model trained by gradients, in phases."""

    def phases(self) -> Sequence[Phase | Sums]: ...


@runtime_checkable
class Summarised(Model, Protocol):
    """A model fitted to a few sums over patients. They are all that touches members' data."""

    def sums(self) -> Sequence[Sums]:
        """What is asked of members, in order; the features of a later one may rest on what an earlier one told."""
        ...

    def fit(self, rng: torch.Generator, progress: Progress) -> None:
        """Learn from what the sums told; post-processing, members are not seen again."""
        ...


@runtime_checkable
class Denoising(Protocol):
    """A diffusion model that can be asked for its noise prediction, as the sharpest membership attacks ask."""

    levels: torch.Tensor
    """ᾱ_t, the share of signal variance at each timestep, float "T", falling."""

    def predict_noise(
        self, noisy: torch.Tensor, timestep: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        """The noise ε in x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, "n c h w", as the network predicts it, not clamped.

        `timestep`: int64 "n"; `labels`: int64 "n", −1 where not told; None without classes.
        """
        ...


@runtime_checkable
class Likelihood(Protocol):
    """A model that knows the likelihood of an image."""

    def log_prob(self, batch: Batch) -> torch.Tensor:
        """Ln p(x) in nat, float "n"."""
        ...


@runtime_checkable
class Invertible(Protocol):
    """A model whose images have latent vectors, one to one: a normalising flow."""

    levels: Sequence[int]
    """How many latent coordinates each level holds, coarsest first; together d = c·h·w."""

    def encode(self, batch: Batch) -> torch.Tensor:
        """Whitened latent vectors, float "n d": under the model each entry is N(0, 1), independent of the others.

        The coarsest level's coordinates come first. `batch["labels"]` is −1 where the class is not told. Raises
        `StageError` naming the image and the block in which numbers stopped being finite.
        """
        ...

    def decode(self, latents: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """The images of such vectors, float "n c h w" on the scale of `Batch` pixels, not yet clamped to it.

        Row i depends on row i only. `labels`: int64 "n", −1 where not told; None without classes. Raises
        `StageError` as `encode` does.
        """
        ...


class Generator(Protocol):
    """A recipe for a model."""

    def model(self, space: Space, seed: int) -> Trained | Summarised:
        """Make a fresh model; equal seeds give equal weights."""
        ...


class NoisySum(Protocol):
    """The only door between members' data and parameters: a clipped sum over patients, plus noise.

    Guarantee: zeroing out one patient moves the sum before noise by at most `clip_norm` in L2 norm, and the noise
    is N(0, (noise_multiplier · clip_norm)²) per entry, from the operating system's entropy.
    """

    def sample(self, patients: int) -> np.ndarray:
        """Draw this step's patients by independent coins from the operating system; maybe none. int64 positions."""
        ...

    def add(self, vectors: Sequence[torch.Tensor]) -> None:
        """Clip each patient's vector (its tensors "b ..." taken as one vector) and add it to the sum."""
        ...

    def add_blocks(self, vectors: torch.Tensor, patients: torch.Tensor, blocks: torch.Tensor) -> None:
        """Add patients whose vectors are 0 but for a few blocks, to a sum shaped as one tensor "blocks d".

        Row j of `vectors` "m d" is the block `blocks[j]` of patient `patients[j]` (int64 "m", any numbers). All rows
        of a patient come in one call, one for each block, and are clipped as one vector.
        """
        ...

    def release(self) -> list[torch.Tensor]:
        """Add the noise, return the sum and start anew. Valid, and noisy, when nothing was added."""
        ...


@runtime_checkable
class PooledSum(NoisySum, Protocol):
    """A noisy sum that several processes of one steward can make together."""

    def pool(self, add_up: Callable[[torch.Tensor], None]) -> None:
        """Let `add_up` change the clipped sum so far, in place, to what it is over all processes.

        The only way in which a sum without noise leaves; `add_up` may hand it to the same steward's other processes,
        and to nothing else. It ends as the sum over all in the one process that releases, and as 0 in the others.
        """
        ...


class Mechanism(Protocol):
    """Makes training differentially private for a patient."""

    kind: ClassVar[Literal["gradients", "summary"]]
    """Whether it protects a `Trained` or a `Summarised` model."""
    adjacency: ClassVar[str]
    protects: ClassVar[str]
    epsilon: float
    delta: float
    clip_norm: float
    tiles_per_step: int
    """Records drawn with replacement from each sampled patient."""
    noise_draws: int
    """Noise draws per record, averaged with the records before clipping."""
    physical_patients: int
    """Patients whose gradients are held in memory at once; changes no result."""

    def sampling_rate(self, patients: int) -> float:
        """Probability with which each of `patients` (a public number) takes part in one step."""
        ...

    def event(self, noise_multiplier: float, steps: int, patients: int) -> DpEvent:
        """What `steps` noisy sums cost, for the accountant."""
        ...

    def noisy_sum(self, like: Sequence[torch.Tensor], noise_multiplier: float, patients: int) -> NoisySum:
        """Open the door for sums shaped as `like`."""
        ...


@frozen(eq=False)
class Coordinates:
    """The vectors that a local mechanism randomises: latents, or pixels on the scale [-1, 1]."""

    size: int
    """Entries of one vector, d."""
    strongest: Callable[[int], np.ndarray]
    """Positions, int64 "k", of the k coordinates that shape an image most; from public weights alone, never data."""


class Randomiser(Protocol):
    """A local mechanism bound to vectors of one size and to a number of images per patient."""

    @property
    def event(self) -> DpEvent:
        """What one image costs, vector and label together, when one patient is replaced by any other.

        `privagams.ledger.events.pure(ε)` for a pure guarantee, `GaussianDpEvent(σ / diameter)` for Gaussian noise,
        or a composition of these; made from what the noise library maps, not from what was asked for.
        """
        ...

    @property
    def per_element_epsilon(self) -> float | None:
        """ε of one coordinate; never the claim. None where coordinates have no ε of their own."""
        ...

    def randomise(self, vectors: np.ndarray) -> np.ndarray:
        """Clip, add noise and shrink each of "n d" float64 on its own; whatever comes in is within the claim.

        Noise is from the operating system's entropy. Raises `StageError` naming the row of a NaN.
        """
        ...

    def labels(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Randomise class indices, int64 "n"; all −1 where labels are withheld."""
        ...


class LocalMechanism(Protocol):
    """Randomises each image of a patient on its own, for a release of randomised copies."""

    kind: ClassVar[Literal["latents", "pixels"]]
    """What it randomises: latent vectors of an `Invertible` model, or the pixels themselves."""
    adjacency: ClassVar[str]
    protects: str
    stated_by: str
    """The library and version whose map the claim is, such as "OpenDP 0.16.0"."""

    def randomiser(self, coordinates: Coordinates, classes: int, images: int) -> Randomiser:
        """Bind to vectors, to the number of classes (0: no labels) and to the images released of each patient."""
        ...


class Embedder(Protocol):
    """Image to feature vector, for linkage attacks and utility metrics."""

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 "n h w c" with c of 1 or 3 to float32 "n d". Row i depends on image i only."""
        ...


class Attack(Protocol):
    """Turns what an adversary may see into scores; verdicts are the judge's.

    A settings class may have a field `shadows: int`: that many shadow models are then trained for the attack,
    and found in `World.shadows`.
    """

    game: ClassVar[Game]

    @property
    def access(self) -> Access:
        """The most it asks of the release; the target refuses anything above."""
        ...

    @property
    def holds(self) -> Holds:
        """Which images of members the adversary is taken to hold."""
        ...

    @property
    def labels(self) -> bool:
        """Whether it may see the candidates' labels."""
        ...

    @property
    def shadows(self) -> int:
        """How many shadow models it needs; 0 for none."""
        ...

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Score the candidates. Raises `NotApplicable` where the release offers no hold for the attack."""
        ...


class Metric(Protocol):
    """Measures utility or fidelity of a release against real images of non-members.

    A search over settings calls it too: its first figure, between images of reference patients and drawn ones, then
    tells which training was best.
    """

    better: ClassVar[Better]
    """Which way is good; the report draws and words its figures by it."""

    def measure(
        self, real: Records, released: Records, world: World, rng: np.random.Generator
    ) -> Iterable[Measurement]:
        """`real`: images of non-members, in a search of reference patients; `released.table["label"]` names classes
        where the release has them.
        """
        ...


@runtime_checkable
class PairedMetric(Protocol):
    """Measures copies of real images against the images they were made of, which the steward alone can join."""

    better: ClassVar[Better]

    def measure_pairs(
        self, real: Records, originals: Records, released: Records, world: World, rng: np.random.Generator
    ) -> Iterable[Measurement]:
        """`originals`: the real image, patient and label behind each of `released`, in its order; `real`: images of
        non-members; `world.reference`: public ones, or None.
        """
        ...
