# Names loaded images: REFERENCE TAG ID ID for each. The ids are the digests of the image's manifest and
# configuration; an engine knows an image by one of them. Prints REFERENCE and that id.
set -eu
while [ $# -gt 0 ]; do
    id=$3
    docker image inspect "$id" >/dev/null 2>&1 || id=$4
    docker tag "$id" "$1"
    docker tag "$id" "$2"
    # An image that lacks a layer is not listed, so that its id is missing in the output.
    docker image ls --no-trunc --format "$1 {{.ID}}" "$1"
    shift 4
done
