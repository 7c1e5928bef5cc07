"""From finished stages to what a report says: attacks judged, claims priced from the ledger."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import evolve, frozen

from privagams.approval import uses_reference
from privagams.decisions import decision_on, written_at
from privagams.errors import ExitCode, LedgerError, PluginError
from privagams.evidence import Measurement
from privagams.failures import headline
from privagams.judge import Verdict, gate, rank_probes, tpr_cap
from privagams.judge import words as judge_words
from privagams.judge.gate import Gate
from privagams.judging import Audited, Judged, Judging
from privagams.latents import EDGES
from privagams.ledger import accounting
from privagams.ledger.accounting import REPLACE_ONE, ZERO_OUT, Claim
from privagams.ledger.ledger import Ledger
from privagams.ledger.search_event import each_of
from privagams.pipeline import ReleaseSettings, delta_of
from privagams.plan import Stage
from privagams.plan_words import past_ends
from privagams.remarks import best_of_words, gate_word, needed_patients, notes_on
from privagams.report import data
from privagams.report.odds import delta_warning
from privagams.shown_settings import remarks_on_training, shown_generator, shown_search
from privagams.splits import SplitTable
from privagams.stage_inputs import build, open_released, records_of
from privagams.store import digest
from privagams.training.course import load_course

if TYPE_CHECKING:
    from privagams.run import Prepared

_EXAMPLES = 24
_GATE_DELTA = 1e-9
"""Canaries are held against the claim at this δ: at a larger one, one-run bounds have no force at the gate's level."""
_WORST_SHOWN = 5


@frozen
class Made:
    report: data.Report
    refused: frozenset[str]
    """Releases whose claim was contradicted by a measured bound, or whose mechanism was found at fault."""


