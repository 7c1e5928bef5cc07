"""Settings are taken strictly: nothing is converted in silence, and all faults are told at once."""

from typing import Literal

import pytest
from attrs import field, frozen, validators
from hypothesis import given
from hypothesis import strategies as st

from privagams import Use, uses
from privagams.settings import Faults, describe, structure, to_plain


@frozen
class Inner:
    depth: int = field(default=1, metadata={"doc": "how deep"})


@frozen
class Settings:
    epsilon: float = field(validator=validators.gt(0), metadata={"doc": "nat"})
    steps: int = field(default=10, validator=validators.ge(1), metadata={"doc": "steps"})
    exact: bool = field(default=False, metadata={"doc": "no shortcut"})
    mode: Literal["fast", "slow"] = field(default="fast", metadata={"doc": "how"})
    widths: tuple[int, ...] = field(default=(8, 16), metadata={"doc": "channels"})
    file: str | None = field(default=None, metadata={"doc": "a file"})
    inner: Inner = field(default=Inner(), metadata={"doc": "a table"})
    embedder: Use = uses("embedders", "texture")  # noqa: RUF009 - attrs.field in disguise


def faults(value):
    with pytest.raises(Faults) as refused:
        structure(value, Settings)
    return dict(refused.value.found)


@pytest.mark.parametrize(
    ("given_value", "path", "said"),
    [
        ({"epsilon": "8"}, ".epsilon", 'expected a number, found "8"'),
        ({"epsilon": True}, ".epsilon", "expected a number, found true"),
        ({"epsilon": 8, "steps": 2.9}, ".steps", "expected a whole number, found 2.9"),
        ({"epsilon": 8, "steps": True}, ".steps", "expected a whole number, found true"),
        ({"epsilon": 8, "steps": "3"}, ".steps", 'expected a whole number, found "3"'),
        ({"epsilon": 8, "exact": 1}, ".exact", "expected true or false, found 1"),
        ({"epsilon": 8, "mode": "fsat"}, ".mode", "did you mean 'fast'?"),
        ({"epsilon": 8, "widths": 8}, ".widths", "expected a list of a whole number, found 8"),
        ({"epsilon": 8, "widths": [8, 1.5]}, ".widths[1]", "expected a whole number, found 1.5"),
        ({"epsilon": 8, "file": 3}, ".file", "expected text in quotes, found 3"),
        ({"epsilon": 8, "inner": {"dept": 2}}, ".inner.dept", "did you mean 'depth'?"),
        ({"epsilon": 8, "embedder": 3}, ".embedder", 'expected "NAME"'),
        ({"epsilon": -1}, ".epsilon", "must be > 0"),
        ({"epsilon": 8, "steps": 0}, ".steps", "must be >= 1"),
        ({"epsilom": 8}, ".epsilom", "did you mean 'epsilon'?"),
        ({}, ".epsilon", "required setting missing: a number (nat)"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(given_value, path, said):
    assert said in faults(given_value)[path]


def test_all_faults_are_told_at_once():
    found = faults({"epsilon": -1, "steps": "x", "inner": {"depth": True}, "stepps": 3})
    assert set(found) == {".epsilon", ".steps", ".inner.depth", ".stepps"}


def test_a_whole_number_is_a_number():
    made = structure({"epsilon": 8}, Settings)
    assert made.epsilon == 8.0
    assert type(made.epsilon) is float


@given(
    st.builds(
        Settings,
        epsilon=st.floats(min_value=1e-6, max_value=1e6),
        steps=st.integers(min_value=1, max_value=10**9),
        exact=st.booleans(),
        mode=st.sampled_from(["fast", "slow"]),
        widths=st.lists(st.integers(), max_size=4).map(tuple),
        file=st.none() | st.text(),
        inner=st.builds(Inner, depth=st.integers()),
        embedder=st.builds(Use, name=st.text(min_size=1), settings=st.just({})),
    )
)
def test_settings_written_and_read_again_are_equal(settings):
    plain = {name: value for name, value in to_plain(settings).items() if value is not None}
    assert structure(plain, Settings) == settings


def test_every_field_can_be_described():
    rows = {name: rest for name, *rest in describe(Settings)}
    assert rows["epsilon"] == ["a number", "required", "nat"]
    assert rows["mode"][0] == "'fast' or 'slow'"
    assert rows["embedder"][1] == "texture"
