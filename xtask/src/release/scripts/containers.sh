# Goes after `release.sh`: what the project's containers are, and whether they are as a release wants them.
# shellcheck disable=SC2154 # it is one of several parts

# A line for each container: SERVICE HASH STATE EXIT-CODE RESTARTS HEALTH ID STARTED DEVICES
look() {
    containers=$(docker container ls --all --filter "label=com.docker.compose.project=$project" \
        --format '{{.ID}} {{.Label "com.docker.compose.oneoff"}}') || return
    # Those of `cargo xtask run` are no services.
    containers=$(printf '%s\n' "$containers" | sed -n '/ True$/!s/ .*//p')
    look_again
}

# The same of the containers that there were then, for half of what it costs; it fails when one of them is gone.
look_again() {
    # shellcheck disable=SC2086 # numbers, each an argument
    [ -z "$containers" ] || docker container inspect --format '{{index .Config.Labels "com.docker.compose.service"}} {{with index .Config.Labels "xtask.hash"}}{{.}}{{else}}-{{end}} {{.State.Status}} {{.State.ExitCode}} {{.RestartCount}} {{if .State.Health}}{{.State.Health.Status}}{{else}}-{{end}} {{.ID}} {{.State.StartedAt}} {{with index .Config.Labels "xtask.devices"}}{{.}}{{else}}-{{end}}' $containers
}

# Judges what `look` says: SERVICES BEFORE ALIVE NOW, ALIVE those whose own try of the check succeeded. One line: "well", "settling SERVICE...", "waiting SERVICE...",
# "bad SERVICE REASON". A container that was not well before, and was left alone since, is no fault of a release.
judge() {
    awk -v services="$1" -v before="$2" -v proven="$3" '
        function well(state, code, health, flags) {
            return state == "running" && health != "unhealthy" || state == "exited" && code == 0 && flags ~ /j/
        }
        BEGIN {
            while ((getline line <services) > 0) { split(line, f, " "); flags[f[3]] = f[2]; missing[f[3]] }
            while ((getline line <before) > 0) {
                split(line, f, " ")
                restarts[f[7]] = f[5]
                known[f[7]]
                if (!well(f[3], f[4], f[6], flags[f[1]])) ill[f[7]]
            }
            while ((getline line <proven) > 0) alive[line]
        }
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
        }' "$4"
}
