from __future__ import annotations

import pytest
from dexgrasp_common.registry import Backend, Registry, UnavailableBackendError, UnknownBackendError

REGISTRY = Registry(
    "shape",
    {
        "list": Backend("builtins:list", summary="always there"),
        "absent": Backend("nowhere.module:thing", requires=("nowhere",), install="pip install nowhere"),
    },
    default="list",
)


def test_create_passes_arguments_to_the_factory() -> None:
    assert REGISTRY.create("list", "ab") == ["a", "b"]
    assert REGISTRY.create() == []


def test_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownBackendError, match=r"Unknown shape 'cube'\. Valid names: absent, list\."):
        REGISTRY.create("cube")


def test_missing_dependency_names_the_install_command() -> None:
    with pytest.raises(UnavailableBackendError, match="pip install nowhere"):
        REGISTRY.create("absent")
    assert REGISTRY.get("absent").missing() == ("nowhere",)


def test_a_required_variable_counts_when_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Backend("builtins:list", requires=("$DEXGRASP_TEST_PLACE",))
    monkeypatch.delenv("DEXGRASP_TEST_PLACE", raising=False)
    assert backend.missing() == ("$DEXGRASP_TEST_PLACE",)
    monkeypatch.setenv("DEXGRASP_TEST_PLACE", "/somewhere")
    assert backend.missing() == ()


def test_default_must_be_a_backend() -> None:
    with pytest.raises(ValueError, match="not among"):
        Registry("shape", {}, default="list")
