"""How a report becomes HTML: one offline file for the steward, one for the public."""

from __future__ import annotations

import math
import shlex
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from attrs import frozen
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from privagams.evidence import Measurement
from privagams.report import odds, pictures, wording
from privagams.report.course_picture import course_picture
from privagams.report.curves import curve
from privagams.report.curves_of_use import UsePoint, curves_of_use
from privagams.report.data import AttackResult, Examples, MetricResult, Release, Report
from privagams.report.latent_picture import latent_picture
from privagams.report.public import for_public
from privagams.report.scatter import Point, scatter

EXAMPLES_PER_CLASS = 8
EXAMPLES_AT_MOST = 48
STATUS_ORDER = ("refused by gate", "waiting for approval", "approved", "not released", "yardstick")
HEADLINES = ("auc", "top-1")
"""The linkage figures that lead a card and the picture, first choice first."""


def steward_page(report: Report) -> str:
    """report.html: for the data steward's eyes."""
    return _environment().get_template("report.html.j2").render(**_context(report), mark=wording.MARK)


def public_page(report: Report, include_figures_from_members: bool = False) -> str:
    """public.html: claims and settings; figures computed from members only when asked for."""
    shown = for_public(report, include_figures_from_members)
    context = _context(shown)
    return (
        _environment()
        .get_template("public.html.j2")
        .render(
            **context,
            mark=wording.MARK,
            with_figures=include_figures_from_members,
            shown=[r for r in shown.releases if not r.yardstick or r.status == "approved"],
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("privagams.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        figure=wording.figure,
        epsilon=wording.epsilon,
        limit=wording.limit,
        power=wording.power_of_ten,
        duration=wording.duration,
    )
    environment.globals.update(
        claim_sentence=odds.claim_sentence,
        strength=odds.strength,
        strength_sentence=odds.strength_sentence,
        odds_factor=odds.odds_factor,
        right_guesses=odds.right_guesses,
        best_guess=lambda claim: odds.percent_at_most(odds.best_guess(claim)),
        most_found=lambda claim, alarms: odds.percent_at_most(odds.most_found(claim, alarms)),
        gloss=wording.gloss,
        reading=wording.reading,
        reading_words=wording.reading_words,
        plural=wording.plural,
        interval=pictures.interval,
        curve=curve,
        latent_picture=latent_picture,
        course_picture=course_picture,
        distinct_latents=distinct_latents,
        budget_bar=pictures.budget_bar,
        png_address=pictures.png_address,
        approve_command=approve_command,
        headline=headline,
        size=size,
        headline_metric=headline_metric,
        example_groups=example_groups,
        questions=questions,
        panel=panel,
        compared=compared,
    )
    return environment


def _context(report: Report) -> Mapping[str, Any]:
    letters = dict(zip((r.name for r in report.releases), _letters(len(report.releases)), strict=True))
    return {
        "report": report,
        "letters": letters,
        "warnings": all_warnings(report),
        "picture": privacy_utility(report, letters),
        "sweep": sweep(report),
        "not_protected": (*wording.NOT_PROTECTED, *report.not_protected),
        "glossary": wording.GLOSSARY,
        "mark_means": wording.MARK_MEANS,
        "cards": sorted(report.releases, key=lambda r: STATUS_ORDER.index(r.status)),
        "waiting": [r for r in report.releases if r.status == "waiting for approval"],
        "statuses": Counter(sorted((r.status for r in report.releases), key=STATUS_ORDER.index)),
    }


def _letters(n: int) -> Sequence[str]:
    alphabet = string.ascii_uppercase
    return [alphabet[i] if n <= len(alphabet) else str(i + 1) for i in range(n)]


def all_warnings(report: Report) -> list[str]:
    """The run's warnings, and one for each δ that one whole patient would satisfy."""
    found = list(report.warnings)
    for release in report.releases:
        for claim in release.claims:
            warning = odds.delta_warning(claim, report.public_patients)
            if warning:
                found.append(f"{release.name}: {warning}")
    if report.total is not None:
        warning = odds.delta_warning(report.total, report.public_patients)
        if warning:
            found.append(f"All releases together: {warning}")
    return list(dict.fromkeys(found))


def distinct_latents(releases: Sequence[Release]) -> list[Release]:
    """The first release of each flow, since releases that share a flow share its latents."""
    found = {release.latents: release for release in reversed(releases) if release.latents is not None}
    return [release for release in releases if release in found.values()]


def approve_command(release: Release, options: str = "") -> list[str]:
    """What the steward types to let a release go, word by word."""
    words = ["privagams approve", shlex.quote(release.name), '--by "YOUR NAME"', options]
    return [word for word in (*words, "--unprotected" if release.yardstick else "") if word]


def size(release: Release) -> str:
    """How many of what a release is."""
    kind = "images and the model" if release.kind == "model" else release.kind
    return kind if release.images is None else f"{release.images:,} {kind}"


def headline(release: Release) -> tuple[AttackResult, Measurement] | None:
    """The linkage figure that leads a release's card: never a "same image" one where another exists."""
    found = [
        (HEADLINES.index(figure.name), "same image" in (attack.relation, figure.note), attack, figure)
        for attack in release.attacks
        if attack.game == "linkage"
        for figure in attack.measurements
        if figure.name in HEADLINES and figure.chance is not None
    ]
    if not found:
        return None
    # Among equals the strongest attack counts: the steward decides on the worst that was found.
    best = min(found, key=lambda entry: (entry[1], entry[0], -wording.betrayal(entry[3])[0]))
    return best[2], best[3]


def headline_metric(release: Release) -> tuple[MetricResult, Measurement] | None:
    """The first utility figure, one where higher is better if there is any."""
    results = sorted((m for m in release.metrics if m.measurements), key=lambda m: m.better != "higher")
    return (results[0], results[0].measurements[0]) if results else None


def example_groups(examples: Examples) -> list[tuple[str, list[str]]]:
    """Example images as data addresses, by class, at most eight of each."""
    classes = examples.classes or ("",) * len(examples.pixels)
    order = sorted(range(len(classes)), key=lambda i: (classes[i], i))
    groups = []
    left = EXAMPLES_AT_MOST
    for name, members in groupby(order, key=lambda i: classes[i]):
        chosen = list(members)[: min(EXAMPLES_PER_CLASS, left)]
        left -= len(chosen)
        groups.append((name, [pictures.png_address(examples.pixels[i]) for i in chosen]))
    return [group for group in groups if group[1]]


@frozen
class Compared:
    """One figure of one metric, release beside release."""

    metric: str
    figure: str
    better: str
    rows: tuple[tuple[Release, MetricResult, Measurement], ...]
    sentences: tuple[tuple[str, bool], ...]
    """What the metric said, once each, and whether it saw private data."""


def compared(releases: Sequence[Release]) -> list[Compared]:
    """Metrics' figures, arranged so that releases stand side by side."""
    rows: dict[tuple[str, str], list[tuple[Release, MetricResult, Measurement]]] = {}
    for release in releases:
        for result in release.metrics:
            for measured in result.measurements:
                rows.setdefault((result.metric, measured.name), []).append((release, result, measured))
    told: set[str] = set()
    groups = []
    for (metric, name), found in rows.items():
        said = dict.fromkeys(
            (r.sentence, r.private) for _, r, _ in found if r.sentence and r.sentence not in told
        )
        told.update(sentence for sentence, _ in said)
        groups.append(Compared(metric, name, found[0][1].better, tuple(found), tuple(said)))
    return groups


@frozen
class Answer:
    """One of the three questions, with the strongest attack on each release and the releases that saw none."""

    title: str
    question: str
    tested: tuple[tuple[Release, AttackResult, int], ...]
    """Release, the strongest of the attacks that test the question, and how many there were."""
    untested: tuple[str, ...]


def questions(releases: Sequence[Release]) -> list[Answer]:
    """The three questions of WP216, each answered by the attacks that test it. Canaries test no release."""
    answers = []
    for title, question, games in wording.GDPR_QUESTIONS:
        tested, untested = [], []
        for release in releases:
            found = [a for a in release.attacks if a.game in games and a.measurements and a.private]
            if found:
                tested.append((release, max(found, key=_strength), len(found)))
            else:
                untested.append(release.name)
        answers.append(Answer(title, question, tuple(tested), tuple(untested)))
    return answers


def _strength(result: AttackResult) -> tuple[bool, float]:
    """By what the first figure shows beyond guessing at least; the easy case of the same image comes last."""
    first = result.measurements[0]
    return not first.note.startswith("same image"), wording.betrayal(first)[1]


@frozen
class PanelRow:
    """One attack over all releases."""

    attack: str
    game: str
    access: str
    cells: tuple[AttackResult | None, ...]
    """In the order of the releases; None where it was not run."""


def panel(releases: Sequence[Release]) -> list[PanelRow]:
    """Attacks down, releases across."""
    rows: dict[tuple[str, str, str], dict[str, AttackResult]] = {}
    for release in releases:
        for result in release.attacks:
            if result.measurements:
                rows.setdefault((result.attack, result.game, result.access), {})[release.name] = result
    return [
        PanelRow(attack, game, access, tuple(found.get(release.name) for release in releases))
        for (attack, game, access), found in rows.items()
    ]


@frozen
class Picture:
    """The privacy–utility picture and the figures it was drawn from."""

    svg: Markup
    metric: tuple[str, str]
    """The metric and its figure."""
    better: str
    rows: tuple[tuple[str, Release, Measurement, Measurement], ...]


def privacy_utility(report: Report, letters: Mapping[str, str]) -> Picture | None:
    """Linkage above chance against the utility figure that most releases share; None if a side is missing."""
    metric = _shared_metric(report.releases)
    if metric is None:
        return None
    rows = []
    for release in report.releases:
        linkage, utility = headline(release), _figure_of(release, metric)
        if linkage is not None and utility is not None:
            rows.append((letters[release.name], release, linkage[1], utility))
    if not rows:
        return None
    points = [
        Point(letter, release.yardstick, *wording.betrayal(linkage), utility.value, utility.low, utility.high)
        for letter, release, linkage, utility in rows
    ]
    better = _better(report.releases, metric)
    svg = scatter(points, "linkage above chance (0 = guessing, 1 = certain)", metric[1], better)
    return Picture(svg, metric, better, tuple(rows))


@frozen
class Sweep:
    """Linkage against use along the noise of each mechanism that randomised several releases."""

    svg: Markup
    metric: tuple[str, str]
    note: str
    """Which images the adversary held."""


def sweep(report: Report) -> Sweep | None:
    """One curve for each mechanism; None where no mechanism made two releases, or figures are missing.

    Across: the strongest linkage attack on each release, of those that link the same thing in all of them.
    """
    made = [r for r in report.releases if r.kind == "randomised copies" and r.mechanism and r.claims]
    metric = _shared_metric(made)
    often = Counter(r.mechanism.name for r in made if r.mechanism)
    if metric is None or max(often.values(), default=0) < 2:
        return None
    notes = [{m.note for m in _top1(release)} for release in made]
    shared = sorted(set.intersection(*notes), key=lambda note: ("same image" not in note, note))
    points = []
    for release in made if shared else ():
        use = _figure_of(release, metric)
        link = max((m for m in _top1(release) if m.note == shared[0]), key=lambda m: m.value)
        if use is not None and math.isfinite(use.value + use.low + use.high) and release.mechanism:
            points.append(
                UsePoint(
                    release.mechanism.name, _short(release.claims[0].epsilon),
                    link.value, link.low, link.high, use.value, use.low, use.high,
                )
            )  # fmt: skip
    if len(points) < 2:
        return None
    better = _better(made, metric)
    svg = curves_of_use(points, "strongest linkage, share right at the first guess", metric[1], better)
    return Sweep(svg, metric, shared[0])


def _short(epsilon: float) -> str:
    """An ε as it is written beside a point."""
    return f"ε = {epsilon:,.0f}" if 100 <= epsilon < math.inf else f"ε = {epsilon:.3g}"


def _top1(release: Release) -> list[Measurement]:
    found = [m for a in release.attacks if a.game == "linkage" for m in a.measurements if m.name == "top-1"]
    return [m for m in found if not m.note.startswith(("other ", "within"))]


def _shared_metric(releases: Sequence[Release]) -> tuple[str, str] | None:
    votes: Counter[tuple[str, str]] = Counter()
    better = {}
    for release in releases:
        for result in release.metrics:
            for figure in result.measurements[:1]:
                votes[result.metric, figure.name] += 1
                better[result.metric, figure.name] = result.better == "higher"
    return max(votes, key=lambda m: (votes[m], better[m])) if votes else None


def _figure_of(release: Release, metric: tuple[str, str]) -> Measurement | None:
    found = (
        f for m in release.metrics if m.metric == metric[0] for f in m.measurements if f.name == metric[1]
    )
    return next(found, None)


def _better(releases: Sequence[Release], metric: tuple[str, str]) -> Any:
    return next(m.better for r in releases for m in r.metrics if m.metric == metric[0])
