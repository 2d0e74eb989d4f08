# Takes the robot from the release that runs to another, or back; nobody has to stay connected for it.
#   activate PROJECT switch NUMBER WHO ROLLBACK(yes|no) SETTLE DEADLINE KEEP
#   activate PROJECT recover        ends what was broken off, say by a power cut
# What happens is told in releases/NUMBER/events, as KEY<TAB>VALUE lines; the last has the key "end".
# shellcheck disable=SC2034,SC2154 # it is one of several parts

uptime() { read -r seconds _ </proc/uptime && echo "${seconds%.*}"; }

say() { printf '%s\t%s\n' "$1" "$2" >>"$events"; }

# What is known of the release, for people and programs: OUTCOME REASON
record() {
    printf '{\n  "release": %s,\n  "outcome": "%s",\n  "reason": "%s",\n  "since": "%s",\n  "deploy": %s\n}\n' \
        "$to" "$1" "$(quoted "$2")" "$(now)" "$(cat "$home/releases/$to/about.json" 2>/dev/null || echo null)" |
        write "$home/releases/$to/release.json"
}

# Waits for an engine that was killed: the system starts it again. One that takes longer starts the guard.
engine_is_back() {
    limit=$(($(uptime) + 2 * deadline))
    until docker info >/dev/null 2>&1; do
        [ "$(uptime)" -lt "$limit" ] || return 1
        sleep 0.5
    done
}

# Tells apart, of the containers in `$now`, the services of a release that are not as it wants them ("+ SERVICE") and the
# containers that go ("- ID") or have to stop first ("< ID"): FILE OF SERVICES
compare() {
    { cat "$1" && printf '=\n%s\n' "$now"; } | awk '
        $0 == "=" { part = 1; next }
        !part { hash[$3] = $1; flags[$3] = $2; service[++services] = $3; next }
        NF == 0 { next }
        { count++; line[count] = $0 }
        !($1 in hash) || $2 != hash[$1] { next }
        $3 == "running" || $3 == "exited" && $4 == 0 && flags[$1] ~ /j/ { good[$1] }
        END {
            for (number = 1; number <= services; number++) if (!(service[number] in good)) print "+", service[number]
            for (number = 1; number <= count; number++) {
                split(line[number], f, " ")
                # A serial port or a camera can be had by one at a time.
                if (!(f[1] in hash)) print "-", f[7]
                else if (f[1] in good || f[9] == "-") continue
                if (f[3] != "exited") print "<", f[7]
            }
        }'
}

# The second words of those lines of `$difference` that begin with a sign: SIGN
those() { printf '%s\n' "$difference" | sed -n "s/^$1 / /p" | tr -d '\n'; }

