# Activates a release, and rolls back if it is unhealthy. Runs on the robot, without the laptop.
#   activate PROJECT switch NUMBER BY ROLLBACK(yes|no) SETTLE DEADLINE KEEP
#   activate PROJECT recover        ends an activation that was interrupted, for example by a power cut
# Writes its events to releases/NUMBER/events, as KEY<TAB>VALUE lines; the last one has the key "end".
. ./release.sh
. ./health.sh
. ./guard.sh
. ./evict.sh

# Writes release.json of the new release: OUTCOME REASON
write_record() {
    printf '{\n  "release": %s,\n  "outcome": "%s",\n  "reason": "%s",\n  "since": "%s",\n  "deploy": %s\n}\n' \
        "$to" "$1" "$(json_text "$2")" "$(now)" "$(cat "$home/releases/$to/about.json" 2>/dev/null || echo null)" |
        write_file "$home/releases/$to/release.json"
}

# Waits for an engine that was killed, which the system starts again; fails if it takes too long. An engine
# that comes back later starts the guard.
wait_for_engine() {
    limit=$(($(uptime) + 2 * deadline))
    until docker info >/dev/null 2>&1; do
        [ "$(uptime)" -lt "$limit" ] || return 1
        sleep 0.5
    done
}

# Compares the containers in $now with a release: SERVICES-FILE. Prints "+ SERVICE" for a service to start,
# "- ID" for a container to remove, and "< ID" for one to stop first. A container with live edits is replaced.
compare() {
    { cat "$1" && printf '=\n' && relations "$1" && printf '=\n%s\n' "$now"; } | awk '
        $0 == "=" { part++; next }
        !part { hash[$3] = $1; flags[$3] = $2; wanted[$3] = 1; service[++services] = $3; next }
        part == 1 { wanted[$1] = $2; followed[$1] = $3; next }
        NF == 0 { next }
        { count++; line[count] = $0 }
        !($1 in hash) || $2 != hash[$1] { next }
        $3 == "running" || $3 == "exited" && $4 == 0 && flags[$1] ~ /j/ { if (++running[$1] >= wanted[$1]) good[$1] }
        END {
            # A container holds on to the containers that it shares namespaces or volumes with.
            do {
                changed = 0
                for (one in followed) if (one in good) for (i = split(followed[one], others, ","); i > 0; i--)
                    if (others[i] in hash && !(others[i] in good)) { delete good[one]; stale[one]; changed = 1; break }
            } while (changed)
            for (number = 1; number <= services; number++) if (!(service[number] in good)) print "+", service[number]
            for (number = 1; number <= count; number++) {
                split(line[number], f, " ")
                # Only one container at a time can open a serial port or a camera.
                if (!(f[1] in hash) || f[1] in stale || f[2] == "edited") print "-", f[7]
                else if (f[1] in good || f[9] == "-") continue
                if (f[3] != "exited") print "<", f[7]
            }
        }'
}

# Prints $now with the hash "edited" for containers with live edits: they are no longer what the release says.
mark_edited() {
    printf '%s\n' "$now" | awk -v edited=" $(cut -f 2 "$home/edits" 2>/dev/null | tr '\n' ' ')" '
        index(edited, " " $7 " ") { $2 = "edited" }
        { print }'
}

# Prints the second word of each line of $difference that begins with SIGN, with a space before it: SIGN
marked() { printf '%s\n' "$difference" | sed -n "s/^$1 / /p" | tr -d '\n'; }

