"""The parameter files can be read and mean something to every node."""

from bringup.robot import NotBuilt, PACKAGES, executable, parameter_files
import pytest
import yaml


@pytest.mark.parametrize('robot', ['main', 'secondary'])
def test_files_hold_parameters_of_nodes(robot):
    common, own = (yaml.safe_load(open(path)) for path in parameter_files(robot))
    nodes = {'/**'} | {f'/**/{package}' for package in PACKAGES}
    assert common.keys() | own.keys() <= nodes
    goals = own['/**/behavior_tree']['ros__parameters']['goals']
    assert len(goals) % 3 == 0 and all(isinstance(number, float) for number in goals)


def test_an_unknown_robot():
    with pytest.raises(NotBuilt, match='there are main, secondary'):
        parameter_files('third')


def test_a_missing_package_is_named():
    with pytest.raises(NotBuilt, match='colcon build --packages-up-to arm'):
        executable('arm', 'arm_node')


def test_every_node_has_its_executable():
    for package in PACKAGES:
        executable(package, f'{package}_node')
