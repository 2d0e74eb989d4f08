# The guard, which recovers activations after a power cut.
. ./release.sh

# Creates the guard unless it exists: a container that the engine starts at every boot, to recover an
# activation that a power cut interrupted. A container works without root, and on robots without systemd and
# cron. It has the engine's socket, the id of this user and no capabilities, sees only the project's files of
# this user, and ends at once when there is nothing to do. Its image is empty; it runs the robot's own
# programs. It is recognized by its label, which has the project in it, and by its image, since another
# container may have the same name.
guard() {
    name=$project-guard
    [ -z "$(docker container ls --all --quiet --filter "label=xtask.guard=$project" --filter "ancestor=$name")" ] || return 0
    # Guards of earlier versions of xtask had access to all files of this user.
    [ "$(docker container inspect --format '{{index .Config.Labels "xtask.role"}}' "$name" 2>/dev/null)" != guard ] ||
        docker container rm --force "$name" >/dev/null || return
    docker image inspect "$name" >/dev/null 2>&1 ||
        head -c 1024 /dev/zero | docker image import - "$name" >/dev/null || return
    socket=${DOCKER_HOST-unix:///var/run/docker.sock}
    set -- --volume "$home:$home" --volume "${socket#unix://}:${socket#unix://}"
    [ ! -d "$HOME/.docker" ] || set -- "$@" --volume "$HOME/.docker:$HOME/.docker:ro"
    for place in /bin /sbin /lib /lib32 /lib64 /usr /etc /opt /nix; do
        [ ! -d "$place" ] || set -- "$@" --volume "$place:$place:ro"
    done
    docker container inspect "$name" >/dev/null 2>&1 || set -- --name "$name" "$@"
    for group in $(id -G); do set -- "$@" --group-add "$group"; done
    docker container run --detach --label xtask.role=guard --label "xtask.guard=$project" \
        --restart always --network none --user "$(id -u):$(id -g)" --userns host --security-opt label=disable \
        --cap-drop ALL --security-opt no-new-privileges --read-only --log-driver none \
        --env HOME --env PATH --env "DOCKER_HOST=$socket" --env GUARD=yes "$@" "$name" \
        sh "$home/activate" "$project" recover >/dev/null
}
