"""Linkage by a trained eye: the attacker learns what images of one patient have in common."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.roles import Game
from privagams_attacks.matching import distance_to_owners, nearness_of_drawn
from privagams_attacks.patients import groups_of, image_files, neutral_order, owners
from privagams_attacks.settings import LearnedLinkageSettings


@frozen
class LearnedLinkage:
    """Scores are negated distances in an embedding that the attacker has trained to tell patients apart.

    Packhäuser et al. (2022), Sci Rep 12:14851, link chest X-rays by a network trained on pairs of images of one
    patient. Here a small one is trained from scratch, without downloaded weights, on the images that the
    attacker holds of identified patients, reference and candidates alike: two images of a patient, each flipped,
    moved and recoloured at random, are to be nearest among all of the batch (NT-Xent, Chen et al. 2020,
    arXiv 2002.05709, with the patient as the class). A patient with one image makes the pair from it alone.
    Copies (group g of released images R, candidate j with images C): s(g, j) = −mean_{r∈R} min_{c∈C} ‖e(r) − e(c)‖,
    where ‖·‖² = 2 − 2 cos. Drawn images: how much nearer a patient's
    images are to the release than to other patients', as in `nearest-patient`.
    Guarantee: row g depends on the images of group g alone, as the linkage bound of a randomised release
    demands (test_a_row_depends_on_its_own_group_alone).
    """

    settings: LearnedLinkageSettings
    game: ClassVar[Game] = "linkage"
    access: ClassVar[Access] = Access.RELEASED
    labels: ClassVar[bool] = False
    shadows: ClassVar[int] = 0

    @property
    def holds(self) -> Holds:
        """As the setting `gallery` says."""
        return self.settings.gallery

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Train, then score groups by patients for copies, patients for drawn images."""
        from privagams_attacks.embedding import embed, load, train

        owner, files = owners(world, "learned-linkage"), image_files(world)
        known, patient = load(world.candidates, self.settings.side), world.candidates.patient.astype(str)
        order = neutral_order(known.numpy(), patient)
        known, images, patient = known[order], known[order], patient[order]
        if world.reference is not None:
            import torch

            images = torch.cat([images, load(world.reference, self.settings.side)])
            patient = np.concatenate([patient, world.reference.patient.astype(str)])
        net = train(images, patient, self.settings, int(rng.integers(2**31)))
        mine, released = embed(net, known), embed(net, load(target.released, self.settings.side))
        owner = owner[order]
        if target.groups is None:
            return Scores(nearness_of_drawn(released, mine, owner, len(world.patients), calibrated=True))
        group = groups_of(target, "learned-linkage")
        values = -distance_to_owners(released, group, target.groups, mine, owner)
        if files is None:
            return Scores(values)
        by_image = -distance_to_owners(released, group, target.groups, mine, files[order])
        return Scores(values, by_image=by_image)
