"""A serial line carrying messages, over a device file and nothing but the standard library."""

import os
import termios
import tty

from communication.framing import Decoder, encode
from communication.messages import Message, pack, unpack

BAUD = termios.B115200


def open_device(path: str) -> int:
    """Open a serial device, such as one of /dev/serial/by-id, for raw bytes."""
    device = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        tty.setraw(device)
        settings = termios.tcgetattr(device)
        settings[4] = settings[5] = BAUD
        termios.tcsetattr(device, termios.TCSANOW, settings)
        termios.tcflush(device, termios.TCIOFLUSH)
    except termios.error as error:
        os.close(device)
        raise OSError(f'`{path}` is not a serial device: {error}') from error
    return device


class SerialLine:
    """Messages to and from whoever is at the other end of an open, non-blocking device."""

    def __init__(self, device: int) -> None:
        """Take over a file descriptor."""
        self._device = device
        self._decoder = Decoder()

    def send(self, message: Message) -> None:
        """Send a message; drop it if the line is blocked, as the next one will replace it."""
        try:
            os.write(self._device, encode(pack(message)))
        except BlockingIOError:
            pass

    def receive(self) -> list[Message]:
        """Return the messages that have arrived, without waiting; OSError if it is unplugged."""
        try:
            received = os.read(self._device, 4096)
        except BlockingIOError:
            return []
        if not received:
            raise OSError('the serial device has gone')
        messages = map(unpack, self._decoder.feed(received))
        return [message for message in messages if message is not None]

    def close(self) -> None:
        """Close the device."""
        os.close(self._device)
