"""Drives the robot to a pose."""
