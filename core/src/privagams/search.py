"""A search for the best settings at a price for all of it: a secret number of trainings, of which one is kept."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attrs import evolve, field, frozen, validators

from privagams.errors import BudgetError, PluginError, StageError
from privagams.ledger import accounting
from privagams.ledger.events import Expense, event_to_json, spending
from privagams.ledger.search_event import DISTRIBUTIONS, MOST_TRIALS, Distribution, searched
from privagams.ledger.uncharged import Uncharged
from privagams.records import Records
from privagams.roles import Mechanism, Model, Phase, Progress, Space, Summarised, Trained

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from privagams.training.job import Account
    from privagams.training.noise_plan import Dose

_FOUND, _TRIAL, _CHOICE = "found", "trial-", "choice.json"
_PIECE = 64.0


@frozen
class SearchSettings:
    """How many trainings a search draws, and how the best of them is told."""

    trials: float = field(
        default=10.0,
        validator=[validators.ge(1), validators.le(MOST_TRIALS)],
        metadata={"doc": "trainings on average; how many there were stays secret"},
    )
    distribution: Distribution = field(
        default="geometric",
        validator=validators.in_(DISTRIBUTIONS),
        metadata={
            "doc": "of the number of trainings: geometric (at least 1), or poisson, which may be nought"
        },
    )


@frozen
class Found:
    """What leaves a search: the winner, its settings, and the price of the whole."""

    folder: Path
    """Holds the winner's weights."""
    weights: str
    choice: int
    """Number of the winner's settings among those that were searched."""
    noise_multipliers: tuple[float, ...]
    """Of each noisy stretch of any one training."""
    event: DpEvent
    epsilon_of_one: float
    """At which any one training was calibrated."""


def priced_search(
    candidates: Sequence[Callable[[], Trained | Summarised]],
    score: Callable[[Model], float],
    search: SearchSettings,
    members: Records,
    reference: Records | None,
    space: Space,
    mechanism: Mechanism,
    public_patients: int,
    seed: int,
    folder: Path,
    account: Account,
    progress: Progress,
    *,
    device: str = "cpu",
) -> Found | None:
    """Train a secret number of models, each by settings drawn from `candidates`, and keep the one of the best score.

    `candidates`: each makes an untrained model of some settings; all must ask members for the same noisy sums.
    `score`: higher is better; it may look at the model, at what the model draws and at reference images, must
    not look at members', and must not depend on earlier calls (Papernot and Steinke 2022, arXiv 2110.03620: selection
    is then free but for its number of trials). `mechanism`: its ε is for the search as a whole. None where no training
    was drawn, as "poisson" may, or where none could be scored.

    A search that was cut short stays charged in full and is not made up for: `BudgetError`. A training that breaks
    down ends it (`StageError`); one that cannot be scored counts as the worst, without a word.

    What may tell the number of trials, and so must not be published: how long the search took, what of the machine
    it used meanwhile, and anything of `folder` but `found`.

    Guarantee: all of the search is in the account before its first noisy step, no training spends anything that is
    not part of it, and neither what is returned nor what is left, told or logged says how many there were or what
    became of the others (test_the_search_is_charged_whole_before_the_first_training,
    test_a_training_that_spends_more_than_planned_is_stopped, test_nothing_tells_how_many_trainings_there_were,
    test_a_training_that_breaks_down_ends_the_search_and_decides_nothing).
    """
    _clear(folder)
    for make in candidates:
        _require_kind(make(), mechanism, reference)
    price = plan_search((make() for make in candidates), search, mechanism, public_patients)
    asked = _asked(price, len(candidates), seed, public_patients)
    if (folder / _FOUND / _CHOICE).exists():
        return _kept(folder, price, asked, account)
    if account.spent():
        raise BudgetError(
            f"search: ε = {mechanism.epsilon:g} was reserved by an earlier attempt, of which nothing is left; what is "
            "reserved counts in full and buys no second search: take another seed or name, within the budget"
        )
    account.plan(price.event)
    account.reserve(price.event, 1)
    best = -math.inf
    where: Path | None = None
    settings = 0
    try:
        for _ in range(_draw_trials(search)):
            choice = secrets.randbelow(len(candidates))
            work = folder / f"{_TRIAL}{secrets.token_hex(8)}"
            work.mkdir()
            found = _score_of_training(
                candidates[choice],
                score,
                members,
                reference,
                space,
                price,
                public_patients,
                seed,
                work,
                device,
            )
            lost: Path | None = work
            if found > best:
                best, settings = found, choice
                lost, where = where, work
            if lost is not None:
                shutil.rmtree(lost)
        # The block stays open: when it was closed would tell how long the search took, and so how many there were.
        if where is not None:
            _keep(where, folder, settings, asked)
    finally:
        _clear(folder)
    progress(1, 1)
    return None if where is None else _kept(folder, price, asked, account)


