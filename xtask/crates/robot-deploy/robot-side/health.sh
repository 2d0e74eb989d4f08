# Follows the containers of a release after they were started: becomes_healthy, and save_logs if they do not. Needs $home,
# $to, $from, $events, $settle, $deadline and $before, the lines of `inspect_containers` before the change.
# shellcheck disable=SC2154 # set by the script that includes this one
. ./containers.sh

uptime() { read -r seconds _ </proc/uptime && echo "${seconds%.*}"; }

# Appends an event: KEY VALUE
emit() { printf '%s\t%s\n' "$1" "$2" >>"$events"; }

# Tells what happens now: TEXT
doing() { emit doing "$1"; }

# Tells how it ended, which is the last event: OUTCOME REASON
conclude() { emit end "$1	$2	$from"; }

# Repeats its arguments as a command inside the container for up to 6 s. Starting a process in a container
# costs a robot more than most health checks do, so this is one process for all attempts.
# shellcheck disable=SC2016 # variables of the container's shell
repeat='now() { read -r now _ </proc/uptime && now=${now%.*}; }
now && limit=$((now + 6))
until "$@"; do now && [ "$now" -lt "$limit" ] || exit 1; sleep 0.1; done'

# Runs the health check of a container; exits, so it needs a subshell: ID
run_health_check() {
    id=$1
    check=$(docker container inspect --format \
        '{{len .Config.Healthcheck.Test}}{{range .Config.Healthcheck.Test}}{{println}}{{.}}{{end}}' "$id") || exit
    IFS='
'
    set -f
    # shellcheck disable=SC2086 # a word on each line
    set -- $check
    count=$1 kind=${2-}
    shift
    # A check with empty or multi-line words cannot be split here; the engine runs it.
    [ "$count" -eq $# ] || exit 1
    shift
    case $kind in
        CMD) ;;
        CMD-SHELL) set -- /bin/sh -c "$1" ;;
        *) exit 1 ;;
    esac
    timeout 10 docker exec "$id" /bin/sh -c "$repeat" try "$@" && exit
    status=$?
    # The image may have no shell.
    case $status in 126 | 127) exec timeout 10 docker exec "$id" "$@" ;; *) exit $status ;; esac
}

# Runs the health checks of containers that are still starting, in the background, because the engine runs its
# first check only seconds later. $probes has a word ID:STARTED:PROCESS for each check that runs, and for each
# that timed out: that one is not started again, and the engine decides. Adds a line "ID STARTED" to $alive
# for each success.
probe() {
    remaining=''
    for one in $probes; do
        process=${one##*:} one=${one%:*}
        if kill -0 "$process" 2>/dev/null; then
            remaining="$remaining $one:$process"
            continue
        fi
        wait "$process"
        case $? in
            0) alive="$alive
${one%%:*} ${one#*:}" ;;
            124) remaining="$remaining $one:$$" ;;
        esac
    done
    probes=$remaining
    for one in $(printf '%s\n' "$now" | awk '$3 == "running" && $6 == "starting" { print $7 ":" $8 }'); do
        case "$probes$alive" in *" ${one%%:*}:"* | *"${one%%:*} ${one#*:}"*) continue ;; esac
        # A check may outlive the activation and must not inherit its lock.
        (run_health_check "${one%%:*}") 8>&- >/dev/null 2>&1 </dev/null &
        probes="$probes $one:$!"
    done
}

# Waits for 0.2 s, or until a health check ends.
nap() {
    for _ in 1 2 3 4; do
        sleep 0.05
        for one in $probes; do kill -0 "${one##*:}" 2>/dev/null || return 0; done
    done
}

# Sets $verdict on a release from the containers in $now, and $since to the time of their last change: NUMBER
assess() {
    verdict=$(judge "$home/releases/$1/services" "$before" "$alive" "$now")
    # The settling time starts again when a container is restarted.
    state=$(printf '%s\n' "$now" | awk '{ print $1, $3, $5, $8 }')
    [ "$state" = "$seen" ] || { seen=$state && since=$(uptime); }
}

# Waits until a release is healthy: NUMBER. Fails when it is unhealthy or after the deadline, and sets
# $failure to the reason and $failed_services to the services.
becomes_healthy() {
    limit=$(($(uptime) + deadline)) since=$(uptime) seen='' emitted='' failed_services='' listed='' alive='' probes=''
    looks=0
    while :; do
        if { [ -n "$listed" ] && inspect_again 2>/dev/null; } || inspect_containers; then
            listed=yes
            probe
            assess "$1"
            case $verdict in
                # The exit code is known only while the engine waits before the next restart.
                *'again and again' | *' crashed') looks=$((looks + 1)) && [ "$looks" -lt 10 ] && sleep 0.2 && continue ;;
            esac
            case $verdict in
                healthy) return 0 ;;
                bad*) failure=${verdict#bad } && failed_services=${failure%% *} && return 1 ;;
                settling*) [ $(($(uptime) - since)) -lt "$settle" ] || return 0 ;;
            esac
        else
            verdict='waiting Docker'
        fi
        [ "$verdict" = "$emitted" ] || { emitted=$verdict && doing "$verdict"; }
        if [ "$(uptime)" -ge "$limit" ]; then
            failed_services=${verdict#* } failure="waited $deadline s for ${verdict#* }"
            return 1
        fi
        # Settling takes seconds and ends at a known time: no need to poll fast.
        case $verdict in settling*) sleep 1 ;; *) nap ;; esac
    done
}

# Prints the last line of the last health check that failed, if there is one: ID
last_check() {
    docker container inspect --format \
        '{{with .State.Health}}{{range .Log}}{{if .ExitCode}}{{println}}{{.Output}}{{end}}{{end}}{{end}}' "$1" 2>/dev/null |
        grep -v '^[[:space:]]*$' | tail -n 1 | head -c 1000
}

# Saves the logs of the failed services and emits their last lines.
save_logs() {
    for service in $failed_services; do
        id=$(printf '%s\n' "$now" | awk -v service="$service" '$1 == service { print $7; exit }')
        [ -n "$id" ] || continue
        docker container logs --tail 1000 "$id" >"$home/releases/$to/$service.log" 2>&1
        tail -n 12 "$home/releases/$to/$service.log" | while IFS= read -r line; do emit log "$service	$line"; done
        check=$(last_check "$id")
        [ -z "$check" ] || emit log "$service	health check: $check"
    done
}