class Assembly:
    """Gathers one report. Only this and the judge see scores and truth together."""

    def __init__(self, prepared: Prepared, failed: Mapping[str, tuple[str, int]], ledger: Ledger) -> None:
        self.p, self.failed, self.ledger = prepared, failed, ledger
        self.split = SplitTable.load(self._folder(prepared.plan.of("split")[0]) / "split.parquet")
        self.records = records_of(prepared.plan.of("split")[0], prepared.context)
        self.judging = Judging(prepared, self.split, self._reason)
        self.warnings: list[str] = []
        self.seconds = past_ends(prepared.run_folder / "events.jsonl")
        self.delta = prepared.pipeline.budget.delta if prepared.pipeline.budget else 0.0

    def report(self) -> Made:
        pipeline = self.p.pipeline
        complete = [r for r in pipeline.releases if self._complete(r)]
        claims = {r.name: self._claim(r) for r in complete}
        tight = {r.name: self._claim(r, _GATE_DELTA) for r in complete}
        judged = {r.name: self.judging.of(r, claims[r.name], tight[r.name], self.records) for r in complete}
        audits = {
            r.name: self.judging.audit(r, self._training_claim(r), self._training_claim(r, _GATE_DELTA))
            for r in complete
        }
        outcome = gate(
            [one.verdict for found in judged.values() for one in found]
            + [verdict for audited in audits.values() if audited for verdict in audited.verdicts]
        )
        refused = {test.bound.release for test in outcome.refused}
        for name, audited in audits.items():
            for fault in audited.faults if audited else ():
                refused.add(name)
                self.warnings.append(f"{name}: REFUSED, the audit of its mechanism found a fault: {fault}")
        total = self.ledger.total(self.delta) if self.delta else None
        releases = tuple(
            self._release(
                r, claims[r.name], judged[r.name], audits[r.name], outcome, r.name in refused, total
            )
            for r in complete
        )
        facts = self._facts(self.p.plan.of("tile")[0])
        for release in complete:
            warning = delta_warning(_page_claim(claims[release.name]), pipeline.public.patients)
            if warning and not release.yardstick:
                self.warnings.append(f"{release.name}: {warning}")
        report = data.Report(
            pipeline=pipeline.name,
            dataset=pipeline.source.dataset,
            created=self._created(),
            public_patients=pipeline.public.patients,
            releases=releases,
            provenance=self._provenance(),
            total=_page_claim(total) if total else None,
            budget=self._budget(total),
            counts=self._counts(facts),
            failures=data.Failures(facts["images"], len(facts["skipped"]), len(facts["failed"])),
            not_run=tuple(data.NotRun(u.attack, u.release, u.reason) for u in self.judging.unjudged),
            selftest=self._selftest(),
            warnings=tuple(self.warnings),
            plugins=self._plugins(),
            approve_options=self._options(),
            gate=data.Gate(
                len(outcome.tests),
                outcome.level,
                judge_words.of_gate(
                    outcome,
                    faults=sum(bool(a.faults) for a in audits.values() if a),
                    uninterpretable=sum(
                        not one.verdict.interpretable for found in judged.values() for one in found
                    ),
                ),
            ),
        )
        return Made(report, frozenset(refused))

    def _created(self) -> str:
        """When it is made: with a search in it the day alone, as the hour would bound how long that took."""
        return written_at(self.p.pipeline)

    def _complete(self, release: ReleaseSettings) -> bool:
        stages = [s for s in self.p.plan.stages if s.release == release.name and s.verb in ("fit", "release")]
        lost = [s for s in stages if not self.p.store.has(s.verb, s.key)]
        if lost:
            reason = self._reason(lost[0])
            self.warnings.append(f"{release.name} is missing from this report: {lost[0].name}: {reason}")
        return not lost

    def _claim(self, release: ReleaseSettings, delta: float | None = None) -> Claim | None:
        """What the ledger holds for this release, training and randomising together; never what a checkpoint says.

        At `delta` instead of the release's own, where one is given.
        """
        if release.mechanism is None or release.yardstick:
            return None
        stages = [s for verb in ("fit", "release") for s in self.p.plan.of(verb, release.name)]
        keys = [stage.key for stage in stages if stage.settings["mechanism"] is not None]
        unpaid = [key for key in keys if not self.ledger.spent(fit=key)]
        if unpaid:
            raise LedgerError(
                f"{release.name}: the ledger holds nothing of its making, which is done; it was put back or "
                "replaced: restore the newest copy of the data set's folder"
            )
        mechanism = build(self.p.registry, "mechanisms", release.mechanism)
        expected = REPLACE_ONE if release.randomised else ZERO_OUT
        if mechanism.adjacency != expected:
            raise PluginError(
                f"mechanism {release.mechanism.name!r}: expected adjacency {expected!r}, by which such releases are "
                f"priced, found {mechanism.adjacency!r}"
            )
        facts = self._facts(stages[-1])
        protects = mechanism.protects
        if release.search is not None:
            protects += ", in the whole search for its settings"
        found = self.ledger.claim_of(
            keys, delta or delta_of(release), protects=protects,
            per_element_epsilon=facts.get("per_element_epsilon"),
        )  # fmt: skip
        if found is None or not release.randomised:
            return found
        covers = found.protects + (", and by its part in the flow's training" if release.training else "")
        mapped = f"{found.accountant}; of one image, the map of {mechanism.stated_by}"
        return evolve(found, accountant=mapped, protects=covers)

    def _training_claim(self, release: ReleaseSettings, delta: float | None = None) -> Claim | None:
        """Of the training alone, which its audit is held against; what copies cost beside it would hide a fault."""
        fits = [s.key for s in self.p.plan.of("fit", release.name) if s.settings["mechanism"] is not None]
        protector = release.training if release.randomised else release.mechanism
        if protector is None or release.yardstick or not fits:
            return None
        if release.search is not None:
            paid = [each_of(event) for key in fits for event in self.ledger.spent(fit=key)]
            return accounting.claim(paid, delta or float(protector.settings["delta"]), ZERO_OUT, "")
        return self.ledger.claim_of(fits, delta or float(protector.settings["delta"]), protects="")

    def _release(
        self, release: ReleaseSettings, claim: Claim | None, judged: list[Judged], audited: Audited | None,
        outcome: Gate, refused: bool, total: Claim | None,
    ) -> data.Release:  # fmt: skip
        stage = self.p.plan.of("release", release.name)[0]
        fit = next(iter(self.p.plan.of("fit", release.name)), None)
        facts = self._facts(fit) if fit else {}
        decision = decision_on(self.p.run_folder, stage.artifact)
        status: data.Status = "yardstick" if release.yardstick else "waiting for approval"
        if refused:
            status = "refused by gate"
        elif decision is not None:
            status = "approved" if decision.decision == "approved" else "not released"
        return data.Release(
            name=release.name,
            kind=_kind(release),
            status=status,
            images=self._facts(stage)["images"],
            yardstick=release.yardstick,
            claims=self._claims(release, claim),
            total=_page_claim(total) if total and not release.yardstick else None,
            generator=shown_generator(release, facts, self.p.registry),
            mechanism=_chosen(release.mechanism),
            training=_chosen(release.training),
            images_per_patient=(release.images_per_patient or 1) if release.randomised else None,
            attacks=(
                *(self._attack(release, one.verdict, claim, outcome) for one in judged),
                *self._audit(audited, outcome),
            ),
            metrics=self._metrics(release),
            examples=self._examples(stage) if release.of == "drawn" else None,
            course=self._course(fit) if release.of == "drawn" and fit else None,
            worst_off=tuple(w for one in judged for w in self._worst(one)),
            adversary=judge_words.adversary([one.verdict for one in judged]),
            best_of=best_of_words(self.judging.family(judged)),
            needed=needed_patients(facts.get("noise_to_signal"), self.p.pipeline.public_members),
            latents=_latents(self._facts(stage).get("latents")),
            notes=(*facts.get("notes", ()), *self._facts(stage).get("notes", ())),
            searched=shown_search(release, facts, self.p.registry),
            public_notes=remarks_on_training(release, facts, self.p.registry),
            approval=data.Approval(decision.who, decision.when)
            if decision and status == "approved"
            else None,
        )

    def _claims(self, release: ReleaseSettings, claim: Claim | None) -> tuple[data.Claim, ...]:
        """The members' claim; beside it, where training saw reference patients, that they have none."""
        if claim is None:
            return ()
        beside = data.Claim(np.inf, 0.0, protects="nothing of reference patients, who are treated as public")
        return (_page_claim(claim), *([beside] if uses_reference(self.p, release) else []))

    def _attack(
        self, release: ReleaseSettings, verdict: Verdict, claim: Claim | None, outcome: Gate
    ) -> data.AttackResult:
        tests = [t for t in outcome.tests if t.bound in verdict.bounds]
        caps: dict[str, float] = {}
        if claim is not None and verdict.cap is not None and verdict.headline is not None:
            caps[verdict.headline.name] = verdict.cap
            caps |= {
                m.name: tpr_cap(float(m.name[4:]), claim.epsilon, claim.delta)
                for m in verdict.measurements
                if m.name.startswith("tpr@")
            }
        return data.AttackResult(
            attack=verdict.attack, game=verdict.game, access=verdict.access, relation=verdict.relation,  # type: ignore[arg-type]
            measurements=verdict.measurements, sentence=verdict.sentence, caps=caps, not_tested=verdict.not_tested,
            largest_bound=max((t.largest_epsilon for t in tests), default=None),
            gate=gate_word(tests),
            curves=tuple(
                data.Curve(kind, points) for kind, points in (("roc", verdict.roc), ("rank", verdict.rank)) if points  # type: ignore[arg-type]
            ),
            notes=notes_on(release, verdict),
        )  # fmt: skip

    def _audit(self, audited: Audited | None, outcome: Gate) -> list[data.AttackResult]:
        """Canaries saw no member, so their figures are outside no claim and may be shown to anybody."""
        found = []
        for verdict in audited.verdicts if audited else ():
            tests = [t for t in outcome.tests if t.bound in verdict.bounds]
            found.append(
                data.AttackResult(
                    attack=verdict.attack, game=verdict.game, access=verdict.access, relation="",  # type: ignore[arg-type]
                    measurements=verdict.measurements, sentence=verdict.sentence, not_tested=verdict.not_tested,
                    largest_bound=max((t.largest_epsilon for t in tests), default=None),
                    gate=gate_word(tests),
                    private=False, notes=(audited.dealings,) if audited else (),
                )
            )  # fmt: skip
        return found

    def _metrics(self, release: ReleaseSettings) -> tuple[data.MetricResult, ...]:
        results = []
        for stage in self.p.plan.of("measure", release.name):
            name = stage.settings["use"]["use"]
            if not self.p.store.has("measure", stage.key):
                reason = self._reason(stage)
                self.warnings.append(f"{release.name}: {name} is missing: {reason}")
                continue
            facts = self._facts(stage)
            if "not_run" in facts:
                continue
            measurements = tuple(Measurement(**m) for m in facts["measurements"])
            results.append(data.MetricResult(name, facts["better"], measurements))
        return tuple(results)

    def _examples(self, stage: Stage) -> data.Examples:
        drawn = open_released(self.p.context, stage.artifact)
        shown = np.arange(min(_EXAMPLES, len(drawn)))
        labels = tuple(str(label) for label in drawn.column("label")[shown])
        return data.Examples(drawn.read(shown), labels if any(labels) else ())

    def _course(self, fit: Stage) -> data.Course | None:
        seen = load_course(self._folder(fit))
        points = tuple(data.CoursePoint(p.phase, p.step, p.loss) for p in seen.points)
        course = data.Course(points, seen.drawn, seen.images, seen.missed)
        return course if points or seen.drawn or seen.missed else None

    def _worst(self, one: Judged) -> list[data.WorstOff]:
        verdict, truth = one.verdict, one.truth
        if truth.groups is None or verdict.headline is None:
            return []
        probes = rank_probes(one.values, truth.groups, truth.patients, truth.relation != "same image")
        mine = probes.top1[np.arange(len(probes.own)), probes.own]
        worst = np.argsort(-mine, kind="stable")[:_WORST_SHOWN]
        counts = {str(p): int((truth.groups == str(p)).sum()) for p in truth.patients[probes.own[worst]]}
        patients = tuple(
            data.PatientFigure(
                str(truth.patients[probes.own[i]]), float(mine[i]), counts[str(truth.patients[probes.own[i]])]
            )
            for i in worst
        )
        what = "share of this patient's released image files linked at the first guess"
        return [data.WorstOff(verdict.attack, what, verdict.headline, patients, verdict.worst_off)]

    def _selftest(self) -> data.Selftest | None:
        for stage in self.p.plan.of("selftest"):
            if self.p.store.has("selftest", stage.key):
                facts = self._facts(stage)
                failed = [check["name"] for check in facts["checks"] if not check["passed"]]
                if failed:
                    self.warnings.append(
                        f"the self-test failed ({', '.join(failed)}): attacks and judge are not to be trusted here"
                    )
                return data.Selftest(facts["passed"], facts["total"], facts["seconds"])
            self.warnings.append(f"the self-test could not be run: {self._reason(stage)}")
        return None

    def _options(self) -> str:
        """What `approve` needs besides the name to mean exactly this run."""
        pipeline, runs = self.p.pipeline, self.p.run_folder.parent
        words = [] if pipeline.file == "pipeline.toml" else ["--pipeline", pipeline.file]
        words += [word for text in pipeline.overrides for word in ("--set", text)]
        words += [] if runs.resolve() == (pipeline.folder / "runs").resolve() else ["--runs", str(runs)]
        return shlex.join(words)

    def _budget(self, total: Claim | None) -> data.Budget | None:
        budget = self.p.pipeline.budget
        if budget is None or total is None:
            return None
        before = self.ledger.total(budget.delta, without_run=self.p.pipeline.name)
        return data.Budget(
            budget.epsilon, budget.delta, before.epsilon, before.delta if before.epsilon else 0.0,
            total.epsilon, total.delta,
        )  # fmt: skip

    def _counts(self, facts: Mapping[str, Any]) -> tuple[data.Count, ...]:
        split = self._facts(self.p.plan.of("split")[0])["patients"]
        return (
            data.Count("patients with at least one tile or image", facts["patients"]),
            data.Count("tiles or images read", facts["tiles"]),
            data.Count("members (trained on or released)", split["member main"]),
            data.Count("members with images held back for attacks", split["member auxiliary"]),
            data.Count("non-members", split["nonmember main"]),
        )

    def _plugins(self) -> tuple[data.Plugin, ...]:
        used: dict[tuple[str, str], set[str]] = {}
        for stage in self.p.plan.stages:
            for component, source in stage.components.items():
                if component != "core":
                    distribution, _, version = source.rpartition(" ")
                    used.setdefault((distribution, version), set()).add(component.replace(":", ": "))
        return tuple(data.Plugin(d, v, tuple(sorted(c))) for (d, v), c in sorted(used.items()))

    def _provenance(self) -> data.Provenance:
        from privagams.run import versions

        found = versions(self.p.registry)
        found.pop("plugins")
        found.pop("platform")  # stated apart
        stages = tuple(
            data.StageTime(s.name, None)
            if s.searches or self.seconds.get(s.name, 0.0) is None
            else data.StageTime(s.name, self.seconds.get(s.name, 0.0), s.name not in self.seconds)
            for s in self.p.plan.stages
        )
        hashes = {"configuration": digest(self.p.pipeline.resolved), "ledger head": str(self.ledger.head)}
        return data.Provenance(
            self.p.pipeline.seed, found.pop("python"), platform.system(), found, hashes, stages
        )

    def _reason(self, stage: Stage) -> str:
        text, code = self.failed.get(stage.artifact, ("it was not run", int(ExitCode.OK)))
        return headline(text) if code == ExitCode.OK else f"it failed: {headline(text)}"

    def _facts(self, stage: Stage) -> dict[str, Any]:
        return json.loads((self._folder(stage) / "facts.json").read_text())

    def _folder(self, stage: Stage) -> Any:
        return self.p.store.path(stage.verb, stage.key)


def _latents(found: Mapping[str, Any] | None) -> data.Latents | None:
    if found is None:
        return None
    levels = tuple(
        data.LatentLevel(one["coordinates"], one["mean"], one["sd"], one["beyond_3"])
        for one in found["levels"]
    )
    return data.Latents(found["images"], levels, tuple(found["histogram"]), tuple(EDGES.tolist()))


def _kind(release: ReleaseSettings) -> data.Kind:
    if release.of == "drawn":
        return "drawn images"
    return "randomised copies" if release.randomised else "raw copies"


def _page_claim(claim: Claim | None) -> data.Claim:
    return data.Claim(**claim.to_json()) if claim else data.Claim(np.inf, 0.0)


def _chosen(use: Any) -> data.Chosen | None:
    return None if use is None else data.Chosen(use.name, use.settings)
