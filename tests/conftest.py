"""Fixtures that every package's tests share."""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# One thread per process: tests, nodes and simulators run side by side, and BLAS threads only get in their way.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MUJOCO_GL", "egl")

# Each run begins elsewhere, so that two runs on one machine seldom meet.
_domains = (1 + i % 99 for i in itertools.count(7 * os.getpid()))
_addresses = (2 + i % 248 for i in itertools.count(7 * os.getpid()))


_REAL_TIME = {"ros_domain", "loopback_ip", "suite", "controller", "bus"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of processes that meet deadlines on the wall clock get a second try, which the report counts.

    A shared machine may stand still for longer than a robot's watchdog allows; twice in a row is the suite's fault.
    """
    for item in items:
        if _REAL_TIME & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_collection_finish() -> None:
    """What the tests import stays: to look through it for garbage stops every thread, and deadlines are missed."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def ros_domain(monkeypatch: pytest.MonkeyPatch) -> int:
    """A ROS_DOMAIN_ID of the test's own, also set in the environment, so that nodes of two tests never meet."""
    domain = next(_domains)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return domain


@pytest.fixture
def loopback_ip() -> str:
    """A loopback address of the test's own, for emulated controllers whose ports are fixed."""
    return f"127.0.0.{next(_addresses)}"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with meshes and real depth captures; the test is skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder}: real captures and meshes are not part of the repository")
    return folder


@pytest.fixture
def ros_context(ros_domain: int) -> Iterator[None]:
    """rclpy, initialised for this test alone in this process."""
    import rclpy

    rclpy.init(domain_id=ros_domain)
    yield
    rclpy.try_shutdown()


@pytest.fixture(scope="session")
def text_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny text encoder, 16 wide, with random weights; without `transformers` the test is skipped."""
    transformers = pytest.importorskip("transformers", reason="text needs transformers: pip install transformers")
    import torch

    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "can", "round", "and", "tall", "metal"]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertModel(transformers.BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
    return folder
