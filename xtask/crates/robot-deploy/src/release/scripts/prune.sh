# Removes what no kept release needs: KEEP REGISTRY PROGRAM. Tells how many bytes are free, before and after, and whether
# the registry was left alone because somebody brings something into it.
# shellcheck disable=SC2034,SC2046,SC2154 # one of several parts; digests are words
keep=$1 registry=$2 program=$3
root=$(engine_root "$registry") || exit
free() { printf 'free\t%s\n' "$(df -Pk "$root" | awk 'NR == 2 { print $4 }')"; }
mkdir -p "$home/releases"
exec 8>>"$home/activation.lock"
if ! flock -w 60 8; then
    echo 'the robot is going over to a release' >&2
    exit 1
fi
to=$(number_of current)
free
tidy "$keep"
if [ "$(docker container inspect --format '{{.State.Running}}' "$registry" 2>/dev/null)" = true ]; then
    set -- $(printf '%s\n' "$images" | sed -n 's/^[^ ]*@\(sha256:[0-9a-f]*\) .*/\1/p' | sort -u)
    # It says `busy` where it leaves the registry alone.
    docker container exec "$registry" python3 -c "$program" collect "$project" "$@" || exit
fi
free
