"""Talks to the motor board over a serial line, or to a simulated one."""
