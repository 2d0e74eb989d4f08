"""Finds the nearest obstacle in scans of a lidar."""