# Starts, stops and removes containers until a release runs: NUMBER. Sets $output to the messages of Docker.
bring_up() {
    output=''
    inspect_containers || return
    now=$(mark_edited)
    difference=$(compare "$home/releases/$1/services") || return
    to_start=$(marked +) to_stop=$(marked '<') to_remove=$(marked -)
    # A second attempt must not replace $before, the state before the activation. Containers that a person had
    # stopped are left out of it: once started, they are judged like new ones.
    if [ -z "$has_before" ]; then
        has_before=yes
        before=$(printf '%s\n' "$now" | awk -v to_start="$to_start " '
            index(to_start, " " $1 " ") && ($3 == "created" || $3 == "exited" && $4 ~ /^(0|130|137|143)$/) { next }
            { print }')
    fi
    # Nothing is replaced before the guard can put it back after a power cut.
    [ -z "${guarding-}" ] || wait "$guarding"
    # All devices are released before the first container starts.
    # shellcheck disable=SC2086 # ids and names of services, each an argument
    output=$({
        [ -z "$to_stop" ] || docker container stop $to_stop || exit
        [ -z "$to_remove" ] || docker container rm --force $to_remove || exit
        [ -z "$to_start" ] || {
            doing "starting${to_start}" && compose "$1" up --detach --no-build --no-deps -- $to_start
        }
    } 2>&1) && rm -f "$home/edits"
}

# Like `bring_up`, with a second attempt, for which it waits until the engine runs: NUMBER. Sets $failure.
bring_up_with_retry() {
    compose_timeout=$deadline has_before=''
    bring_up "$1" && return
    failure=$(printf '%s\n' "$output" | grep -v '^ *$' | tail -n 1)
    docker info >/dev/null 2>&1 || wait_for_engine || { failure='Docker does not run' && return 1; }
    bring_up "$1" && return
    failure=$(printf '%s\n' "$output" | grep -v '^ *$' | tail -n 1)
    failure=${failure:-Docker failed without a message}
    return 1
}

# Ends the activation, and reports its result to clients that follow it and to later ones: WORD REASON
finish() {
    printf '%s\t%s\t%s\n' "$to" "$1" "$2" | write_file "$home/news"
    record_entry "$by" "$what" "$to" "$1${2:+: $2}"
    rm -f "$home/activation"
    conclude "$1" "$2"
}

# Starts to sync the images to the disk, which the engine does not do, while nodes start: a robot that is
# switched off right after a deploy must be able to run the new release.
start_sync() {
    sync 8>&- >/dev/null 2>&1 &
    syncing=$!
}

# Waits for the sync, with a limit in case the disk hangs.
wait_for_sync() {
    limit=$(($(uptime) + 30))
    while kill -0 "$syncing" 2>/dev/null && [ "$(uptime)" -lt "$limit" ]; do sleep 0.05; done
}

# Makes the release the current one; fails if the disk does not take it: OUTCOME REASON
commit() {
    rm -f "$home/reserve"
    failure='it could not be recorded as the current release (is the disk of the robot full?)'
    write_record "$1" "$2" || return
    before=$(number_of current)
    [ -z "$before" ] || [ "$before" = "$to" ] || set_link previous "$before" || return
    set_link current "$to"
}

# Leaves the rollback to the guard, which the engine starts as soon as it runs again: REASON
postpone_rollback() {
    record_entry "$by" "$what" "$to" "rollback postponed: $1"
    conclude put-off "$1"
}

# Rolls back to the release that ran before: WORD REASON
roll_back() {
    doing "rolling back${from:+ to release $from}"
    write_record "$1" "$2"
    if [ -z "$from" ]; then
        # No release ran before: the broken one is removed.
        inspect_containers || { postpone_rollback "$2" && return; }
        to_remove=$(printf '%s\n' "$now" | awk '{ print $7 }')
        # shellcheck disable=SC2086 # ids, each an argument
        if [ -z "$to_remove" ] || docker container rm --force $to_remove; then
            finish "$1" "$2"
        else
            postpone_rollback "$2"
        fi
    elif bring_up_with_retry "$from" && becomes_healthy "$from"; then
        finish "$1" "$2"
    elif ! docker info >/dev/null 2>&1; then
        postpone_rollback "$2"
    else
        finish stuck "$2; rolling back to release $from failed, too: $failure"
    fi
}

# Ends an activation that failed because of $failure: ROLLBACK
give_up() {
    reason=$failure
    rm -f "$home/reserve"
    save_logs
    if [ "$1" = no ] && commit unhealthy "$reason"; then
        finish kept "$reason"
    elif [ "$from" = "$to" ]; then
        write_record unhealthy "$reason"
        finish unhealthy "$reason"
    else
        roll_back restored "$reason"
    fi
}

# Succeeds if no command has changed the services since the history had this length: BYTES
is_unchanged() {
    [ "$(number_of current)" = "$to" ] && [ "$(wc -c <"$home/history")" -ge "$1" ] &&
        ! tail -c "+$(($1 + 1))" "$home/history" | cut -f 3 | grep -qvxE 'exec|run|shell|ssh|pull-data|prune'
}

# Watches a release that became healthy, and rolls back if it does not stay healthy: a node may crash once it
# gets a goal. Stops without a result when a command changes the services; $mark is for `is_unchanged`.
keep_watching() {
    begin=$(uptime) since=$(uptime) limit=$(($(uptime) + deadline)) verdict=''
    exec 8>&-
    while [ $(($(uptime) - since)) -lt "$settle" ] && [ "$(uptime)" -lt "$limit" ]; do
        sleep 1
        inspect_again 2>/dev/null || inspect_containers || return
        is_unchanged "$mark" || return
        assess "$to"
        case $verdict in
            *'again and again'*) break ;;
            # A person has stopped or removed the container.
            *' code 0' | *' code 130' | *' code 137' | *' code 143' | *' no container') return ;;
            bad*) break ;;
        esac
    done
    case $verdict in bad*) ;; *) return ;; esac
    exec 8>>"$home/activation.lock"
    # `prune` may hold the lock for a while.
    timeout 120 flock 8 && is_unchanged "$mark" && echo "$to $from" | write_file "$home/activation" || return
    reason=${verdict#bad } && failed_services=${reason%% *}
    reason="$reason, $(($(uptime) - begin)) s after the release became healthy"
    save_logs
    if [ -z "$from" ]; then
        # No release to roll back to: the services that work are left running.
        write_record unhealthy "$reason"
        finish unhealthy "$reason"
        return
    fi
    set_link current "$from"
    if [ -n "$older" ]; then set_link previous "$older"; else rm -f "$home/previous"; fi
    roll_back restored "$reason"
}

