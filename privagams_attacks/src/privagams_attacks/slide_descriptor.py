"""Linkage of whole images: which patient's slides have a descriptor like that of a released one?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from privagams.access import Access, Holds, Scores, Target, World
from privagams.errors import NotApplicable
from privagams.roles import Game
from privagams_attacks.descriptors import fit_descriptor
from privagams_attacks.patients import groups_of, image_files, neutral_order, owners
from privagams_attacks.settings import SlideDescriptorSettings


@frozen
class SlideDescriptor:
    """Scores are cosines of image descriptors; a patient's is the largest over his or her images.

    Tile features → principal components, fitted on the adversary's own candidate and reference tiles → norm 1
    → VLAD (hard assignment to k-means words), first-order Fisher vector (Gaussian mixture, diagonal) or mean
    → signed square root → norm 1. This is the pipeline by which whole slides were linked to patients in
    Holub et al. (2023), Nat Commun 14:2577, doi 10.1038/s41467-023-37991-y, with other tile encoders.
    Where every image is a single tile (X-rays), words would only make its descriptor coarser: then it is the
    tile's, as with `pooling = "mean"`.
    Guarantee: row g depends on the images of group g alone, as the linkage bound of a randomised release
    demands (test_a_row_depends_on_its_own_group_alone).
    """

    settings: SlideDescriptorSettings
    game: ClassVar[Game] = "linkage"
    access: ClassVar[Access] = Access.RELEASED
    labels: ClassVar[bool] = False
    shadows: ClassVar[int] = 0

    @property
    def holds(self) -> Holds:
        """As the setting `gallery` says."""
        return self.settings.gallery

    def run(self, target: Target, world: World, rng: np.random.Generator) -> Scores:
        """Score groups by patients, and groups by images where image files are told apart."""
        if target.groups is None:
            raise NotApplicable(
                "drawn images belong to no slide, and a single one of them has no slide descriptor"
            )
        released = world.features(self.settings.embedder, target.released)
        known = world.features(self.settings.embedder, world.candidates)
        owner, files = owners(world, "slide-descriptor"), image_files(world)
        image = owner if files is None else files
        describe = fit_descriptor(*self._fitted_on(world, known, image, rng))
        group = groups_of(target, "slide-descriptor")
        own = describe(known, image, int(image.max()) + 1)
        cosine = describe(released, group, target.groups) @ own.T
        patient_of = np.zeros(len(own), dtype=np.int64)
        patient_of[image] = owner
        order = np.argsort(patient_of, kind="stable")
        starts = np.searchsorted(patient_of[order], np.arange(len(world.patients)))
        values = np.maximum.reduceat(cosine[:, order], starts, axis=1)
        return Scores(values, by_image=None if files is None else cosine)

    def _fitted_on(
        self, world: World, known: np.ndarray, image: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, str, int, int, np.random.Generator]:
        """A capped number of tiles of each of a capped number of images, candidates' and reference."""
        settings, patient = self.settings, world.candidates.patient
        pooling = "mean" if np.bincount(image).max() == 1 else settings.pooling
        if world.reference is not None:
            strange = np.unique(world.reference.column("image").astype(str), return_inverse=True)[1]
            known = np.concatenate([known, world.features(settings.embedder, world.reference)])
            image = np.concatenate([image, image.max() + 1 + strange])
            patient = np.concatenate([patient, world.reference.patient])
        order = neutral_order(known, patient)
        known, image = known[order], image[order]
        taken = np.concatenate([known[rows] for rows in _some_of_each(image, settings, rng)])
        return taken, pooling, settings.components, settings.words, rng


def _some_of_each(
    image: np.ndarray, settings: SlideDescriptorSettings, rng: np.random.Generator
) -> list[np.ndarray]:
    """Rows of some tiles of some images, chosen at random; the order of rows decides, not the images' numbers."""
    _, first = np.unique(image, return_index=True)
    names = image[np.sort(first)]
    some = rng.permutation(names)[: settings.fitted_images]
    rows = [np.flatnonzero(image == name) for name in some]
    return [rng.permutation(own)[: settings.tiles_per_image] for own in rows]
