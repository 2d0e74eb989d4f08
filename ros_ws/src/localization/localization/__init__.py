"""Turns wheel ticks into odometry."""
