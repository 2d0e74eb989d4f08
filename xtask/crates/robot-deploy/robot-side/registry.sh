# Starts the registry unless it runs. Prints "image missing" if the image has to be loaded first.
# Arguments: NAME IMAGE ADDRESS
set -eu
name=$1 image=$2 address=$3

# Host networking lets the registry listen on loopback only. On older engines a published port may be
# reachable from the robot's network segment (moby#45610). The registry needs no permission except to write to
# its volume.
set -- --restart always --network host --volume "$name:/var/lib/registry" --env "REGISTRY_HTTP_ADDR=$address" \
    --cap-drop ALL --read-only --security-opt no-new-privileges --label xtask.role=registry
settings=$*

# The status, because a paused container counts as running but never answers. The settings, because a
# container that was started with others may be open to other users.
format='{{.State.Status}} {{.Config.Image}} {{index .Config.Labels "xtask.settings"}}'
if [ "$(docker container inspect --format "$format" "$name" 2>/dev/null)" = "running $image $settings" ]; then
    echo "running"
    exit 0
fi
if ! docker image inspect "$image" >/dev/null 2>&1; then
    docker info >/dev/null # if the engine is stopped, fail with its error instead of "image missing"
    echo "image missing"
    exit 0
fi
# Removes a stopped or outdated container; the data is in the volume.
docker container rm --force "$name" >/dev/null 2>&1 || true
docker run --detach --name "$name" "$@" --label "xtask.settings=$settings" "$image" >/dev/null
echo "started"
