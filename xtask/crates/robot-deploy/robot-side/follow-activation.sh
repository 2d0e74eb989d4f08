# Prints the events of an activation until its end: PROJECT NUMBER
. ./release.sh
. ./follow.sh

follow "$1"
