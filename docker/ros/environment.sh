# shellcheck shell=sh disable=SC1090  # what it sources is known at run time only
# Sourced: the environment of every package in /opt/ws/install (and /opt/ros, where there is one).
#
# colcon's own setup.sh starts Python several times to sort the packages; their number here is small
# and their prefixes are disjoint, so their order does not matter. What each package asks for (its
# environment hooks included) comes from the script that colcon wrote into it.

if [ -n "${ROS_DISTRO:-}" ] && [ -e "/opt/ros/$ROS_DISTRO/setup.sh" ]; then
    . "/opt/ros/$ROS_DISTRO/setup.sh"
fi

for COLCON_CURRENT_PREFIX in /opt/ws/install/*; do
    if [ -e "$COLCON_CURRENT_PREFIX/share/${COLCON_CURRENT_PREFIX##*/}/package.sh" ]; then
        . "$COLCON_CURRENT_PREFIX/share/${COLCON_CURRENT_PREFIX##*/}/package.sh"
    fi
done
unset COLCON_CURRENT_PREFIX
