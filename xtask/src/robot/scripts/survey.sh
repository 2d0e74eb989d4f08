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
containers=$(docker container ls --all --quiet --no-trunc --filter "label=com.docker.compose.project=$project" 2>&1) || {
    printf 'no-docker\t%s\n' "$(printf '%s' "$containers" | tr '\n\t' '  ')"
    wait "$images" "$loaded"
    exit 0
}
# shellcheck disable=SC2086 # one identifier a line, each a word
[ -z "$containers" ] || docker container inspect --format \
    '{{printf "container\t%s\t%s\t%s\t%s\t%d\t%s" (index .Config.Labels "com.docker.compose.service") .Config.Image .Image .State.Status .State.ExitCode .State.StartedAt}}' \
    $containers
wait "$images" "$loaded"
