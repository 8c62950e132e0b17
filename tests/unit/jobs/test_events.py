"""The journal's codec: every event comes back from JSON as it was."""

import typing

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.jobs.simulated_farm import through_json
from tunefarm_coordinator.jobs import events as ev

KINDS = typing.get_args(ev.Event)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@examples(30)
def test_every_event_survives_the_journal(kind: type[ev.Event], data: st.DataObject) -> None:
    event = data.draw(st.from_type(kind))
    # repr, because a NaN (the error of a model that answers NaN) equals nothing.
    assert repr(through_json(event)) == repr(event)


def test_kinds_are_distinct() -> None:
    assert len({kind.__dataclass_fields__["kind"].default for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "no_such_event"},
        {"round": 1, "identities": [], "seconds": 0.0},
        {"kind": "proposed", "round": "one", "identities": [], "seconds": 0.0},
        {"kind": "proposed", "round": 1, "seconds": 0.0},
    ],
    ids=["unknown kind", "no kind", "wrong type", "field missing"],
)
def test_what_is_no_event_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError):
        ev.decode(data)
