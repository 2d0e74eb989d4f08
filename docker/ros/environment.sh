# shellcheck shell=sh disable=SC1090  # the sourced paths are known only at run time
# To be sourced: the environment of ROS in /opt/ros, if it is there, and of every package in /opt/ws/install.
#
# colcon's own setup.sh starts Python several times to sort the packages. Here there are few packages, and
# their prefixes are disjoint, so their order does not matter. Each package's environment, with its hooks,
# comes from the script that colcon wrote into it.

# The distribution: the base's ROS_DISTRO, else the newest in /opt/ros (their names are in alphabetical order), else
# that of the wheels.
if [ -z "${ROS_DISTRO:-}" ]; then
    ROS_DISTRO=''
    for XTASK_ROS in /opt/ros/*; do
        [ ! -d "$XTASK_ROS" ] || ROS_DISTRO=${XTASK_ROS##*/}
    done
    if [ -z "$ROS_DISTRO" ] && [ -r /opt/venv/share/ros-distribution ]; then
        read -r ROS_DISTRO </opt/venv/share/ros-distribution
    fi
    export ROS_DISTRO
fi
# Images that contain a ROS built from source have it in `install`.
for XTASK_ROS in "/opt/ros/$ROS_DISTRO/setup.sh" "/opt/ros/$ROS_DISTRO/install/setup.sh"; do
    if [ -n "$ROS_DISTRO" ] && [ -e "$XTASK_ROS" ]; then
        . "$XTASK_ROS"
        break
    fi
done
# Where no package of ROS has hooks of its own, ROS leaves its prefix in AMENT_CURRENT_PREFIX.
unset XTASK_ROS AMENT_CURRENT_PREFIX
# ROS sets these only where the package ros_environment is installed.
export ROS_VERSION="${ROS_VERSION:-2}" ROS_PYTHON_VERSION="${ROS_PYTHON_VERSION:-3}"

for COLCON_CURRENT_PREFIX in /opt/ws/install/*; do
    if [ -e "$COLCON_CURRENT_PREFIX/share/${COLCON_CURRENT_PREFIX##*/}/package.sh" ]; then
        . "$COLCON_CURRENT_PREFIX/share/${COLCON_CURRENT_PREFIX##*/}/package.sh"
    fi
done
unset COLCON_CURRENT_PREFIX
