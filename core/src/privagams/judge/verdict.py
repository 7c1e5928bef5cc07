"""The judge's result on one attack: figures, what the claim allows, and a sentence anybody can read."""

from __future__ import annotations

from attrs import frozen

from privagams.evidence import Measurement
from privagams.judge.curves import Points
from privagams.judge.gate import Bound
from privagams.splits import SAME_IMAGE


@frozen
class Verdict:
    """One attack on one release, judged. Plain values only, so that it can be stored as JSON."""

    release: str
    attack: str
    game: str
    access: str
    relation: str
    """How the adversary's images relate to the released or trained ones, for the headline."""
    measurements: tuple[Measurement, ...]
    """Headline first; those noted "same image" are not part of any headline."""
    p_value: float | None
    """Of the headline (mrr, auc on either side of one half, or excess) by permutation of patients; None without."""
    cap: float | None
    """The largest headline that the release's claim allows; None where it claims nothing or says nothing of it."""
    sentence: str
    worst_off: str
    bounds: tuple[Bound, ...]
    """What the gate tests against the claim."""
    not_tested: tuple[str, ...]
    interpretable: bool = True
    """False where members differ from non-members without any release, as a blind attack showed."""
    roc: Points = ()
    """(false alarms, found), both above nought, for powers of ten on both axes; empty for copies."""
    rank: Points = ()
    """(rank, share of patients found by it); only for linkage of copies."""
    private: bool = True
    """Whether it saw private data."""
    p_same_image: float | None = None
    """Like `p_value`, of the first measurement noted "same image"; None without one."""

    @property
    def headline(self) -> Measurement | None:
        """The first measurement where the adversary's images are other ones; None when nobody could be tested."""
        first = self.measurements[0] if self.measurements else None
        return first if first is not None and not first.note.startswith(SAME_IMAGE) else None
