"""Stands for a node that looks at scans: what it prints is of no interest, only that it runs."""

from time import sleep

from lidar.scan import nearest, simulated

while True:
    print(nearest(simulated()))
    sleep(60)
