# Starts the activation of a release that is stored on the robot, and prints its events until the end:
# TOKEN NUMBER BY ROLLBACK SETTLE DEADLINE KEEP. The activation does not need this connection. A second call with the
# same TOKEN follows the activation that the first one has started.
. ./release.sh
. ./follow.sh

mkdir -p "$home"
resume "$1"
number=$2
shift 2
if ! is_complete "releases/$number"; then
    echo "release $number is not stored on this robot" >&2
    exit 1
fi
start "$number" "$home/activate" switch "$number" "$@"
