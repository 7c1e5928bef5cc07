"""What the worst-off patient pays, each composition priced once."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Protocol

from attrs import field, frozen

from privagams.ledger import accounting
from privagams.ledger.books import Charge, worst_off
from privagams.ledger.events import Expense, Spending

_Asked = tuple[frozenset[tuple[Expense, int]], float]
"""A spending and the δ at which it is priced."""


class Budget(Protocol):
    """The most that any patient of a data set may lose, over all releases ever."""

    @property
    def epsilon(self) -> float: ...
    @property
    def delta(self) -> float: ...


@frozen
class Cost:
    """The price of one composition."""

    spent: Spending
    epsilon: float
    accountant: str


@frozen(eq=False)
class Prices:
    """Prices as `accounting` gives them, remembered: a ledger asks for the same ones at every block."""

    _price: accounting.Price = field(default=accounting.price, alias="price")
    _replace_one: accounting.ReplaceOne = field(default=accounting.replace_one, alias="replace_one")
    _known: dict[_Asked, Cost] = field(factory=dict, init=False)
    _replaced: dict[_Asked, float | None] = field(factory=dict, init=False)

    def of(self, spent: Spending, delta: float) -> Cost:
        key = frozenset(spent.items()), delta
        if key not in self._known:
            self._known[key] = Cost(spent, *self._price(spent, delta))
        return self._known[key]

    def worst(self, charges: Sequence[Charge], delta: float, among: Set[str] | None = None) -> Cost:
        """What the patient (of those in `among`) pays who has lost most."""
        costs = [self.of(spent, delta) for spent in worst_off(charges, among)]
        return max(costs, key=lambda cost: cost.epsilon, default=self.of({}, delta))

    def claim(
        self, charges: Sequence[Charge], delta: float, among: Set[str] | None = None, *,
        protects: str, per_element_epsilon: float | None = None,
    ) -> accounting.Claim:  # fmt: skip
        """What the patient (of those in `among`) has lost who has lost most, as a claim."""
        return accounting.claim_of(
            worst_off(charges, among), delta, protects=protects, per_element_epsilon=per_element_epsilon,
            prices=(self._priced, self._of_replacement),
        )  # fmt: skip

    def _of_replacement(self, spent: Spending, delta: float) -> float | None:
        key = frozenset(spent.items()), delta
        if key not in self._replaced:
            self._replaced[key] = self._replace_one(spent, delta)
        return self._replaced[key]

    def _priced(self, spent: Spending, delta: float) -> tuple[float, str]:
        found = self.of(spent, delta)
        return found.epsilon, found.accountant
