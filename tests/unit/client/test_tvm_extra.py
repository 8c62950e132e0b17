"""A client without TVM says what to install."""

import importlib.metadata

import pytest

from tunefarm import Client, errors


def test_a_database_for_tvm_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_there(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", not_there)
    # Nothing is asked of the coordinator: there is none.
    with (
        Client("127.0.0.1:1") as client,
        pytest.raises(errors.NotInstalled, match=r"apache-tvm.*pip install 'tunefarm\[tvm\]'"),
    ):
        client.schedules.database({"kind": "llvm"})
