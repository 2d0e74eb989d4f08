"""What a robot consists of."""

from bringup.robot import NotBuilt, PACKAGES, executable, parameter_files
import pytest


def test_the_files_of_a_robot_prevail(tmp_path):
    for name in ('drive.yaml', 'main/arm.yaml', 'main/drive.yaml', 'other/drive.yaml'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    expected = ['drive.yaml', 'main/arm.yaml', 'main/drive.yaml']
    assert parameter_files(tmp_path, 'main') == [str(tmp_path / name) for name in expected]
    with pytest.raises(NotBuilt, match='there are main, other'):
        parameter_files(tmp_path, 'third')


def test_a_missing_package_is_named():
    with pytest.raises(NotBuilt, match='colcon build --packages-up-to arm'):
        executable('arm', 'arm_node')


def test_every_node_has_its_executable():
    for package in PACKAGES:
        executable(package, f'{package}_node')
