"""
Frames on a byte stream: finding where messages begin, and which are whole.

A frame is START, the length of the payload, the payload, and a CRC-16 of length and payload. Any
byte may occur in a payload, START included: a receiver that comes in late, or after a corrupted
frame, tries every START until a checksum fits.
"""

import binascii

START = 0xA5
MAX_PAYLOAD = 32
OVERHEAD = 4
"""Bytes of a frame beside its payload."""


def encode(payload: bytes) -> bytes:
    """Return the frame that carries a payload."""
    if not 0 < len(payload) <= MAX_PAYLOAD:
        raise ValueError(f'a payload has 1 to {MAX_PAYLOAD} bytes, not {len(payload)}')
    body = bytes([len(payload)]) + payload
    return bytes([START]) + body + _checksum(body)


def _checksum(body: bytes) -> bytes:
    return binascii.crc_hqx(body, 0xFFFF).to_bytes(2, 'big')


class Decoder:
    """Takes bytes as they come, gives the payloads of whole frames."""

    def __init__(self) -> None:
        """Start with nothing received."""
        self._buffer = bytearray()
        self.discarded = 0
        """Bytes that belonged to no frame."""

    def feed(self, received: bytes) -> list[bytes]:
        """Take some more bytes; return the payloads they complete."""
        self._buffer += received
        payloads = []
        while self._buffer:
            if self._buffer[0] != START:
                self._skip()
                continue
            if len(self._buffer) < 2:
                break
            length = self._buffer[1]
            if not 0 < length <= MAX_PAYLOAD:
                self._skip()
                continue
            if len(self._buffer) < length + OVERHEAD:
                break
            body = bytes(self._buffer[1:2 + length])
            if bytes(self._buffer[2 + length:length + OVERHEAD]) != _checksum(body):
                # Perhaps a START within a payload: the next frame may begin inside this one.
                self._skip()
                continue
            payloads.append(body[1:])
            del self._buffer[:length + OVERHEAD]
        return payloads

    def _skip(self) -> None:
        """Drop a byte that begins no frame."""
        del self._buffer[0]
        self.discarded += 1