# Replaces what is not as a release wants it: NUMBER. What Docker says of that is in $words.
bring_up() {
    words=''
    look || return
    difference=$(compare "$home/releases/$1/services") || return
    changed=$(those +) gives_way=$(those '<') removed=$(those -)
    # What was there first, a second try must not take for it. Containers that somebody had stopped and this starts have
    # to be as well as new ones.
    if [ -z "$known" ]; then
        known=yes
        before=$(printf '%s\n' "$now" | awk -v changed="$changed " '
            index(changed, " " $1 " ") && ($3 == "created" || $3 == "exited" && $4 ~ /^(0|130|137|143)$/) { next }
            { print }')
    fi
    # Devices are let go of before anybody starts.
    # shellcheck disable=SC2086 # ids and names of services, each an argument
    words=$({
        [ -z "$gives_way" ] || docker container stop $gives_way || exit
        [ -z "$removed" ] || docker container rm --force $removed || exit
        [ -z "$changed" ] || { say doing "starting${changed}" && compose "$1" up --detach --no-build --no-deps -- $changed; }
    } 2>&1)
}

# The same, and once more where the engine was lost meanwhile; $why tells what keeps it from being done.
bring_up_patiently() {
    patience=$deadline known=''
    bring_up "$1" && return
    why=$(printf '%s\n' "$words" | grep -v '^ *$' | tail -n 1)
    docker info >/dev/null 2>&1 || engine_is_back || { why='Docker is gone' && return 1; }
    bring_up "$1" && return
    why=$(printf '%s\n' "$words" | grep -v '^ *$' | tail -n 1)
    why=${why:-Docker fails}
    return 1
}

# Tries what it is given for some seconds, in a container: to start a process there takes a robot more than most checks.
# shellcheck disable=SC2016 # it is for the shell of the container
tries='now() { read -r now _ </proc/uptime && now=${now%.*}; }
now && limit=$((now + 6))
until "$@"; do now && [ "$now" -lt "$limit" ] || exit 1; sleep 0.2; done'

# Tries the health check of a container, which is a shell's own: ID
try_check() {
    id=$1
    words=$(docker container inspect --format \
        '{{len .Config.Healthcheck.Test}}{{range .Config.Healthcheck.Test}}{{println}}{{.}}{{end}}' "$id") || exit
    IFS='
'
    set -f
    # shellcheck disable=SC2086 # a word on each line
    set -- $words
    count=$1 kind=${2-}
    shift
    # A word of several lines, or an empty one, is left to the engine.
    [ "$count" -eq $# ] || exit 1
    shift
    case $kind in
        CMD) ;;
        CMD-SHELL) set -- /bin/sh -c "$1" ;;
        *) exit 1 ;;
    esac
    timeout 10 docker exec "$id" /bin/sh -c "$tries" try "$@" && exit
    tried=$?
    # An image need not have a shell.
    case $tried in 126 | 127) exec timeout 10 docker exec "$id" "$@" ;; *) exit $tried ;; esac
}

# The same for those that are still starting, each on its own: the engine's own first try comes seconds later. $tried are
# words ID:STARTED:PROCESS of tries that are on their way, or whose check takes long: it goes on in there, and is the engine's.
probe() {
    left=''
    for one in $tried; do
        process=${one##*:} one=${one%:*}
        if kill -0 "$process" 2>/dev/null; then
            left="$left $one:$process"
            continue
        fi
        wait "$process"
        case $? in
            0) alive="$alive
${one%%:*} ${one#*:}" ;;
            124) left="$left $one:$$" ;;
        esac
    done
    tried=$left
    for one in $(printf '%s\n' "$now" | awk '$3 == "running" && $6 == "starting" { print $7 ":" $8 }'); do
        case "$tried$alive" in *" ${one%%:*}:"* | *"${one%%:*} ${one#*:}"*) continue ;; esac
        # It may outlive the activation, whose lock it must not keep.
        (try_check "${one%%:*}") 8>&- >/dev/null 2>&1 </dev/null &
        tried="$tried $one:$!"
    done
}

# Judges a look at a release that is in $now, and notes since when nothing has changed: NUMBER
assess() {
    verdict=$(judge "$home/releases/$1/services" "$before" "$alive" "$now")
    # Who is restarted begins to settle anew.
    state=$(printf '%s\n' "$now" | awk '{ print $1, $3, $5, $8 }')
    [ "$state" = "$seen" ] || { seen=$state && since=$(uptime); }
}

# Waits until a release is well, and gives up when it never will be: NUMBER. Then $why tells the reason, and $whom
# which services it is.
is_well() {
    limit=$(($(uptime) + deadline)) since=$(uptime) seen='' told='' whom='' listed='' alive='' tried=''
    while :; do
        if { [ -n "$listed" ] && look_again 2>/dev/null; } || look; then
            listed=yes
            probe
            assess "$1"
            case $verdict in
                well) return 0 ;;
                bad*) why=${verdict#bad } && whom=${why%% *} && return 1 ;;
                settling*) [ $(($(uptime) - since)) -lt "$settle" ] || return 0 ;;
            esac
        else
            verdict='waiting Docker'
        fi
        [ "$verdict" = "$told" ] || { told=$verdict && say doing "$verdict"; }
        if [ "$(uptime)" -ge "$limit" ]; then
            whom=${verdict#* } why="waited $deadline s for ${verdict#* }"
            return 1
        fi
        # Who settles is looked at, not waited for.
        case $verdict in settling*) sleep 1 ;; *) sleep 0.2 ;; esac
    done
}

