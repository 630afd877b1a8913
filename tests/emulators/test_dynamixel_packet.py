"""Protocol 2.0 bytes against published packets and the real SDK's packet handler."""

from __future__ import annotations

import pytest
from dexgrasp_sim.emulators.dynamixel_packet import Instruction, Packet, crc16, encode, split
from dynamixel_sdk import PacketHandler
from hypothesis import given
from hypothesis import strategies as st

# ROBOTIS e-manual, Protocol 2.0: ping of motor 1, and its answer from an XM430-W210 with firmware 38.
PING = bytes.fromhex("FFFFFD00010300011 94E".replace(" ", ""))
PONG = bytes.fromhex("FFFFFD0001070055000604266 55D".replace(" ", ""))


def test_published_packets_are_made_and_understood() -> None:
    assert encode(1, Instruction.PING, b"") == PING
    assert encode(1, Instruction.STATUS, bytes([0, 0x06, 0x04, 0x26])) == PONG
    assert split(bytearray(PING)) == [Packet(1, Instruction.PING, b"", intact=True)]


@given(st.binary(max_size=60))
def test_the_checksum_is_the_sdks(data: bytes) -> None:
    assert crc16(data) == PacketHandler(2.0).updateCRC(0, list(data), len(data))


@given(st.lists(st.sampled_from([0x00, 0xFD, 0xFE, 0xFF]), max_size=40), st.binary(max_size=5))
def test_any_parameters_survive_stuffing_behind_noise(parameters: list[int], noise: bytes) -> None:
    packet = encode(7, Instruction.WRITE, bytes(parameters))
    stream = bytearray(noise.replace(b"\xff", b"\x00") + packet)
    assert split(stream) == [Packet(7, Instruction.WRITE, bytes(parameters), intact=True)]
    assert not stream


def test_half_a_packet_waits_and_a_damaged_one_is_not_intact() -> None:
    stream = bytearray(PING[:6])
    assert split(stream) == []
    stream += PING[6:]
    assert len(split(stream)) == 1
    damaged = bytearray(PING)
    damaged[4] ^= 0x02
    (packet,) = split(damaged)
    assert not packet.intact


@pytest.mark.parametrize("junk", [b"\xff\xff", b"\x00" * 50, b"\xff\xff\xfd\x00\x01\x00\x00"])
def test_junk_does_not_hide_the_packet_behind_it(junk: bytes) -> None:
    assert split(bytearray(junk + PING))[-1] == Packet(1, Instruction.PING, b"", intact=True)
