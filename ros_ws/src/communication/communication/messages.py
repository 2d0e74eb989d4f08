"""What the computer and the motor board tell each other: the payloads of frames."""

from dataclasses import dataclass
import struct

_VELOCITIES = struct.Struct('<Bff')
_TICKS = struct.Struct('<Bii')


@dataclass(frozen=True)
class WheelVelocities:
    """To the board: the speeds the wheels shall have, in metres per second."""

    left: float
    right: float


@dataclass(frozen=True)
class EncoderTicks:
    """From the board: encoder counts since it started; 32 bits, wrapping around."""

    left: int
    right: int


Message = WheelVelocities | EncoderTicks


def pack(message: Message) -> bytes:
    """Return the payload of a message."""
    match message:
        case WheelVelocities(left, right):
            return _VELOCITIES.pack(ord('V'), left, right)
        case EncoderTicks(left, right):
            return _TICKS.pack(ord('T'), left, right)


def unpack(payload: bytes) -> Message | None:
    """Return the message in a payload, or None if it is of a kind unknown here."""
    if len(payload) == _VELOCITIES.size and payload[0] == ord('V'):
        return WheelVelocities(*_VELOCITIES.unpack(payload)[1:])
    if len(payload) == _TICKS.size and payload[0] == ord('T'):
        return EncoderTicks(*_TICKS.unpack(payload)[1:])
    return None