# Keeps what those have printed that are not well, and tells the last of it.
tell_logs() {
    for service in $whom; do
        id=$(printf '%s\n' "$now" | awk -v service="$service" '$1 == service { print $7; exit }')
        [ -n "$id" ] || continue
        docker container logs --tail 1000 "$id" >"$home/releases/$to/$service.log" 2>&1
        tail -n 12 "$home/releases/$to/$service.log" | while IFS= read -r line; do say log "$service	$line"; done
    done
}

# Ends: WORD REASON. For those who listen, and for those who come later.
end() {
    printf '%s\t%s\t%s\n' "$to" "$1" "$2" | write "$home/news"
    note "$who" "$action" "$to" "$1${2:+: $2}"
    rm -f "$home/activation"
    say end "$1	$2	$from"
}

# Has the images put on the disk, which the engine leaves to the system: a robot that is switched off right after a
# deploy has to run what it was told to. Meanwhile nodes start.
put_on_disk() {
    sync 8>&- >/dev/null 2>&1 &
    syncing=$!
}

# Waits until they are. Not for ever: there may be a disk that does not answer.
is_on_disk() {
    limit=$(($(uptime) + 30))
    while kill -0 "$syncing" 2>/dev/null && [ "$(uptime)" -lt "$limit" ]; do sleep 0.05; done
}

# The release is the one that runs from now on, if that can be written down: OUTCOME REASON
commit() {
    rm -f "$home/reserve"
    why='the robot cannot write down that it runs: is its disk full?'
    record "$1" "$2" || return
    before=$(number_of current)
    [ -z "$before" ] || [ "$before" = "$to" ] || lead previous "$before" || return
    lead current "$to"
}

# Without an engine nothing can be put back: the guard does it, whom the engine starts as soon as it is there: REASON
put_off() {
    note "$who" "$action" "$to" "put off: $1"
    say end "put-off	$1	$from"
}

# Back to the release that ran: WORD REASON
restore() {
    say doing "going back${from:+ to release $from}"
    record "$1" "$2"
    if [ -z "$from" ]; then
        # There was nothing: what does not work is not left running.
        look || { put_off "$2" && return; }
        removed=$(printf '%s\n' "$now" | awk '{ print $7 }')
        # shellcheck disable=SC2086 # ids, each an argument
        if [ -z "$removed" ] || docker container rm --force $removed; then end "$1" "$2"; else put_off "$2"; fi
    elif bring_up_patiently "$from" && is_well "$from"; then
        end "$1" "$2"
    elif ! docker info >/dev/null 2>&1; then
        put_off "$2"
    else
        end stuck "$2; and release $from does not work any more: $why"
    fi
}

# After `switch`, where $why it failed is known: ROLLBACK
give_up() {
    reason=$why
    rm -f "$home/reserve"
    tell_logs
    if [ "$1" = no ] && commit unhealthy "$reason"; then
        end kept "$reason"
    elif [ "$from" = "$to" ]; then
        record unhealthy "$reason"
        end unhealthy "$reason"
    else
        restore restored "$reason"
    fi
}

# Whether nobody has replaced or stopped anything since the diary was as long as this: BYTES
is_left_alone() {
    [ "$(number_of current)" = "$to" ] && [ "$(wc -c <"$home/history")" -ge "$1" ] &&
        ! tail -c "+$(($1 + 1))" "$home/history" | cut -f 3 | grep -qvxE 'exec|run|shell|ssh|pull-data|prune'
}

