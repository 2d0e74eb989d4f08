"""Nearest obstacle in lidar scans."""
