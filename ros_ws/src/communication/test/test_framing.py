"""Frames survive whatever a serial line does to them, or are dropped whole."""

import random

from communication.framing import Decoder, MAX_PAYLOAD, START, encode
import pytest


def test_payloads_come_back():
    decoder = Decoder()
    payloads = [b'x', bytes(MAX_PAYLOAD), bytes([START] * 5)]
    assert decoder.feed(b''.join(map(encode, payloads))) == payloads
    assert decoder.discarded == 0


def test_bytes_may_come_one_by_one():
    decoder = Decoder()
    received = [payload for byte in encode(b'hello') for payload in decoder.feed(bytes([byte]))]
    assert received == [b'hello']


@pytest.mark.parametrize('length', [0, MAX_PAYLOAD + 1])
def test_payloads_have_a_size(length):
    with pytest.raises(ValueError):
        encode(bytes(length))


def test_any_flipped_bit_is_noticed():
    frame = encode(b'speeds')
    for bit in range(len(frame) * 8):
        broken = bytearray(frame)
        broken[bit // 8] ^= 1 << bit % 8
        # Enough good frames that a broken length cannot swallow them all.
        received = Decoder().feed(bytes(broken) + encode(b'next') * 10)
        assert b'speeds' not in received
        assert received and set(received) == {b'next'}


def test_it_finds_its_way_back_after_noise():
    noise = random.Random(1)
    decoder = Decoder()
    lost = 0
    for number in range(200):
        decoder.feed(noise.randbytes(noise.randrange(40)))
        received = decoder.feed(encode(number.to_bytes(4, 'big')) * 12)
        lost += number.to_bytes(4, 'big') not in received
    assert lost == 0
    assert decoder.discarded > 0


def test_coming_in_late():
    stream = encode(b'first') + encode(b'second')
    assert Decoder().feed(stream[3:]) == [b'second']
