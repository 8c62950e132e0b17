"""One canonical text per target, and errors that name the nearest thing that exists."""

import json
import re

import pytest

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.target import host_target, resolve_target


def test_host_names_cpu_and_cores() -> None:
    target = json.loads(host_target())
    assert target["kind"] == "llvm"
    assert target["num-cores"] >= 1
    assert target["mcpu"]
    assert resolve_target("host") == resolve_target(" llvm ") == host_target()


def test_order_and_derived_keys_do_not_matter() -> None:
    plain = resolve_target('{"kind": "llvm", "mcpu": "znver3", "num-cores": 4}')
    assert plain == resolve_target('{"num-cores": 4, "keys": ["cpu"], "tag": "", "mcpu": "znver3", "kind": "llvm"}')
    assert plain == resolve_target(plain) == '{"kind":"llvm","mcpu":"znver3","num-cores":4}'


def test_a_tag_is_the_target_it_stands_for() -> None:
    text = resolve_target("raspberry-pi/4b-aarch64")
    assert json.loads(text)["mcpu"] == "cortex-a72"
    assert resolve_target(text) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raspberry-pi/4b", "did you mean raspberry-pi/4b-aarch64"),
        ("no-such-thing", "unknown target 'no-such-thing'"),
        ("llvm -mcpu=znver3", "unknown target"),
        ('{"kind": "lvm"}', "did you mean llvm"),
        ('{"kind": "llvm"', "not valid JSON"),
        ('{"mcpu": "znver3"}', "kind"),
        ('{"kind": "llvm", "mcpu": "znver3"}', '"num-cores"'),
        ('{"kind": "llvm", "mcpu": "znver33", "num-cores": 2}', "unknown mcpu 'znver33'; did you mean znver"),
        ('{"kind": "llvm", "speed": 9, "num-cores": 2}', "speed"),
    ],
)
def test_unknown_targets(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(said)):
        resolve_target(text)
