"""Library errors carry the codes of the interfaces that report them."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest
from dexgrasp_common.errors import DexgraspError

from dexgrasp_msgs.action import ClearTable, ExecuteGrasp, GenerateGrasp
from dexgrasp_msgs.srv import PlanGrasp, ResetScene

RANGES = {
    GenerateGrasp.Result: range(100, 200),
    PlanGrasp.Response: range(200, 300),
    ExecuteGrasp.Result: range(300, 400),
    ClearTable.Result: range(400, 500),
    ResetScene.Response: range(500, 600),
}


def constants(interface: type) -> dict[int, str]:
    names = (name for name in dir(interface) if re.fullmatch(r"[A-Z_]+", name))
    return {getattr(interface, name): name for name in names if isinstance(getattr(interface, name), int)}


def subclasses(root: type[DexgraspError]) -> list[type[DexgraspError]]:
    children = root.__subclasses__()
    return children + [below for child in children for below in subclasses(child)]


@pytest.mark.parametrize("interface", RANGES, ids=lambda interface: interface.__module__)
def test_codes_lie_in_the_range_of_their_interface(interface: type) -> None:
    codes = constants(interface)
    assert codes.pop(0) == "SUCCESS"
    assert codes
    assert set(codes) <= set(RANGES[interface])


def test_every_library_error_with_a_code_is_named_after_its_constant() -> None:
    names = {code: name for interface in RANGES for code, name in constants(interface).items() if code}
    for package in ("dexgrasp_planner", "dexgrasp_control"):
        module = importlib.import_module(package)
        for info in pkgutil.iter_modules(module.__path__):
            if info.name != "nodes":
                importlib.import_module(f"{package}.{info.name}")
    errors = [error for error in subclasses(DexgraspError) if error.code and error.__module__.startswith("dexgrasp_")]
    assert errors, "no library error carries a code"
    for error in errors:
        assert error.code in names, f"{error.__name__} has code {error.code}, which no interface defines"
