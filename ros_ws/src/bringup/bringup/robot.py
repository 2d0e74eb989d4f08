"""What a robot consists of: its nodes, and how each is started."""

from dataclasses import dataclass
import os
from pathlib import Path

from ament_index_python.packages import get_package_prefix, PackageNotFoundError

PACKAGES = ('communication', 'localization', 'navigation', 'behavior_tree')
"""Each has an executable of its own name and `_node`, as in docker/compose.yaml."""


class NotBuilt(Exception):
    """A package or an executable is missing."""


@dataclass(frozen=True)
class Process:
    """A node to start."""

    name: str
    command: list[str]


def executable(package: str, name: str) -> str:
    """Return the path of a package's executable."""
    try:
        path = Path(get_package_prefix(package), 'lib', package, name)
    except PackageNotFoundError:
        raise NotBuilt(
            f'package `{package}` is not in this environment: build it by '
            f'`colcon build --packages-up-to {package}`, then source install/setup.sh again'
        ) from None
    if not os.access(path, os.X_OK):
        raise NotBuilt(f'package `{package}` has no executable `{name}`: {path} is missing')
    return str(path)


def parameter_files(directory: Path, robot: str) -> list[str]:
    """Return the parameter files of a robot, those of all robots first, as docker/compose.yaml mounts them."""
    known = sorted(path.name for path in directory.glob('*') if path.is_dir())
    if robot not in known:
        raise NotBuilt(
            f'no parameters for a robot `{robot}` in {directory}; there are {", ".join(known) or "none"}')
    return [str(path) for place in (directory, directory / robot) for path in sorted(place.glob('*.yaml'))]


def processes(robot: str, parameters: Path) -> list[Process]:
    """Return the processes of a robot; name everything that is missing at once."""
    arguments = ['--ros-args', '-r', f'__ns:=/{robot}']
    for file in parameter_files(parameters, robot):
        arguments += ['--params-file', file]
    found, missing = [], []
    for package in PACKAGES:
        try:
            path = executable(package, f'{package}_node')
        except NotBuilt as error:
            missing.append(str(error))
        else:
            found.append(Process(package, [path, *arguments]))
    if missing:
        raise NotBuilt('\n'.join(missing))
    return found
