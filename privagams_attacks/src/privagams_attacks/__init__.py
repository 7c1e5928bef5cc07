"""Attacks on releases of medical images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from privagams import hookimpl
from privagams.component import Component
from privagams_attacks import settings as s
from privagams_attacks.membership import offers

if TYPE_CHECKING:
    from privagams.roles import Attack


@hookimpl
def privagams_attacks() -> Iterable[Component[Attack]]:
    """Yield the attacks of this package."""
    yield Component(
        "nearest-patient",
        "Links released images to the patient whose known images lie nearest in feature space.",
        build_nearest_patient, s.NearestPatientSettings,
    )  # fmt: skip
    yield Component(
        "slide-descriptor",
        "Links released slides to the patient with the most similar slide, by VLAD, Fisher or mean descriptors.",
        build_slide_descriptor, s.SlideDescriptorSettings,
    )  # fmt: skip
    yield Component(
        "learned-linkage",
        "Trains a network to recognise patients, and links released images with it.",
        build_learned_linkage, s.LearnedLinkageSettings,
    )  # fmt: skip
    yield Component(
        "two-views",
        "Links two parts of what is known of a patient through the drawn images nearest to both.",
        build_two_views, s.TwoViewsSettings,
    )  # fmt: skip
    yield Component(
        "copies",
        "Finds patients whose training images come out of the release, nearly unchanged.",
        build_copies, s.CopiesSettings,
    )  # fmt: skip
    yield Component(
        "attribute",
        "Infers a patient's label, sex, age group or site from what the release shows.",
        build_attribute, s.AttributeSettings,
    )  # fmt: skip
    yield Component(
        "latent-matching",
        "Links randomised copies to the patient whose images' latent vectors correlate best, by the release's flow.",
        build_latent_matching, s.LatentMatchingSettings,
    )  # fmt: skip
    yield Component(
        "pixel-matching",
        "Links copies to the patient whose images correlate best with them, pixel by pixel.",
        build_pixel_matching, s.PixelMatchingSettings,
    )  # fmt: skip
    yield from offers.components()


def build_nearest_patient(settings: Any) -> Attack:
    """Build the attack; numpy is imported only here, as in all that follow."""
    from privagams_attacks.nearest_patient import NearestPatient

    return NearestPatient(settings)


def build_slide_descriptor(settings: Any) -> Attack:
    from privagams_attacks.slide_descriptor import SlideDescriptor

    return SlideDescriptor(settings)


def build_learned_linkage(settings: Any) -> Attack:
    from privagams_attacks.learned_linkage import LearnedLinkage

    return LearnedLinkage(settings)


def build_two_views(settings: Any) -> Attack:
    from privagams_attacks.two_views import TwoViews

    return TwoViews(settings)


def build_copies(settings: Any) -> Attack:
    from privagams_attacks.copies import Copies

    return Copies(settings)


def build_attribute(settings: Any) -> Attack:
    from privagams_attacks.attribute import Attribute

    return Attribute(settings)


def build_latent_matching(settings: Any) -> Attack:
    from privagams_attacks.latent_matching import LatentMatching

    return LatentMatching(settings)


def build_pixel_matching(settings: Any) -> Attack:
    from privagams_attacks.pixel_matching import PixelMatching

    return PixelMatching(settings)
