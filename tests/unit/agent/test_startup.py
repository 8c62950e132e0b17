"""What was typed, checked."""

import random
from itertools import islice
from pathlib import Path

import pytest

from tunefarm_agent.backoff import pauses
from tunefarm_agent.boards import Board
from tunefarm_agent.channel import is_loopback
from tunefarm_agent.errors import InvalidInput
from tunefarm_agent.startup import Options, parse


def options(tmp_path: Path, **more: object) -> Options:
    return Options(connect="127.0.0.1:7700", state_dir=tmp_path / "state", **more)  # type: ignore[arg-type]


def test_the_agent_id_is_kept(tmp_path: Path) -> None:
    first = parse(options(tmp_path)).agent_id
    assert parse(options(tmp_path)).agent_id == first
    assert parse(options(tmp_path, agent_id="rack-7")).agent_id == "rack-7"
    assert parse(Options("127.0.0.1:7700", state_dir=tmp_path / "other")).agent_id != first


def test_cores_and_labels(tmp_path: Path) -> None:
    settings = parse(options(tmp_path, cores="3,0-1", labels=("rack=7", "note=a=b", "cuda0/fan=loud/broken")))
    assert settings.cores == (0, 1, 3)
    assert settings.labels == {"rack": "7", "note": "a=b"}
    assert settings.device_labels == {"cuda0": {"fan": "loud/broken"}}
    assert settings.memory > 0


def test_what_is_said_of_one_device_and_of_the_cpu(tmp_path: Path) -> None:
    settings = parse(
        options(
            tmp_path,
            targets=('{"kind": "llvm"}', 'cuda0={"kind": "cuda", "arch": "sm_90"}'),
            device_names=("desk", "cuda0=the big one"),
            rpc=("rpi4=10.0.0.7:9090",),
            rpc_trackers=("rpi5=[fe80::1]:9190",),
        )
    )
    assert settings.targets == {"cpu0": '{"kind": "llvm"}', "cuda0": '{"kind": "cuda", "arch": "sm_90"}'}
    assert settings.names == {"cpu0": "desk", "cuda0": "the big one"}
    assert settings.boards == (Board("rpi4", "10.0.0.7:9090", False), Board("rpi5", "[fe80::1]:9190", True))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cores", "0-"),
        ("cores", "all"),
        ("labels", ("=v",)),
        ("targets", ("{",)),
        ("targets", ("[]",)),
        ("targets", ('{"mcpu": "znver4"}',)),
        ("targets", ("cuda0={",)),
        ("rpc", ("rpi4",)),
        ("rpc", ("rpi4=10.0.0.7",)),
        ("rpc", ("=10.0.0.7:9090",)),
        ("rpc", ("a b=10.0.0.7:9090",)),
        ("rpc", ("rpi4=one:9090", "rpi4=other:9090")),
        ("rpc_trackers", ("rpi4=10.0.0.7:99999",)),
        ("agent_id", "a/b"),
        ("agent_id", "x" * 65),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=name.rstrip("s").replace("_", "-")):
        parse(options(tmp_path, **{name: value}))


@pytest.mark.parametrize("address", ["", "host", "host:", ":7700", "host:0", "host:70000", "host:x"])
def test_addresses(tmp_path: Path, address: str) -> None:
    with pytest.raises(InvalidInput, match="HOST:PORT"):
        parse(Options(connect=address, state_dir=tmp_path))


def test_a_state_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(InvalidInput, match="state"):
        parse(options(tmp_path))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("localhost", "127.0.0.1", "127.9.9.9", "::1")),
        *((host, False) for host in ("0.0.0.0", "192.168.1.4", "farm", "localhost.evil.example")),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_pauses_double_up_to_a_limit() -> None:
    found = list(islice(pauses(0.2, 10.0, random.Random(1)), 12))
    assert all(low / 2 <= p <= low for p, low in zip(found, [0.2 * 2**i for i in range(5)], strict=False))
    assert all(5.0 <= p <= 10.0 for p in found[6:])
    assert found != list(islice(pauses(0.2, 10.0, random.Random(2)), 12))
