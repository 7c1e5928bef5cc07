"""From stored scores to verdicts: the only place where scores, truth and claims come together."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from privagams.attack_stages import load_scores
from privagams.errors import PrivagamsError
from privagams.evidence import Measurement
from privagams.judge import (
    Blind,
    Family,
    Truth,
    Verdict,
    best_of,
    canary_verdict,
    judge,
    local_verdicts,
    truth_of,
)
from privagams.judge.alignment import aligned
from privagams.ledger.accounting import Claim
from privagams.pipeline import ReleaseSettings
from privagams.plan import Stage
from privagams.records import Records
from privagams.splits import SplitTable
from privagams.stage_inputs import copied, rng_of

if TYPE_CHECKING:
    from privagams.run import Prepared

_PER_PATIENT = ("membership", "extraction")


@frozen(eq=False)
class Judged:
    """One attack on one release, with what only the judge knows."""

    verdict: Verdict
    truth: Truth
    values: np.ndarray
    """Scores in the order of `truth.patients`."""


@frozen
class Unjudged:
    """An attack that gave nothing to judge on a release, and why."""

    attack: str
    release: str
    reason: str


@frozen
class Audited:
    """What became of the canaries in one audit training, and whether everybody kept to the rules."""

    verdicts: tuple[Verdict, ...]
    faults: tuple[str, ...]
    """What the mechanism or the training loop did otherwise than its claim is priced for; any one refutes it."""
    dealings: str
    """What was seen of noise and clipping, in words."""


class Judging:
    """Judges what a run's attacks have scored."""

    def __init__(self, prepared: Prepared, split: SplitTable, reason: Callable[[Stage], str]) -> None:
        self.p, self.split, self._why_missing = prepared, split, reason
        self.unjudged: list[Unjudged] = []
        settings = prepared.pipeline.split
        self._share = settings.members / (1 - settings.reference)
        self._blind = {stage.settings["holds"]: self._blind_of(stage) for stage in prepared.plan.of("blind")}

    def of(
        self, release: ReleaseSettings, claim: Claim | None, tight: Claim | None, records: Records
    ) -> list[Judged]:
        """Judge every attack on a release; what could not be judged is put down in `unjudged`.

        `tight`: the same spending at a far smaller δ, for the gate. `records`: the table of all tiles, as split.
        """
        found = []
        for stage in self.p.plan.of("attack", release.name):
            facts = self._facts_of(stage, release)
            if facts is not None:
                try:
                    found.append(self._judge(stage, facts, release, claim, tight, records))
                except PrivagamsError as error:
                    self._leave_out(attack_title(stage), release, str(error))
        return found

    def audit(self, release: ReleaseSettings, claim: Claim | None, tight: Claim | None) -> Audited | None:
        """What an audit of the release's mechanisms showed; None where there was none.

        `claim`: of the training alone; a local mechanism's audit brings its own. `tight`: the same spending at a far
        smaller δ. It binds as much, and leaves one-run bounds their force.
        """
        found = [
            self._audited(facts, release, claim, tight)
            for stage in self.p.plan.of("audit", release.name)
            if (facts := self._facts_of(stage, release)) is not None
        ]
        if not found:
            return None
        return Audited(
            tuple(verdict for one in found for verdict in one.verdicts),
            tuple(fault for one in found for fault in one.faults),
            " ".join(one.dealings for one in found),
        )

    def _audited(
        self, facts: Mapping[str, Any], release: ReleaseSettings, claim: Claim | None, tight: Claim | None
    ) -> Audited:
        if "linkage" in facts:
            verdicts = local_verdicts(facts, release=release.name)
            return Audited(verdicts, tuple(facts["faults"]), facts["dealings"])
        verdicts = tuple(
            canary_verdict(
                np.array(kind["scores"]), np.array(kind["included"], dtype=bool),
                release=release.name, attack=f"{kind['kind']} canaries",
                epsilon=claim.epsilon if claim else math.inf, delta=claim.delta if claim else 0.0,
                gate_epsilon=tight.epsilon if tight else None, gate_delta=tight.delta if tight else None,
            )
            for kind in facts["canaries"]
        )  # fmt: skip
        return Audited(verdicts, tuple(facts["faults"]), _dealings(facts))

    def family(self, judged: list[Judged]) -> Family | None:
        """The strongest of several attacks on membership in one release, judged as the best of so many.

        Compared are those with the same candidates; where there are several such sets, the largest.
        """
        sets: dict[tuple[str, ...], list[Judged]] = {}
        for one in judged:
            if one.verdict.game in _PER_PATIENT and one.verdict.interpretable:
                sets.setdefault(tuple(one.truth.patients.tolist()), []).append(one)
        found = max(sets.values(), key=len, default=[])
        if len(found) < 2 or found[0].truth.member.all() or not found[0].truth.member.any():
            return None
        scores = {one.verdict.attack: one.values for one in found}
        return best_of(scores, found[0].truth.member, np.random.default_rng(self.p.pipeline.seed))

    def _judge(
        self,
        stage: Stage,
        facts: Mapping[str, Any],
        release: ReleaseSettings,
        claim: Claim | None,
        tight: Claim | None,
        records: Records,
    ) -> Judged:
        folder = self.p.store.path(stage.verb, stage.key)
        scores = load_scores(folder, facts["scores"])
        behind = None
        if facts["game"] == "linkage":
            behind = copied(self.p.context, stage.inputs["release"])
        truth = truth_of(
            self.split, records, np.load(folder / "patients.npy"), holds=facts["holds"],
            member_share=self._share, released_rows=behind.rows if behind else None,
            group=behind.group if behind else None,
        )  # fmt: skip
        verdict = judge(
            scores, truth, release=release.name, attack=attack_title(stage), game=facts["game"],
            access=facts["access"], epsilon=claim.epsilon if claim else math.inf,
            delta=claim.delta if claim else 0.0, rng=rng_of(stage), blind=self._blind.get(facts["holds"]),
            gate_epsilon=tight.epsilon if tight else None, gate_delta=tight.delta if tight else None,
        )  # fmt: skip
        return Judged(verdict, truth, aligned(scores, truth, facts["game"], attack_title(stage)))

    def _facts_of(self, stage: Stage, release: ReleaseSettings) -> dict[str, Any] | None:
        title = attack_title(stage) if stage.verb == "attack" else "canaries"
        if not self.p.store.has(stage.verb, stage.key):
            self._leave_out(title, release, self._why_missing(stage))
            return None
        facts: dict[str, Any] = json.loads(
            (self.p.store.path(stage.verb, stage.key) / "facts.json").read_text()
        )
        if "not_run" in facts:
            self._leave_out(title, release, facts["not_run"])
            return None
        return facts

    def _leave_out(self, attack: str, release: ReleaseSettings, reason: str) -> None:
        self.unjudged.append(Unjudged(attack, release.name, reason))

    def _blind_of(self, stage: Stage) -> Blind | None:
        if not self.p.store.has(stage.verb, stage.key):
            return None
        facts = json.loads((self.p.store.path(stage.verb, stage.key) / "facts.json").read_text())
        if "not_run" in facts:
            return None
        return Blind(Measurement(**facts["measurement"]), facts["p_value"])


def _dealings(facts: Mapping[str, Any]) -> str:
    noise = ", ".join(
        f"{found:.3g} (claimed {claimed:.3g})"
        for found, claimed in zip(facts["noise_found"], facts["noise_multipliers"], strict=False)
    )
    return (
        f"Audit training on {facts['patients']}: {facts['steps']} noisy sums at sampling rate "
        f"{facts['sampling_rate']:.3g}; noise per clip norm {noise}; the largest share of one canary in a sum was "
        f"{facts['contribution']:.3g} clip norms."
    )


def attack_title(stage: Stage) -> str:
    """How reports call the attack: its name, with settings where one is used twice."""
    return stage.name.partition(" with ")[2]
