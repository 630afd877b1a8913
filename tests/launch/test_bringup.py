"""Supervision of processes, and what follows from the arguments of bringup."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dexgrasp.nodes import NODES, Arguments, command, own_parameters, parse, selected


def supervisor(commands: dict[str, str]) -> subprocess.Popen:
    script = f"import sys; from dexgrasp.bringup import supervise; sys.exit(supervise({commands!r}))"
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_files(folder: Path, count: int, deadline: float = 20.0) -> list[int]:
    """Process ids that the commands wrote into files of this folder."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        found = [path for path in folder.iterdir() if path.read_text().strip()]
        if len(found) == count:
            return [int(path.read_text()) for path in found]
        time.sleep(0.02)
    raise AssertionError(f"{count} processes did not start within {deadline} s")


def writing_its_pid(folder: Path, name: str) -> str:
    return f"echo $$ > {folder}/{name}; exec sleep 60"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_process_and_leaves_no_orphan(tmp_path: Path, number: int) -> None:
    suite = supervisor({name: writing_its_pid(tmp_path, name) for name in ("a", "b", "c")})
    pids = wait_for_files(tmp_path, 3)
    suite.send_signal(number)
    output, _ = suite.communicate(timeout=15)
    assert suite.returncode == 0, output
    assert not any(alive(pid) for pid in pids)


def test_a_signal_while_processes_are_still_starting_ends_them_too(tmp_path: Path) -> None:
    suite = supervisor({f"p{i}": writing_its_pid(tmp_path, f"p{i}") for i in range(8)})
    wait_for_files_at_least_one(tmp_path)
    suite.send_signal(signal.SIGTERM)
    output, _ = suite.communicate(timeout=20)
    assert "Traceback" not in output
    pids = [int(path.read_text()) for path in tmp_path.iterdir() if path.read_text().strip()]
    assert not any(alive(pid) for pid in pids)


def wait_for_files_at_least_one(folder: Path) -> None:
    end = time.monotonic() + 20.0
    while time.monotonic() < end and not any(folder.iterdir()):
        time.sleep(0.001)


def test_a_process_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    suite = supervisor({"stubborn": f"trap '' TERM; echo $$ > {tmp_path}/stubborn; while true; do sleep 0.2; done"})
    (pid,) = wait_for_files(tmp_path, 1)
    suite.terminate()
    suite.communicate(timeout=15)
    assert not alive(pid)


def test_a_process_that_ends_ends_the_rest_with_its_status(tmp_path: Path) -> None:
    suite = supervisor({"steady": writing_its_pid(tmp_path, "steady"), "failing": "sleep 0.5; echo broken; exit 7"})
    output, _ = suite.communicate(timeout=20)
    (pid,) = wait_for_files(tmp_path, 1)
    assert suite.returncode == 7
    assert "broken" in output
    assert not alive(pid)


def test_a_node_that_ends_without_an_error_is_still_a_failure() -> None:
    suite = supervisor({"short": "true", "steady": "exec sleep 60"})
    suite.communicate(timeout=20)
    assert suite.returncode == 1


def test_logs_carry_the_name_of_their_process() -> None:
    suite = supervisor({"talker": "echo hello", "steady": "exec sleep 60"})
    output, _ = suite.communicate(timeout=20)
    (line,) = [line for line in output.splitlines() if line.endswith("hello")]
    assert "talker" in line


def test_simulation_replaces_the_depth_capture() -> None:
    simulated = {node.executable for node in selected(Arguments(sim=True))}
    real = {node.executable for node in selected(Arguments(sim=False))}
    assert simulated - real == {"sim_cell"}
    assert real - simulated == {"depth_capture"}


def test_only_addresses_and_patience_differ_between_simulation_and_robot() -> None:
    simulated = Arguments(sim=True)
    real = Arguments(sim=False, robot_ip="192.168.0.2", hand_port="/dev/ttyUSB0")
    for node in set(selected(simulated)) & set(selected(real)):
        before, after = node.parameters(simulated), node.parameters(real)
        changed = {name for name in before | after if before.get(name) != after.get(name)}
        assert changed <= {"ip", "port", "silence_timeout"}, f"{node.executable}: {changed}"


def test_arguments_are_parsed_from_text() -> None:
    assert parse({"sim": "False", "cell": "mine"}) == Arguments(sim=False, cell="mine")
    with pytest.raises(ValueError, match="Unknown argument 'robots'. Arguments: cell, "):
        parse({"robots": "ur5"})
    with pytest.raises(ValueError, match="sim is true or false, not 'maybe'"):
        parse({"sim": "maybe"})


def test_a_missing_parameter_file_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match=r"params_file .*nowhere\.yaml does not exist"):
        own_parameters(Arguments(params_file="nowhere.yaml"))


def test_text_parameters_stay_text_on_the_command_line() -> None:
    line = command(NODES[0], Arguments(cell="1", robot_ip="127.0.0.1"))
    assert "cell:='1'" in line.replace("'\"'\"'", "'")


def test_every_node_of_the_list_is_installed() -> None:
    from ament_index_python import get_package_prefix

    for node in NODES:
        path = Path(get_package_prefix(node.package), "lib", node.package, node.executable)
        assert os.access(path, os.X_OK), f"{path} is not installed"
