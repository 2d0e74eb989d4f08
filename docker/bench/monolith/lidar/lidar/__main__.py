"""Stands in for a node that processes scans: its output does not matter, only that it runs."""

from time import sleep

from lidar.scan import nearest, simulated

while True:
    print(nearest(simulated()))
    sleep(60)