@frozen(eq=False)
class Price:
    """What a search pays: the whole, and what any one training may spend of it."""

    event: DpEvent
    each: Counter[Expense]
    mechanism: Mechanism
    """As the caller's, with the ε of one training."""
    noise_multipliers: tuple[float, ...]


def plan_search(
    models: Iterable[Trained | Summarised], search: SearchSettings, mechanism: Mechanism, patients: int
) -> Price:
    """Find the noise with which the search as a whole costs at most the mechanism's ε.

    Raises `PluginError` where the models do not ask for the same sums, `BudgetError` where no noise is enough.
    """
    from privagams.training.noise_plan import learning_of, noisy_stretches, plan_noise, planned_event

    asked = [noisy_stretches(learning_of(model)) for model in models]
    if not asked:
        raise StageError("search: expected at least one candidate, found none; give settings to search over")
    if not asked[0] or any(stretches != asked[0] for stretches in asked):
        raise PluginError(
            "search: expected candidates that ask members for the same noisy sums, found none or different ones; "
            "search over settings other than the numbers of steps and their shares"
        )

    def of_one(epsilon: float) -> tuple[Mechanism, list[Dose]]:
        one = with_epsilon(mechanism, epsilon)
        return one, plan_noise(one, asked[0], patients)

    aim = _epsilon_of_one(of_one(mechanism.epsilon)[1], search, mechanism, patients)
    while True:
        one, doses = of_one(aim)
        event = planned_event(mechanism, doses, patients)
        whole = searched(event, search.trials, search.distribution)
        if accounting.epsilon([whole], mechanism.delta)[0] <= mechanism.epsilon:
            return Price(whole, spending([event]), one, tuple(dose.noise_multiplier for dose in doses))
        aim *= 1 - 1e-3  # the plan for one training may miss its own target by a little less than this


def _epsilon_of_one(
    doses: Sequence[Dose], search: SearchSettings, mechanism: Mechanism, patients: int
) -> float:
    """ε of one training at the noise with which the search keeps to the mechanism's ε; `doses` in their proportions."""
    from privagams.training.noise_plan import planned_event

    def one(scale: float) -> DpEvent:
        scaled = [evolve(dose, noise_multiplier=scale * dose.noise_multiplier) for dose in doses]
        return planned_event(mechanism, scaled, patients)

    scale = accounting.calibrate(
        lambda z: searched(one(z), search.trials, search.distribution), mechanism.epsilon, mechanism.delta
    )
    return accounting.epsilon([one(scale)], mechanism.delta)[0]


def _require_kind(model: Trained | Summarised, mechanism: Mechanism, reference: Records | None) -> None:
    """Refuse beforehand what every training would refuse after all of them were paid for."""
    from privagams.training.noise_plan import learning_of

    kind = "summary" if isinstance(model, Summarised) else "gradients"
    if mechanism.kind != kind:
        raise PluginError(
            f"search: expected a mechanism that protects {kind!r}, as its candidates learn, found one for "
            f"{mechanism.kind!r}"
        )
    data = {part.data for part in learning_of(model) if isinstance(part, Phase)}
    if "reference" in data and reference is None:
        raise StageError("search: a candidate learns from reference patients, and there are none; add some")


def with_epsilon(mechanism: Mechanism, epsilon: float) -> Mechanism:
    """The same mechanism with another ε, such as that of one training of a search."""
    return cast("Mechanism", _WithEpsilon(mechanism, epsilon))


