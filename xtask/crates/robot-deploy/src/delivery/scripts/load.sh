# Names loaded images: REFERENCE TAG ID ID, again and again. An engine knows an image by one of
# the two: the digest of its manifest or of its configuration. Prints under which, for comparison.
set -eu
while [ $# -gt 0 ]; do
    id=$3
    docker image inspect "$id" >/dev/null 2>&1 || id=$4
    docker tag "$id" "$1"
    docker tag "$id" "$2"
    # An image that lacks a layer is not listed.
    docker image ls --no-trunc --format "$1 {{.ID}}" "$1"
    shift 4
done
