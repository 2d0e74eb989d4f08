# Starts activations and prints their events.
. ./release.sh

# Prints the events of an activation until its end: NUMBER. Recovers an activation that was killed.
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
        # No activation is running any more, and its last event has been read.
        if [ -e "$home/activation" ] && [ -z "$recovered" ]; then
            recovered=yes
            run_detached "$home/activate" recover
        elif [ "$idle" -ge 100 ]; then
            return 1
        fi
    done
}

# Waits for an earlier call of this run whose connection was lost. If that call has started its activation, follows
# it and exits: TOKEN
resume() {
    exec 8>>"$home/launch.lock"
    timeout 60 flock 8 || { echo 'another run is still storing a release' >&2 && exit 1; }
    token=$1
    read -r run number 2>/dev/null <"$home/launched" || return 0
    [ "$run" = "$token" ] || return 0
    exec 8>&-
    printf 'release\t%s\n' "$number"
    follow "$number"
    exit
}

# Starts a script that writes the events of a release, and follows it, after `resume`: NUMBER SCRIPT ARGUMENT...
start() {
    number=$1
    shift
    : >"$home/releases/$number/events"
    echo "$token $number" | write_file "$home/launched"
    # Nothing is printed in between: writing to a connection that is gone ends this script.
    run_detached "$@"
    exec 8>&-
    printf 'release\t%s\n' "$number"
    follow "$number"
}

# Runs a script that outlives the connection; its first argument is the project: SCRIPT ARGUMENT...
run_detached() {
    script=$1
    shift
    setsid sh "$script" "$project" "$@" </dev/null >"$home/activation.log" 2>&1 8>&- &
}
