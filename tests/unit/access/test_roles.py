"""The table of roles covers the contract, and says what it should."""

import pytest

from tunefarm_coordinator.access.roles import AGENT, NEEDED, OPEN, Agent, Everybody, Role, User, allows
from tunefarm_proto.v1 import access_pb2, farm_pb2, schedule_pb2, tuning_pb2

OURS = {
    f"/{service.full_name}/{method.name}"
    for file in (access_pb2, farm_pb2, schedule_pb2, tuning_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


def test_every_rpc_of_the_contract_needs_a_role() -> None:
    assert {name for name in NEEDED if name.startswith("/tunefarm.")} == OURS


def test_roles_are_the_contracts() -> None:
    contract = {name.removeprefix("ROLE_"): number for name, number in access_pb2.Role.items() if number}
    assert {role.name: role.value for role in Role} == contract


def test_only_enrolment_and_health_are_open() -> None:
    opened = {name.rpartition("/")[2] for name, needed in NEEDED.items() if needed == OPEN}
    assert opened == {"GetAuthority", "Enrol", "Check", "Watch", "List"}


@pytest.mark.parametrize(
    ("caller", "allowed"),
    [
        (Everybody(), {OPEN, AGENT, *Role}),
        (Agent("a"), {OPEN, AGENT}),
        (User("t", "n", Role.VIEWER, ""), {OPEN, Role.VIEWER}),
        (User("t", "n", Role.SUBMITTER, ""), {OPEN, Role.VIEWER, Role.SUBMITTER}),
        (User("t", "n", Role.ADMIN, ""), {OPEN, *Role}),
    ],
)
def test_who_may_what(caller: Agent | User | Everybody, allowed: set[Role | str]) -> None:
    assert {needed for needed in (OPEN, AGENT, *Role) if allows(caller, needed)} == allowed
