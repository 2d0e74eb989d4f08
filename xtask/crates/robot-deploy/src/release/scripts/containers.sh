# Goes after `release.sh`: what the project's containers are, and whether they are as a release wants them.
# shellcheck disable=SC2154 # it is one of several parts

# Sets $now to a line for each container: SERVICE HASH STATE EXIT-CODE RESTARTS HEALTH ID STARTED DEVICES. Containers of
# `cargo xtask run` are not services. Nothing of it is ever in a file: containers of this user might see and write it.
look() {
    containers=$(docker container ls --all --no-trunc --filter "label=com.docker.compose.project=$project" \
        --format '{{.ID}} {{json (.Label "com.docker.compose.oneoff")}}') || return
    containers=$(printf '%s\n' "$containers" | sed -n '/ "True"$/!s/^\([0-9a-f]*\) .*/\1/p')
    look_again
}

# The same of the containers that there were then, for half of what it costs; it fails when one of them is gone.
look_again() {
    # shellcheck disable=SC2086 # ids, each an argument
    now=$([ -z "$containers" ] || docker container inspect --format "$each" $containers) || return
    now=$(printf '%s\n' "$now" | awk "$sane")
}

# What Docker tells of a container. Labels may come from an image, and have anything in them.
each='{{json (index .Config.Labels "com.docker.compose.service")}} {{with index .Config.Labels "xtask.hash"}}{{json .}}{{else}}-{{end}} {{.State.Status}} {{.State.ExitCode}} {{.RestartCount}} {{if .State.Health}}{{.State.Health.Status}}{{else}}-{{end}} {{.ID}} {{.State.StartedAt}} {{with index .Config.Labels "xtask.devices"}}{{json .}}{{else}}-{{end}}'

# Passes on lines whose words are what they should be, without the quotes of JSON.
# shellcheck disable=SC2016 # they are awk's
sane='{ gsub(/"/, "") }
    NF == 9 && $1 !~ /[^A-Za-z0-9._-]/ && $2 !~ /[^A-Za-z0-9-]/ && $4 !~ /[^0-9-]/ && $5 !~ /[^0-9]/ && $7 !~ /[^0-9a-f]/'

# Judges what `look` says: SERVICES BEFORE ALIVE NOW; SERVICES is a file, the others are text, ALIVE a line "ID STARTED" for
# each whose own try of the check succeeded. One line: "well", "settling SERVICE...", "waiting SERVICE...",
# "bad SERVICE REASON". A container that was not well before, and was left alone since, is no fault of a release.
judge() {
    { cat "$1" && printf '=\n%s\n=\n%s\n=\n%s\n' "$2" "$3" "$4"; } | awk '
        function well(state, code, health, flags) {
            return state == "running" && health != "unhealthy" || state == "exited" && code == 0 && flags ~ /j/
        }
        $0 == "=" { part++; next }
        NF == 0 { next }
        part == 0 { flags[$3] = $2; missing[$3]; next }
        part == 1 && !($1 in flags) { next }
        part == 1 { restarts[$7] = $5; known[$7]; if (!well($3, $4, $6, flags[$1])) ill[$7]; next }
        part == 2 { alive[$0]; next }
        !($1 in flags) { next }
        { delete missing[$1] }
        $7 in ill { next }
        $3 == "exited" && $4 == 0 && flags[$1] ~ /j/ { next }
        $5 - restarts[$7] >= 3 { bad = bad ? bad : $1 " crashes again and again" ($4 ? ", with exit code " $4 : ""); next }
        $3 == "exited" || $3 == "dead" { bad = bad ? bad : $1 " ended with exit code " $4; next }
        $3 != "running" { waiting = waiting " " $1; next }
        $6 == "unhealthy" { bad = bad ? bad : $1 " is unhealthy: its health check fails"; next }
        $6 == "starting" && !($7 " " $8 in alive) { waiting = waiting " " $1; next }
        $6 == "-" && !($7 in known) { settling = settling " " $1 }
        END {
            for (service in missing) bad = bad ? bad : service " has no container"
            if (bad) print "bad " bad
            else if (waiting) print "waiting" waiting
            else if (settling) print "settling" settling
            else print "well"
        }'
}