switch() {
    to=$1 by=$2 settle=$4 deadline=$5 action=deploy failure='' failed_services=''
    events=$home/releases/$to/events
    from=$(number_of current) older=$(number_of previous)
    if [ "$from" = "$to" ]; then
        action=again
    elif [ -e "$home/releases/$to/release.json" ]; then
        action=rollback
    fi
    what=$action
    if [ "$action" = deploy ] && grep -q '"via": *"env"' "$home/releases/$to/about.json" 2>/dev/null; then what="env"; fi
    # Reserves room for the result, in case the disk gets full meanwhile.
    if ! { head -c 65536 /dev/zero >"$home/reserve" && echo "$to $from" | write_file "$home/activation"; } 2>/dev/null
    then
        rm -f "$home/reserve" "$home/activation"
        finish refused 'the disk of the robot is full'
        return
    fi
    echo "$settle $deadline" >"$home/releases/$to/patience"
    tail -n 1000 "$home/history" 2>/dev/null | write_file "$home/history"
    write_record activating ''
    guard &
    guarding=$!
    ended=''
    if bring_up_with_retry "$to" && start_sync && becomes_healthy "$to" && wait_for_sync && commit healthy ''; then
        finish active '' && ended=healthy mark=$(wc -c <"$home/history")
    else
        give_up "$3"
    fi
    wait "$guarding"
    evict_releases "$6"
    # A rollback by hand is never undone.
    if [ "$ended $3 $action" = 'healthy yes deploy' ]; then keep_watching; fi
}

# Ends an interrupted activation. Rolls back if possible, because the new release may not work.
recover() {
    read -r to from <"$home/activation" || return
    mkdir -p "$home/releases/$to"
    events=$home/releases/$to/events by=robot action=recover what=recover failure='' failed_services=''
    read -r settle deadline 2>/dev/null <"$home/releases/$to/patience" || settle=8 deadline=60
    # A rollback that was postponed because Docker did not run has a reason already.
    reason=$(awk -F '\t' '$1 == "end" { reason = $2 == "put-off" ? $3 : "" } END { print reason }' "$events" 2>/dev/null)
    reason=${reason:+Docker did not run: $reason}
    wait_for_engine || return
    if [ "$(number_of current)" = "$to" ] && [ "$from" != "$to" ]; then
        # Only the last steps were missing.
        finish active ''
    elif [ -n "$from" ] && [ "$from" != "$to" ]; then
        roll_back broken-off "${reason:-the robot was switched off, or the activation was killed}"
    elif bring_up_with_retry "$to" && becomes_healthy "$to" && commit healthy ''; then
        # There was no release to roll back to.
        finish active ''
    else
        give_up yes
    fi
}

exec 8>>"$home/activation.lock"
# One activation at a time; the running one has a deadline.
timeout 300 flock 8 || exit 1
verb=$1
shift
case $verb in
    switch) switch "$@" ;;
    recover) [ ! -e "$home/activation" ] || recover ;;
esac
# The guard stops itself by `kill`, so that the engine starts it again at the next boot but not now.
[ -z "${GUARD-}" ] || [ -e "$home/activation" ] || docker container kill "$(cat /proc/sys/kernel/hostname)" >/dev/null
