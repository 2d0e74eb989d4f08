# Starts the activation of a release that is stored on the robot, and prints its events until the end:
# NUMBER BY ROLLBACK SETTLE DEADLINE KEEP. The activation does not need this connection.
. ./release.sh
. ./follow.sh

number=$1
shift
if ! is_complete "releases/$number"; then
    echo "release $number is not stored on this robot" >&2
    exit 1
fi
start_activation "$number" "$@"
