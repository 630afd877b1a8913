"""The README's parameter tables are those of the nodes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from dexgrasp_control.clearing import ClearingConfig
from dexgrasp_control.execution import ExecutionConfig
from dexgrasp_control.executor import StartConfig
from dexgrasp_control.homing import HomingConfig
from dexgrasp_control.nodes.grasp_executor import GraspExecutorConfig
from dexgrasp_control.nodes.robot import RobotConfig
from dexgrasp_control.nodes.table_clearer import TableClearerConfig
from dexgrasp_control.success import SightConfig
from dexgrasp_control.touch import TouchConfig

README = (Path(__file__).resolve().parents[2] / "dexgrasp_control" / "README.md").read_text()
EXECUTOR = (GraspExecutorConfig, RobotConfig, ExecutionConfig, HomingConfig, StartConfig, TouchConfig)
CLEARER = (TableClearerConfig, ClearingConfig, SightConfig)


@pytest.mark.parametrize("config", EXECUTOR + CLEARER, ids=lambda config: config.__name__)
def test_every_parameter_is_in_the_table(config):
    for field in fields(config):
        row = f"| `{field.name}` | {type(field.default).__name__} | {field.default} |"
        assert row in README, row


@pytest.mark.parametrize("configs", [EXECUTOR, CLEARER], ids=["grasp_executor", "table_clearer"])
def test_no_two_parts_of_a_node_share_a_parameter(configs):
    names = [field.name for config in configs for field in fields(config)]
    assert len(names) == len(set(names))
