# shellcheck shell=sh disable=SC1090  # the sourced paths are known only at run time
# To be sourced: the environment of every package in /opt/ws/install (and of /opt/ros, if it exists).
#
# colcon's own setup.sh starts Python several times to sort the packages. Here there are few packages, and
# their prefixes are disjoint, so their order does not matter. Each package's environment, with its hooks,
# comes from the script that colcon wrote into it.

if [ -n "${ROS_DISTRO:-}" ] && [ -e "/opt/ros/$ROS_DISTRO/setup.sh" ]; then
    . "/opt/ros/$ROS_DISTRO/setup.sh"
fi

for COLCON_CURRENT_PREFIX in /opt/ws/install/*; do
    if [ -e "$COLCON_CURRENT_PREFIX/share/${COLCON_CURRENT_PREFIX##*/}/package.sh" ]; then
        . "$COLCON_CURRENT_PREFIX/share/${COLCON_CURRENT_PREFIX##*/}/package.sh"
    fi
done
unset COLCON_CURRENT_PREFIX
