# Tells what is on the robot, as KEY<TAB>VALUE lines: PROJECT REPOSITORY.
# Asks only, changes nothing; independent questions are asked at once.
set -u
project=$1 repository=$2
release=$HOME/.deploy/$project/current/id

printf 'machine\t%s\n' "$(uname -m)"
printf 'clock\t%s\n' "$(date +%s)"
[ -r "$release" ] && printf 'release\t%s\n' "$(cat "$release")"

if ! command -v docker >/dev/null; then
    printf 'no-docker\tnot installed\n'
    exit 0
fi

list() {
    docker image ls --digests --no-trunc \
        --format '{{printf "image\t%s@%s\t%s\t%s" .Repository .Digest .Tag .ID}}' "$1" 2>/dev/null
}
# Pulled from the registry beside the engine, and loaded from archives.
list "$repository" &
images=$!
list "$project" &
loaded=$!
containers=$(docker container ls --all --no-trunc --format '{{.ID}} {{.Image}}' \
    --filter "label=com.docker.compose.project=$project" 2>&1) || {
    printf 'no-docker\t%s\n' "$(printf '%s' "$containers" | tr '\n\t' '  ')"
    wait "$images" "$loaded"
    exit 0
}
if [ -n "$containers" ]; then
    ids='' names=''
    while read -r id name; do
        ids="$ids $id" names="$names $name"
    done <<END
$containers
END
    # The list of an engine with containerd's store leaves out what it has pulled in part only: layers that it had
    # unpacked already, of images whose layers are compressed in another way, it does not fetch again.
    # shellcheck disable=SC2086 # words without blanks in them, each an argument
    docker image inspect --format \
        '{{printf "in-use\t%s\t%s\t%s" .ID (join .RepoDigests " ") (join .RepoTags " ")}}' $names 2>/dev/null &
    # shellcheck disable=SC2086
    docker container inspect --format \
        '{{printf "container\t%s\t%s\t%s\t%s\t%d\t%s" (index .Config.Labels "com.docker.compose.service") .Config.Image .Image .State.Status .State.ExitCode .State.StartedAt}}' \
        $ids
    wait $!
fi
wait "$images" "$loaded"
