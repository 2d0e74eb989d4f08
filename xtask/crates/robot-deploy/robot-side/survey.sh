# Prints the state of the robot as KEY<TAB>VALUE lines. Changes nothing. Independent commands run in parallel.
# Arguments: PROJECT REPOSITORY; with an empty repository, only images that containers run are printed
set -u
project=$1 repository=$2
home=$HOME/.deploy/$project

printf 'machine\t%s\n' "$(uname -m)"
printf 'clock\t%s\n' "$(date +%s)"
[ -r "$home/current/id" ] && printf 'release\t%s\n' "$(cat "$home/current/id")"
current=$(readlink "$home/current") && printf 'number\t%s\n' "${current##*/}"
printf 'stamp\t%s:%s\n' "$current" "$(wc -c 2>/dev/null <"$home/history")"
[ -r "$home/seeds" ] && while read -r hash path; do printf 'seed\t%s\t%s\n' "$hash" "$path"; done <"$home/seeds"
for place in "$home"/files/*; do [ -d "$place" ] && printf 'file\t%s\n' "${place##*/}"; done
[ -s "$home/edits" ] && printf 'edits\t%s\t%s\n' "$(wc -l <"$home/edits")" "$(tail -n 1 "$home/edits" | cut -f 1)"
[ -r "$home/news" ] && printf 'news\t%s\n' "$(cat "$home/news")"

if ! command -v docker >/dev/null; then
    printf 'no-docker\tnot installed\n'
    exit 0
fi

# The engine cannot list images while one of them is being removed, for instance after an activation.
list() {
    tries=0
    until docker image ls --digests --no-trunc \
        --format '{{printf "image\t%s@%s\t%s\t%s" .Repository .Digest .Tag .ID}}' "$1" 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 10 ] || return
        sleep 0.2
    done
}
images='' loaded=''
if [ -n "$repository" ]; then
    # Images that were pulled from the robot's registry, and images that were loaded from archives.
    list "$repository" &
    images=$!
    list "$project" &
    loaded=$!
fi
containers=$(docker container ls --all --no-trunc \
    --format '{{.ID}} {{.Image}} {{json (.Label "com.docker.compose.oneoff")}} {{json (.Label "com.docker.compose.project")}} {{.State}} {{json (.Label "xtask.role")}}' 2>&1) || {
    printf 'no-docker\t%s\n' "$(printf '%s' "$containers" | tr '\n\t' '  ')"
    # shellcheck disable=SC2086 # empty or one process ID
    wait $images $loaded
    exit 0
}
ids='' names='' others=''
if [ -n "$containers" ]; then
    while read -r id name one_off of state role; do
        # Containers of `cargo xtask run` are not services.
        [ "$one_off" != '"True"' ] || continue
        if [ "$of" != "\"$project\"" ]; then
            # Perhaps the same nodes, started by hand, or a program that holds a device.
            [ "$state $role" != 'running ""' ] || others="$others $id"
            continue
        fi
        ids="$ids $id" names="$names $name"
    done <<END
$containers
END
fi
if [ -n "$others" ]; then
    # shellcheck disable=SC2086 # ids, each an argument
    docker container inspect --format \
        '{{printf "other\t%s\t%s\t%s\t%s\t%s" (json (index .Config.Labels "com.docker.compose.project")) (json (index .Config.Labels "com.docker.compose.service")) (json .Name) (json .HostConfig.Devices) (json .HostConfig.PortBindings)}}' \
        $others 2>/dev/null &
    others=$!
fi
if [ -n "$ids" ]; then
    # An engine with the containerd store does not list images that it pulled only in part. It does so when it
    # already has a layer's contents unpacked from an image whose layers are compressed differently: it does
    # not fetch that layer again.
    # shellcheck disable=SC2086 # each word is one argument
    docker image inspect --format \
        '{{printf "in-use\t%s\t%s\t%s" .ID (join .RepoDigests " ") (join .RepoTags " ")}}' $names 2>/dev/null &
    # Labels may come from an image and contain anything; JSON escapes tabs and line breaks.
    # shellcheck disable=SC2086
    docker container inspect --format \
        '{{printf "container\t%s\t%s\t%s\t%s\t%d\t%s\t" (json (index .Config.Labels "com.docker.compose.service")) .Config.Image .Image .State.Status .State.ExitCode .State.StartedAt}}{{with .State.Health}}{{.Status}}{{end}}{{printf "\t%d\t%s" .RestartCount (json (index .Config.Labels "xtask.hash"))}}' \
        $ids
    wait $!
fi
# shellcheck disable=SC2086 # empty or process IDs
wait $images $loaded $others
