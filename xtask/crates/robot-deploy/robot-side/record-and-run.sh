# Appends an entry to the history of the robot, if the disk takes it, and then runs a command, or without one the
# user's login shell: PROJECT BY ACTION OUTCOME [COMMAND ARGUMENT...]
mask=$(umask)
. ./release.sh

(
    . ./record.sh
) 2>/dev/null
umask "$mask"
shift 3
[ $# -gt 0 ] || set -- "${SHELL:-sh}" -l
exec "$@"
