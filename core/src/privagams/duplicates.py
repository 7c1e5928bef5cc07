"""Whether one picture stands under two patients, which files with other bytes can hide."""

from __future__ import annotations

import hashlib
from collections import defaultdict

from privagams.errors import ConfigError
from privagams.records import Records

_CHUNK = 256
_PLAIN = 8
"""A record whose pixels span fewer grey levels than this is background, and background may be equal."""


def refuse_shared_pixels(records: Records) -> None:
    """Raise `ConfigError` where records of two patients have the same pixels.

    Such patients are not two units of privacy: one may be a member and the other not, and every figure about
    either would be about both. Files of equal content are refused before; this finds those that were saved
    again without loss. What was compressed anew, turned or scaled it does not find, nor two copies of a slide
    of which no tile in common was kept.
    """
    owners: dict[bytes, set[str]] = defaultdict(set)
    for chosen, pixels in records.batches(_CHUNK):
        for patient, image in zip(records.patient[chosen], pixels, strict=True):
            if int(image.max()) - int(image.min()) >= _PLAIN:
                owners[hashlib.sha256(image.tobytes()).digest()].add(str(patient))
    shared = [sorted(names) for names in owners.values() if len(names) > 1]
    if shared:
        pairs = sorted({" and ".join(names) for names in shared})
        raise ConfigError(
            f"source.table: {len(shared)} tiles or images have the same pixels under different patients "
            f"({'; '.join(pairs[:5])}, by pseudonym{', and more' if len(pairs) > 5 else ''}); they would be in two "
            "splits: give them one patient, or leave one of them out"
        )
