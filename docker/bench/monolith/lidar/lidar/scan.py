"""Lidar scans: distances in metres, evenly spread over a full turn."""

import numpy as np

BEAMS = 720
# Closer readings are reflections from the lidar itself.
BLIND = 0.1


def simulated() -> np.ndarray:
    """Return a scan in a square room with walls two metres away."""
    angles = np.linspace(0, 2 * np.pi, BEAMS, endpoint=False)
    return 2.0 / np.maximum(np.abs(np.cos(angles)), np.abs(np.sin(angles)))


def nearest(scan: np.ndarray) -> float:
    """Return the distance of the nearest obstacle."""
    return float(scan[scan > BLIND].min())
