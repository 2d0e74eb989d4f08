# Inspects the containers of the project and judges whether a release is healthy.
. ./release.sh

# Sets $now to a line for each container: SERVICE HASH STATE EXIT-CODE RESTARTS HEALTH ID STARTED DEVICES.
# Leaves out containers of `cargo xtask run`. Uses no files, since a container of this user could change them.
inspect_containers() {
    containers=$(docker container ls --all --no-trunc --filter "label=com.docker.compose.project=$project" \
        --format '{{.ID}} {{json (.Label "com.docker.compose.oneoff")}}') || return
    containers=$(printf '%s\n' "$containers" | sed -n '/ "True"$/!s/^\([0-9a-f]*\) .*/\1/p')
    inspect_again
}

# Like `inspect_containers`, but for the same containers as before, in half the time. Fails if one of them is
# gone.
inspect_again() {
    # shellcheck disable=SC2086 # ids, each an argument
    now=$([ -z "$containers" ] || docker container inspect --format "$container_format" $containers) || return
    now=$(printf '%s\n' "$now" | awk "$valid_lines")
}

# Format of a line. Labels may come from an image and can contain any text, so they are JSON here.
container_format='{{json (index .Config.Labels "com.docker.compose.service")}} {{with index .Config.Labels "xtask.hash"}}{{json .}}{{else}}-{{end}} {{.State.Status}} {{.State.ExitCode}} {{.RestartCount}} {{if .State.Health}}{{.State.Health.Status}}{{else}}-{{end}} {{.ID}} {{.State.StartedAt}} {{with index .Config.Labels "xtask.devices"}}{{json .}}{{else}}-{{end}}'

# Removes the JSON quotes, and lines with unexpected characters.
# shellcheck disable=SC2016 # variables of awk
valid_lines='{ gsub(/"/, "") }
    NF == 9 && $1 !~ /[^A-Za-z0-9._-]/ && $2 !~ /[^A-Za-z0-9-]/ && $4 !~ /[^0-9-]/ && $5 !~ /[^0-9]/ && $7 !~ /[^0-9a-f]/'

# Prints the relations of a release, which releases of earlier versions do not have: SERVICES
relations() { cat "${1%/*}/relations" 2>/dev/null || :; }

# Judges the containers of a release: SERVICES BEFORE ALIVE NOW. SERVICES is the file of the release; BEFORE
# and NOW are lines of `inspect_containers`; ALIVE has a line "ID STARTED" for each container whose health
# check `probe` ran with success. Prints "healthy", "settling SERVICE...", "waiting SERVICE..." or "bad
# SERVICE REASON". A service that the engine has started again $crashes times is bad, by default 3. Ignores
# containers that were unhealthy before the activation and have not been replaced: the release did not cause
# that.
judge() {
    { cat "$1" && printf '=\n' && relations "$1" && printf '=\n%s\n=\n%s\n=\n%s\n' "$2" "$3" "$4"; } | awk -v crashes="${crashes:-3}" '
        function healthy(state, code, health, flags) {
            return state == "running" && health != "unhealthy" || state == "exited" && code == 0 && flags ~ /j/
        }
        $0 == "=" { part++; next }
        NF == 0 { next }
        part == 0 { flags[$3] = $2; missing[$3] = 1; next }
        part == 1 { missing[$1] = $2; next }
        part == 2 && !($1 in flags) { next }
        part == 2 { restarts[$7] = $5; known[$7]; if (!healthy($3, $4, $6, flags[$1])) was_unhealthy[$7]; next }
        part == 3 { alive[$0]; next }
        !($1 in flags) { next }
        { missing[$1]-- }
        $7 in was_unhealthy { next }
        $3 == "exited" && $4 == 0 && flags[$1] ~ /j/ { next }
        $5 - restarts[$7] >= crashes && $3 == "restarting" && $4 == 0 {
            bad = bad ? bad : $1 " ends again and again, although its restart policy says that it should keep running: exit code 0"
            next
        }
        $5 - restarts[$7] >= crashes { bad = bad ? bad : $1 (crashes > 1 ? " crashes again and again" : " crashed") ($4 ? ", with exit code " $4 : ""); next }
        $3 == "exited" || $3 == "dead" { bad = bad ? bad : $1 " ended with exit code " $4; next }
        $3 != "running" { waiting = waiting " " $1; next }
        $6 == "unhealthy" { bad = bad ? bad : $1 " is unhealthy: its health check fails"; next }
        $6 == "starting" && !($7 " " $8 in alive) { waiting = waiting " " $1; next }
        $6 == "-" && !($7 in known) { settling = settling " " $1 }
        END {
            for (service in missing) if (missing[service] > 0) bad = bad ? bad : service " has no container"
            if (bad) print "bad " bad
            else if (waiting) print "waiting" waiting
            else if (settling) print "settling" settling
            else print "healthy"
        }'
}
