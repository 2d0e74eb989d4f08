# Goes before `activate.sh`: what is kept, and what keeps it.
# shellcheck disable=SC2154 # it is one of several parts

# A container that the engine starts at every boot, to end an activation that a power cut broke off. It needs no
# image but an empty one: what it runs is the robot's own.
guard() {
    name=$project-guard
    ! docker container inspect "$name" >/dev/null 2>&1 || return 0
    docker image inspect "$name" >/dev/null 2>&1 ||
        head -c 1024 /dev/zero | docker image import - "$name" >/dev/null || return
    socket=${DOCKER_HOST-unix:///var/run/docker.sock}
    set -- --volume "$HOME:$HOME" --volume "${socket#unix://}:${socket#unix://}"
    for place in /bin /sbin /lib /lib32 /lib64 /usr /etc /opt /nix; do
        [ ! -d "$place" ] || set -- "$@" --volume "$place:$place:ro"
    done
    for group in $(id -G); do set -- "$@" --group-add "$group"; done
    docker container run --detach --name "$name" --label xtask.role=guard --restart always --network none \
        --user "$(id -u):$(id -g)" --userns host --security-opt label=disable --log-driver none \
        --env HOME --env PATH --env "DOCKER_HOST=$socket" --env "GUARD=$name" "$@" "$name" \
        sh "$home/activate" "$project" recover >/dev/null
}

# Removes releases that fell out of the kept ones, and what only they had of images and files: COUNT
tidy() {
    left=$1 in_use=" $to $(number_of current) $(number_of previous) "
    for number in $(for place in "$home"/releases/*; do echo "${place##*/}"; done | grep -x '[0-9]*' | sort -rn); do
        case $in_use in *" $number "*) left=$((left - 1)) && continue ;; esac
        if [ "$left" -gt 0 ] && grep -qs '"outcome": "healthy"' "$home/releases/$number/release.json"; then
            left=$((left - 1))
        else
            rm -rf "$home/releases/$number"
        fi
    done
    for place in "$home"/files/*; do
        grep -qsF "/${place##*/}/" "$home"/releases/*/compose.json || rm -rf "$place"
    done
    cat "$home"/releases/*/images 2>/dev/null | sort -u >"$work/images"
    docker image ls --format '{{.Repository}}:{{.Tag}}' "$project" | grep -E -- '-[0-9a-f]{12}$' >"$work/names"
    # Names keep images from being pruned by whoever cleans up. Each has a digest in it: one that is there is right.
    while read -r reference name; do
        [ "$reference" = "$name" ] || grep -qxF "$name" "$work/names" || docker image tag "$reference" "$name"
    done <"$work/images"
    while read -r name; do
        grep -qF " $name" "$work/images" || docker image rm "$name"
    done <"$work/names"
    # What has a tag is the latest: delivered, perhaps, to be started later.
    sed -n 's/@sha256:.*//p' "$work/images" | sort -u | while read -r repository; do
        docker image ls --digests --format '{{.Repository}}@{{.Digest}} {{.Tag}}' "$repository" |
            awk '$2 != "<none>" { tagged[$1] } { seen[$1] } END { for (n in seen) if (!(n in tagged)) print n }' |
            grep -v '<none>' | while read -r name; do
                grep -qF "$name " "$work/images" || docker image rm "$name"
            done
    done
} >/dev/null 2>&1
