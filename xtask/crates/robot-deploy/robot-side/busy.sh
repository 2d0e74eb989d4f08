# Prints "busy<TAB>REASON" if the robot must not be disturbed: PROJECT KIND ARGUMENT...
set -u
project=$1 kind=$2
shift 2
case $kind in
    command)
        ! "$@" >/dev/null 2>&1 || printf 'busy\t%s reports that the robot is busy\n' "$1"
        ;;
    lock)
        # A lock file that does not exist yet is not locked.
        if [ -e "$1" ]; then
            exec 7<"$1"
            flock -n 7 || printf 'busy\t%s is locked\n' "$1"
        fi
        ;;
    heartbeat)
        service=$1 file=$2 within=$3
        id=$(docker container ls --quiet --no-trunc --filter "label=com.docker.compose.project=$project" \
            --filter "label=com.docker.compose.service=$service" | head -n 1)
        [ -n "$id" ] || exit 0
        beat=$(docker container exec "$id" stat -c %Y -- "$file" 2>/dev/null) || exit 0
        # The container controls this text, and shell arithmetic could run it as a command.
        case $beat in '' | 0* | *[!0-9]* | ????????????*) exit 0 ;; esac
        age=$(($(date +%s) - beat))
        [ "$age" -gt "$within" ] || printf 'busy\t%s wrote %s %s s ago\n' "$service" "$file" "$age"
        ;;
esac
