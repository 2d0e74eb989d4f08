"""Messages come back as they were; strange payloads are none."""

from communication.messages import EncoderTicks, WheelVelocities, pack, unpack
import pytest


@pytest.mark.parametrize('message', [WheelVelocities(0.5, -0.25), EncoderTicks(-(2**31), 7)])
def test_round_trip(message):
    assert unpack(pack(message)) == message


@pytest.mark.parametrize('payload', [b'V', b'T12345678x', b'Z12345678'])
def test_unknown_payloads(payload):
    assert unpack(payload) is None
