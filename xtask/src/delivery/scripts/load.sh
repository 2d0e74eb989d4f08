# Names loaded images: PROJECT, then REFERENCE TAG ID ID, again and again. An engine knows an image by one of
# the two: the digest of its manifest or of its configuration. Prints under which, for comparison.
set -eu
project=$1
shift
references=
while [ $# -gt 0 ]; do
    id=$3
    docker image inspect "$id" >/dev/null 2>&1 || id=$4
    docker tag "$id" "$1"
    docker tag "$id" "$2"
    # An image that lacks a layer is not listed.
    docker image ls --no-trunc --format "$1 {{.ID}}" "$1"
    references="$references $1"
    shift 4
done
# Names keep images from being pruned: those that no release here needs any more are taken away.
docker image ls --format '{{.Repository}}:{{.Tag}}' "$project" | grep -E -- '-[0-9a-f]{12}$' | while read -r name; do
    case "$references " in *" $name "*) continue ;; esac
    grep -qsF "\"$name\"" "$HOME/.deploy/$project"/*/compose.json || docker image rm "$name" >/dev/null || true
done
