# Goes after `release.sh`: tells of an activation what it says, as it comes.
# shellcheck disable=SC2154 # it is one of several parts

# Until its end: NUMBER. One that was killed is ended here.
follow() {
    idle=0 recovered=''
    exec 3<"$home/releases/$1/events"
    while :; do
        if IFS= read -r line <&3; then
            idle=0
            printf '%s\n' "$line"
            case $line in end*) return ;; esac
            continue
        fi
        sleep 0.1
        idle=$((idle + 1))
        [ $((idle % 20)) -eq 0 ] || continue
        flock -n "$home/activation.lock" true || continue
        # Nobody is at it any more, and what it said last has been read.
        if [ -e "$home/activation" ] && [ -z "$recovered" ]; then
            recovered=yes
            detached "$home/activate" "$project" recover
        elif [ "$idle" -ge 100 ]; then
            return 1
        fi
    done
}

# Begins to go over, and tells of it: NUMBER, and what `activate` is told besides.
go_over() {
    : >"$home/releases/$1/events"
    printf 'release\t%s\n' "$1"
    detached "$home/activate" "$project" switch "$@"
    follow "$1"
}

# Runs a script of which the connection does not know: SCRIPT ARGUMENT...
detached() { setsid sh "$@" </dev/null >"$home/activation.log" 2>&1 & }
