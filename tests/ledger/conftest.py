import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from attrs import frozen

from privagams import home
from privagams.ledger.events import NoisySumCost
from privagams.ledger.ledger import Account, Ledger
from privagams.ledger.prices import Prices


@frozen
class Limit:
    epsilon: float
    delta: float


def zcdp(spent: Mapping[NoisySumCost, int], delta: float) -> tuple[float, str]:
    """A quick price of unsampled Gaussian sums, for tests of the ledger rather than of the accountants."""
    if any(cost.noise == 0 for cost in spent):
        return math.inf, "none"
    rho = sum(count / (2 * cost.noise**2) for cost, count in spent.items())
    return rho + 2 * math.sqrt(rho * math.log(1 / delta)), "zCDP"


@pytest.fixture
def limit() -> Callable[..., Limit]:
    return Limit


@pytest.fixture
def quick_prices() -> Prices:
    return Prices(zcdp, lambda spent, delta: None)


@pytest.fixture
def patients() -> list[str]:
    return [home.pseudonym(b"k" * 32, "patient", str(number)) for number in range(20)]


@pytest.fixture
def ledger(tmp_path: Path, quick_prices: Prices) -> Ledger:
    return Ledger(tmp_path / "home" / "breast-2026", quick_prices)


@pytest.fixture
def open_account(ledger: Ledger, tmp_path: Path, patients: list[str]) -> Callable[..., Account]:
    def make(**changes: object) -> Account:
        facts = {
            "run": "one",
            "release": "dp",
            "fit": "fit-1",
            "patients": patients,
            "budget": None,
            "run_folder": tmp_path / "runs" / "one",
        }
        return ledger.account(**{**facts, **changes})

    return make
