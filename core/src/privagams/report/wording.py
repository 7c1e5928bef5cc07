"""Every standing sentence of the pages: names of figures, what is never protected, the glossary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from privagams.evidence import Measurement

Reading = Literal["above", "level", "unclear", "below", "no chance"]

MARK = "†"
MARK_MEANS = "computed from the data set's own patients and is not protected by any claim"

FIGURES: Mapping[str, str] = MappingProxyType(
    {
        "top-1": "right patient named at the first guess",
        "top-5": "right patient among the first five guesses",
        "mrr": "mean reciprocal rank of the right patient",
        "auc": "member ranked above a non-member",
        "tpr@0.1": "members found with 10 % false alarms",
        "tpr@0.01": "members found with 1 % false alarms",
        "r-s": "patients with at least one released image whose best match is right",
        "excess": "found among members beyond what is found among others",
        "found": "members of whom the attack says: this one",
        "control": "non-members of whom it says so too",
        "blind-auc": "the same without any release: must be near one half",
        "epsilon-lower-bound": "leak shown, as a lower bound on ε",
        "accuracy": "right labels by a model trained on the release",
        "downstream-accuracy": "right labels by a model trained on the release",
        "kid-real-real": "what two halves of the real patients differ by, for comparison",
        "kid": "distance of the images' statistics from real ones",
    }
)
"""What a figure says, for readers who do not know its name. Unknown names stand alone."""

GDPR_QUESTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Singling out", "Can one patient be isolated as having been used?", ("membership", "extraction")),
    (
        "Linkability",
        "Can a released image be linked to images of the same patient held elsewhere?",
        ("linkage",),
    ),
    ("Inference", "Can something about a patient be learned that was not known?", ("attribute",)),
)
"""Article 29 Working Party, opinion 05/2014 (WP216), and the games that test each question."""

NOT_PROTECTED: tuple[str, ...] = (
    "What is stated openly: the number of patients, the classes and their shares, and every setting. The "
    "claim is "
    "computed from these public numbers and does not hide them.",
    "What holds for the patients as a group: the look of a disease, of a stain, of a scanner or a site. A "
    "release is "
    "made to show it. Site and scanner artefacts may tell where the data came from.",
    f"Figures from attacks and metrics, marked {MARK} wherever they are shown. They were computed from the "
    "patients' images, "
    "so passing them on tells something that the claim does not count.",
    "The decision to approve or refuse, since it is taken after looking at such figures.",
    "Resemblance. A drawn image may look like a patient who was never in the data, and a leak may look "
    "like nobody. "
    "Neither proves anything by eye.",
    "The same patients in other data sets, or at other institutions. Only what this data set's ledger "
    "records is counted.",
    "Faults outside the arithmetic: the claim assumes ideal noise. Floating-point rounding, timing, a "
    "stolen run folder "
    "and dishonest plugins are not covered.",
    "The legal question. Whether a release counts as anonymous in law is a judgement on all means "
    "reasonably likely to "
    "be used; this report is evidence for it and does not replace it.",
)

GLOSSARY: tuple[tuple[str, str], ...] = (
    (
        "member, non-member",
        "A patient whose images the release was made from; one of the same data set kept out of it.",
    ),
    (
        "ε (epsilon)",
        "How much one patient's taking part can change the odds of anything seen in the release: at most "
        "by a factor "
        "of e^ε. 0 is perfect; below 1 strong; from 5 on weak; ∞ none.",
    ),
    (
        "δ (delta)",
        "The probability with which the limit by ε may fail. It should be far below 1 / number of patients.",
    ),
    (
        "adjacency",
        "What is compared. Zero-out: the same data with one patient's contribution removed and the public "
        "number of "
        "patients unchanged. Replace-one: one patient exchanged for another.",
    ),
    ("alone, total", "The release by itself; together with everything ever released from this data set."),
    ("linkage", "Given images of known patients from elsewhere, say which of them the release is about."),
    ("membership", "Given a patient's images, say whether this patient was a member."),
    ("attribute", "Use the release to learn a label, sex, age group or site of a patient."),
    ("extraction", "Find released images that are copies of a member's images."),
    (
        "AUC",
        "The probability that a random member gets a higher score than a random non-member: 0.5 is "
        "guessing, 1 is certain.",
    ),
    (
        "95 % interval",
        "The range that holds the true figure in 95 of 100 such studies. n is the number of units behind it.",
    ),
    ("chance", "What somebody who guesses would reach, found by shuffling who is who."),
    (
        "claim allows",
        "The largest figure that any attack can reach if the claim is true. Above it, the claim is false.",
    ),
    (
        "yardstick",
        "A release without protection, made only to show what protection is worth. It does not leave.",
    ),
    ("gate", "The test that stops a release whose measured leak is above its claim."),
)

TOO_FEW = 10


def gloss(name: str) -> str:
    """What a figure says; "figure:class" is the figure on one class. Empty for an unknown name."""
    figure_name, _, of_class = name.partition(":")
    said = FIGURES.get(figure_name, "")
    return f"{said}, class {of_class} only" if said and of_class else said


def betrayal(measurement: Measurement) -> tuple[float, float, float]:
    """Value and interval as a share of the way from chance (0) to certainty (1).

    An AUC that lies below one half throughout is turned over: whoever sees it bets the other way.
    """
    chance = measurement.chance or 0.0
    value, low, high = measurement.value, measurement.low, measurement.high
    if measurement.name == "auc" and high < chance:
        value, low, high = 1 - value, 1 - high, 1 - low
    room = max(1.0 - chance, 1e-9)
    return (value - chance) / room, (low - chance) / room, (high - chance) / room


def reading(measurement: Measurement) -> Reading:
    """How an attack's figure stands against guessing, by its interval."""
    chance = measurement.chance
    if chance is None or math.isnan(measurement.value):
        return "no chance"
    if measurement.low > chance:
        return "above"
    if measurement.high < chance:
        return "below"
    # Up to a fifth of the way from guessing to certainty counts as level; beyond it nothing can be said.
    return "level" if betrayal(measurement)[2] <= 0.2 else "unclear"