# Goes on looking at a release that was well, and goes back when it does not stay so: a node may crash once it has a
# goal. Whoever does something with the project, since the diary was as long as $mark bytes, takes over from this.
watch_on() {
    begin=$(uptime) since=$(uptime) limit=$(($(uptime) + deadline)) verdict=''
    exec 8>&-
    while [ $(($(uptime) - since)) -lt "$settle" ] && [ "$(uptime)" -lt "$limit" ]; do
        sleep 1
        look_again 2>/dev/null || look || return
        is_left_alone "$mark" || return
        assess "$to"
        case $verdict in
            *'again and again'*) break ;;
            # Somebody has stopped or removed it.
            *' code 0' | *' code 130' | *' code 137' | *' code 143' | *' no container') return ;;
            bad*) break ;;
        esac
    done
    case $verdict in bad*) ;; *) return ;; esac
    exec 8>>"$home/activation.lock"
    # Somebody may prune.
    flock -w 120 8 && is_left_alone "$mark" && echo "$to $from" | write "$home/activation" || return
    whom=${verdict#bad } && whom=${whom%% *} reason="${verdict#bad }, $(($(uptime) - begin)) s after it had been well"
    tell_logs
    if [ -z "$from" ]; then
        # There is nothing to go back to: what works of it is left running.
        record unhealthy "$reason"
        end unhealthy "$reason"
        return
    fi
    lead current "$from"
    if [ -n "$older" ]; then lead previous "$older"; else rm -f "$home/previous"; fi
    restore restored "$reason"
}

switch() {
    to=$1 who=$2 settle=$4 deadline=$5 action=deploy why='' whom=''
    events=$home/releases/$to/events
    from=$(number_of current) older=$(number_of previous)
    if [ "$from" = "$to" ]; then
        action=again
    elif [ -e "$home/releases/$to/release.json" ]; then
        action=rollback
    fi
    # Whatever fills the disk meanwhile, there is room for saying how it ended.
    if ! { head -c 65536 /dev/zero >"$home/reserve" && echo "$to $from" | write "$home/activation"; } 2>/dev/null; then
        rm -f "$home/reserve" "$home/activation"
        end refused 'its disk is full'
        return
    fi
    echo "$settle $deadline" >"$home/releases/$to/patience"
    tail -n 1000 "$home/history" 2>/dev/null | write "$home/history"
    record activating ''
    guard &
    guarding=$!
    ended=''
    if bring_up_patiently "$to" && put_on_disk && is_well "$to" && is_on_disk && commit healthy ''; then
        end active '' && ended=well mark=$(wc -c <"$home/history")
    else
        give_up "$3"
    fi
    wait "$guarding"
    tidy "$6"
    # Whoever goes back by hand wants to be there.
    if [ "$ended $3 $action" = 'well yes deploy' ]; then watch_on; fi
}

# What was broken off ends with the release that ran before: nobody knows whether the other one works.
recover() {
    read -r to from <"$home/activation" || return
    mkdir -p "$home/releases/$to"
    events=$home/releases/$to/events who=robot action=recover why='' whom=''
    read -r settle deadline 2>/dev/null <"$home/releases/$to/patience" || settle=8 deadline=60
    # What was put off because Docker was gone says so.
    reason=$(awk -F '\t' '$1 == "end" { reason = $2 == "put-off" ? $3 : "" } END { print reason }' "$events" 2>/dev/null)
    reason=${reason:+Docker was gone: $reason}
    engine_is_back || return
    if [ "$(number_of current)" = "$to" ] && [ "$from" != "$to" ]; then
        # It had just been done.
        end active ''
    elif [ -n "$from" ] && [ "$from" != "$to" ]; then
        restore broken-off "${reason:-the robot was switched off, or the activation was killed}"
    elif bring_up_patiently "$to" && is_well "$to" && commit healthy ''; then
        # There was nothing to go back to.
        end active ''
    else
        give_up yes
    fi
}

exec 8>>"$home/activation.lock"
# One after the other: whoever is at it has a deadline.
flock -w 300 8 || exit 1
verb=$1
shift
case $verb in
    switch) switch "$@" ;;
    recover) [ ! -e "$home/activation" ] || recover ;;
esac
# Who was started by the engine, to look after what a power cut left, is started by it at every boot.
[ -z "${GUARD-}" ] || [ -e "$home/activation" ] || docker container kill "$(cat /proc/sys/kernel/hostname)" >/dev/null