class _WithEpsilon:
    """A mechanism with another ε."""

    def __init__(self, inner: Mechanism, epsilon: float) -> None:
        self._inner, self.epsilon = inner, epsilon

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _OneTraining(Uncharged):
    """The account of one training of a search: paid for already, and never more than that."""

    def __init__(self, allowed: Counter[Expense]) -> None:
        super().__init__()
        self._allowed = allowed

    def reserve(self, event: DpEvent, steps: int) -> int:
        asked = spending([*self.spent(), event])
        if not asked <= self._allowed:
            raise BudgetError(
                "search: a training asked for more than was planned for it; nothing of it is kept"
            )
        return super().reserve(event, steps)


def _score_of_training(
    make: Callable[[], Trained | Summarised],
    score: Callable[[Model], float],
    members: Records,
    reference: Records | None,
    space: Space,
    price: Price,
    patients: int,
    seed: int,
    work: Path,
    device: str,
) -> float:
    """Train once in `work`; −∞ for what cannot be scored, as saying so would tell of a training that lost.

    A training that breaks down ends the search: whether it does may hang on members past the noise, and must not
    decide who wins. What comes after it, scores included, sees noisy answers only.
    """
    from safetensors.torch import load_file

    from privagams.training.train import fit

    try:
        result = fit(
            make(), members, reference, space, price.mechanism, patients, seed, work, _OneTraining(price.each),
            lambda done, total, said="": None, watch=False, device=device,
        )  # fmt: skip
    except BudgetError:
        raise
    except Exception as error:
        raise StageError(
            f"search: a training broke down, and the whole search with it ({error}); nothing of it is kept, and what "
            "was reserved stays spent. Try the settings on invented images, then again under another seed or name"
        ) from error
    try:
        fresh = make()
        fresh.load_state_dict(load_file(work / result.weights))
        found = float(score(fresh))
    except Exception:
        return -math.inf
    return found if math.isfinite(found) else -math.inf


def _clear(folder: Path) -> None:
    for left in folder.glob(f"{_TRIAL}*"):
        shutil.rmtree(left)


def _keep(work: Path, folder: Path, choice: int, asked: str) -> None:
    """Copy the winner's weights, and nothing else of it, to their place: a file keeps the time it was made at."""
    from privagams.training.checkpoint import WEIGHTS

    partial = folder / f"{_TRIAL}found"
    partial.mkdir()
    _write(partial / WEIGHTS, (work / WEIGHTS).read_bytes())
    _write(partial / _CHOICE, json.dumps({"choice": choice, "asked": asked}).encode())
    os.replace(partial, folder / _FOUND)
    shutil.rmtree(work)


def _write(path: Path, content: bytes) -> None:
    """On disk when this returns: a power cut must not leave a paid search with an empty file."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _kept(folder: Path, price: Price, asked: str, account: Account) -> Found:
    """What an earlier call found; refused where this one's price, seed or number of candidates differs, or nobody
    has paid for it. That the candidates and the score are the same is the caller's to see to.
    """
    from privagams.training.checkpoint import WEIGHTS

    kept = json.loads((folder / _FOUND / _CHOICE).read_text())
    if kept.get("asked") != asked or not spending([price.event]) <= spending(account.spent()):
        raise StageError(
            f"{folder / _FOUND}: expected the result of this search, found one of other settings, or one that this "
            "account has not paid for; use another folder"
        )
    return Found(
        folder / _FOUND, WEIGHTS, int(kept["choice"]), price.noise_multipliers, price.event,
        price.mechanism.epsilon,
    )  # fmt: skip


def _asked(price: Price, candidates: int, seed: int, patients: int) -> str:
    """What two searches agree in if one's result is the other's."""
    told = [event_to_json(price.event), candidates, seed, patients, price.mechanism.clip_norm]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _draw_trials(search: SearchSettings) -> int:
    """How many trainings there are, by the operating system's entropy and never by a seed."""
    chance = secrets.SystemRandom()
    if search.distribution == "geometric":
        count = 1
        while chance.random() >= 1 / search.trials:
            count += 1
        return count
    pieces = math.ceil(search.trials / _PIECE)  # e^−mean of a larger one has too few digits
    return sum(_poisson(search.trials / pieces, chance.random()) for _ in range(pieces))


def _poisson(mean: float, uniform: float) -> int:
    """The number at which the distribution function of Poisson(mean) passes `uniform`."""
    count, term = 0, math.exp(-mean)
    passed = term
    while passed <= uniform and term > 0:
        count += 1
        term *= mean / count
        passed += term
    return count
