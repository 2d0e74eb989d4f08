# Has the robot go over to a release that it has kept, on its own: NUMBER WHO ROLLBACK SETTLE DEADLINE KEEP. Tells what
# happens, for as long as somebody listens.
# shellcheck disable=SC2154 # it is one of several parts
number=$1
shift
if ! is_whole "releases/$number"; then
    echo "there is no release $number on this robot" >&2
    exit 1
fi
go_over "$number" "$@"
