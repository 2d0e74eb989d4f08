# Tells what is on the robot, as KEY<TAB>VALUE lines: PROJECT REPOSITORY. Without a repository images are left out that no
# container runs.
# Asks only, changes nothing; independent questions are asked at once.
set -u
project=$1 repository=$2
home=$HOME/.deploy/$project

printf 'machine\t%s\n' "$(uname -m)"
printf 'clock\t%s\n' "$(date +%s)"
[ -r "$home/current/id" ] && printf 'release\t%s\n' "$(cat "$home/current/id")"
current=$(readlink "$home/current") && printf 'number\t%s\n' "${current##*/}"
printf 'stamp\t%s:%s\n' "$current" "$(wc -c 2>/dev/null <"$home/history")"
[ -r "$home/news" ] && printf 'news\t%s\n' "$(cat "$home/news")"

if ! command -v docker >/dev/null; then
    printf 'no-docker\tnot installed\n'
    exit 0
fi

list() {
    docker image ls --digests --no-trunc \
        --format '{{printf "image\t%s@%s\t%s\t%s" .Repository .Digest .Tag .ID}}' "$1" 2>/dev/null
}
images='' loaded=''
if [ -n "$repository" ]; then
    # Pulled from the registry beside the engine, and loaded from archives.
    list "$repository" &
    images=$!
    list "$project" &
    loaded=$!
fi
containers=$(docker container ls --all --no-trunc --filter "label=com.docker.compose.project=$project" \
    --format '{{.ID}} {{.Image}} {{json (.Label "com.docker.compose.oneoff")}}' 2>&1) || {
    printf 'no-docker\t%s\n' "$(printf '%s' "$containers" | tr '\n\t' '  ')"
    # shellcheck disable=SC2086 # none, or one
    wait $images $loaded
    exit 0
}
ids='' names=''
if [ -n "$containers" ]; then
    while read -r id name one_off; do
        # Those of `cargo xtask run` are no services.
        [ "$one_off" != '"True"' ] || continue
        ids="$ids $id" names="$names $name"
    done <<END
$containers
END
fi
if [ -n "$ids" ]; then
    # The list of an engine with containerd's store leaves out what it has pulled in part only: layers that it had
    # unpacked already, of images whose layers are compressed in another way, it does not fetch again.
    # shellcheck disable=SC2086 # words without blanks in them, each an argument
    docker image inspect --format \
        '{{printf "in-use\t%s\t%s\t%s" .ID (join .RepoDigests " ") (join .RepoTags " ")}}' $names 2>/dev/null &
    # A label may come from an image, and have anything in it: in JSON it has neither tabs nor ends of lines.
    # shellcheck disable=SC2086
    docker container inspect --format \
        '{{printf "container\t%s\t%s\t%s\t%s\t%d\t%s\t" (json (index .Config.Labels "com.docker.compose.service")) .Config.Image .Image .State.Status .State.ExitCode .State.StartedAt}}{{with .State.Health}}{{.Status}}{{end}}{{printf "\t%d\t%s" .RestartCount (json (index .Config.Labels "xtask.hash"))}}' \
        $ids
    wait $!
fi
# shellcheck disable=SC2086 # none, or one
wait $images $loaded
