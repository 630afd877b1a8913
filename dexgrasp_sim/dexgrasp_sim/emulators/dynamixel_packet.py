"""Dynamixel Protocol 2.0 on the byte level: checksum, byte stuffing, splitting a stream into packets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

HEADER = b"\xff\xff\xfd\x00"
BROADCAST = 0xFE


class Instruction(IntEnum):
    """The instruction byte."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    FACTORY_RESET = 0x06
    REBOOT = 0x08
    STATUS = 0x55
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83
    FAST_SYNC_READ = 0x8A
    BULK_READ = 0x92
    BULK_WRITE = 0x93


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x8005 if crc & 0x8000 else crc << 1) & 0xFFFF
        table.append(crc)
    return tuple(table)


_CRC = _crc_table()


def crc16(data: bytes, crc: int = 0) -> int:
    """CRC-16 with polynomial 0x8005 and no reflection, continued from `crc`."""
    for byte in data:
        crc = (crc << 8 & 0xFF00) ^ _CRC[crc >> 8 ^ byte]
    return crc


@dataclass(frozen=True)
class Packet:
    """One instruction packet.

    Attributes:
        id: Motor, or `BROADCAST`.
        instruction: What is asked; any byte, known or not.
        parameters: Without stuffing.
        intact: Whether the checksum fits.
    """

    id: int
    instruction: int
    parameters: bytes
    intact: bool


def encode(motor: int, instruction: int, parameters: bytes) -> bytes:
    """A packet ready for the wire; for a status packet, the first parameter is the error byte."""
    body = bytes([instruction]) + parameters
    body = body.replace(b"\xff\xff\xfd", b"\xff\xff\xfd\xfd")
    packet = HEADER + bytes([motor]) + (len(body) + 2).to_bytes(2, "little") + body
    return packet + crc16(packet).to_bytes(2, "little")


def split(stream: bytearray) -> list[Packet]:
    """Take every complete packet from the front of the stream; noise before a header is discarded."""
    packets: list[Packet] = []
    while True:
        start = stream.find(HEADER)
        if start < 0:
            del stream[: max(0, len(stream) - len(HEADER) + 1)]
            return packets
        del stream[:start]
        if len(stream) < 7:
            return packets
        size = 7 + int.from_bytes(stream[5:7], "little")
        if len(stream) < size:
            return packets
        raw = bytes(stream[:size])
        del stream[:size]
        if size < 10:
            continue
        body = raw[7:-2].replace(b"\xff\xff\xfd\xfd", b"\xff\xff\xfd")
        intact = crc16(raw[:-2]) == int.from_bytes(raw[-2:], "little")
        packets.append(Packet(raw[4], body[0], body[1:], intact))
