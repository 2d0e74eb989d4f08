# Puts changed files into containers and starts these again; puts the old files back if a service is not healthy then. Runs
# on the robot, without the laptop: PROJECT BY SETTLE DEADLINE ID...
# `before`, beside this script, has a line "DIGEST PATH" for each file; `new` has the new files, by path.
# Each container that was edited has a place in ~/.deploy/PROJECT/edits until it is replaced by the next activation.
. ./release.sh
. ./health.sh

by=$1 settle=$2 deadline=$3
shift 3
edit=$home/edit to=$(number_of current) || exit
events=$home/releases/$to/events from=$to failure='' failed_services=''
# shellcheck disable=SC2034 # used by judge
crashes=1

# Replaces files inside of a container, each at once and synced: a power cut leaves old or new ones. Fails before that if
# one is not as expected. Keeps the old files.
# shellcheck disable=SC2016 # variables of the container's shell
replace='set -e
umask 022
rm -rf /opt/ws/.edit
mkdir -p /opt/ws/.edit
cd /opt/ws/.edit
tar -xof -
while read -r digest path; do
    [ -f "/$path" ] || continue
    [ "$(sha256sum <"/$path" | cut -d " " -f 1)" = "$digest" ] || { echo "/$path is another file by now" >&2 && exit 1; }
    mkdir -p "old/${path%/*}" "next/${path%/*}"
    cp -p "/$path" "old/$path"
    cp -p "/$path" "next/$path"
    cat "new/$path" >"next/$path"
    sync "next/$path" 2>/dev/null || sync
done <before
cd next
find . -type f | while read -r path; do mv -f "$path" "/$path"; done'

# Runs a function for each container at the same time, and fails if one of them does: FUNCTION ID...
each() {
    function=$1 jobs='' failed=''
    shift
    for id; do
        "$function" "$id" >/dev/null 2>>"$edit/failures" &
        jobs="$jobs $!"
    done
    for job in $jobs; do wait "$job" || failed=yes; done
    [ -z "$failed" ] || { failure=$(tail -n 1 "$edit/failures") && return 1; }
}

# Notes the containers that have the new files.
put() {
    tar -cf - -C "$edit" before new | docker container exec --interactive --user 0 "$1" sh -c "$replace" &&
        echo "$1" >>"$edit/changed"
}

# The container may not run, so nothing can be started in it. The stream keeps the owners of the files.
put_back() {
    old=$edit/old.$1
    docker container cp "$1:/opt/ws/.edit/old/opt/ws/install" - >"$old" && docker container cp - "$1:/opt/ws" <"$old"
}

start_again() { docker container restart "$1"; }

# Prints the running containers that share a namespace or a volume with containers that start again, and have to start
# after these: ID...
followers() {
    { relations "$home/releases/$to/services" && printf '=\n%s\n' "$now"; } | awk -v edited=" $* " '
        $0 == "=" { part++; next }
        !part { followed[$1] = $3; next }
        index(edited, " " $7 " ") { starts[$1] }
        $3 == "running" { service[$7] = $1 }
        END {
            do {
                changed = 0
                for (one in followed) if (!(one in follows)) for (i = split(followed[one], others, ","); i > 0; i--)
                    if (others[i] in starts) { starts[one]; follows[one]; changed = 1; break }
            } while (changed)
            for (id in service) if (service[id] in follows) printf "%s ", id
        }'
}

# Starts containers again, and then those that follow them: ID...
# shellcheck disable=SC2086 # ids, each an argument
start_all() {
    first=''
    for id; do case " $following" in *" $id "*) ;; *) first="$first $id" ;; esac done
    each start_again $first && each start_again $following
}

# Prints the containers that do not start again: ID...
others() { printf '%s\n' "$now" | awk -v again=" $* $following" '!index(again, " " $7 " ")'; }

# Forgets that the containers were edited.
forget() { sed '$d' "$home/edits" | write_file "$home/edits"; }

exec 8>>"$home/activation.lock"
timeout 300 flock 8 || exit 1
inspect_containers || { conclude not-edited 'Docker does not run' && exit; }
following=$(followers "$@")
services=$(printf '%s\n' "$now" | awk -v again=" $* $following" 'index(again, " " $7 " ") { printf " %s", $1 }')
# What is started again is judged like something new.
before=$(others "$@")
{ cat "$home/edits" 2>/dev/null; printf '%s\t%s\n' "$by" "$*"; } | write_file "$home/edits"
if ! each put "$@"; then
    reason=$failure
    # Nothing was started again, so the old files are enough.
    # shellcheck disable=SC2046 # ids, each an argument
    if [ ! -s "$edit/changed" ] || each put_back $(cat "$edit/changed"); then forget; fi
    conclude not-edited "$reason"
    exit
fi
# From here on, the activation before this no longer watches the services.
record_entry "$by" watch "$to" active
doing "starting$services"
if start_all "$@" && becomes_healthy "$to"; then
    conclude active ''
    exit
fi
reason=$failure
record_entry "$by" watch "$to" "undone: $reason"
save_logs
# What the edit did to other services is no reason against the old files.
if each put_back "$@" && start_all "$@" && inspect_containers && before=$(others "$@") && becomes_healthy "$to"; then
    forget
    conclude undone "$reason"
else
    conclude stuck "$reason"
fi