def reading_words(measurement: Measurement) -> str:
    """The reading in words, with a word on small numbers."""
    words = {
        "above": "above guessing",
        "level": "not distinguishable from guessing",
        "unclear": "nothing can be said: from guessing to a real leak, all is possible",
        "below": "below guessing, which tells something too",
        "no chance": "",
    }[reading(measurement)]
    if 0 < measurement.n < TOO_FEW:
        few = f"only {measurement.n} {plural(measurement.unit, measurement.n)}"
        return f"{words}; {few}" if words else few
    return words


def plural(word: str, n: int) -> str:
    """The word as it follows the number n."""
    if n == 1 or word.endswith("s"):
        return word
    return f"{word.removesuffix('y')}ies" if word.endswith("y") else f"{word}s"


def figure(value: float | None) -> str:
    """A figure with about three significant digits."""
    if value is None or math.isnan(value):
        return "not defined"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size != 0 and size < 0.001:
        return power_of_ten(value)
    text = f"{value:,.3f}" if size < 10 else (f"{value:,.1f}" if size < 1000 else f"{value:,.0f}")
    return text.replace("-", "−")


def limit(value: float) -> str:
    """The most a claim allows, rounded up, and never written as certain when it is not."""
    if math.isinf(value):
        return "∞"
    digits = 3 if value >= 1 or 1 - value >= 0.001 else 5
    return f"{math.ceil(value * 10**digits - 1e-9) / 10**digits:,.{digits}f}"


def epsilon(value: float | None) -> str:
    """An ε without trailing zeros."""
    if value is None:
        return "not stated"
    return "∞" if math.isinf(value) else f"{math.ceil(value * 1000 - 1e-6) / 1000:,.10g}"


def power_of_ten(value: float) -> str:
    """A small number such as δ: 0, 0.01, 10⁻⁴ or 1.2 × 10⁻⁵."""
    if value == 0 or abs(value) >= 0.001:
        return f"{value:g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return (
        f"10{raised}"
        if mantissa == "1.0"
        else f"{mantissa.removesuffix('.0').replace('-', '−')} × 10{raised}"
    )


def duration(seconds: float) -> str:
    """Wall time as people say it."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
