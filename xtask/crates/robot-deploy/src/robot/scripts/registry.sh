# Starts the registry: NAME IMAGE ADDRESS. Says "image missing" where the image has to be brought first.
set -eu
name=$1 image=$2 address=$3

# With host networking the registry itself listens on loopback only; a published port may be reachable
# from the robot's network segment on older engines (moby#45610). It needs no right but to write into its volume.
set -- --restart always --network host --volume "$name:/var/lib/registry" --env "REGISTRY_HTTP_ADDR=$address" \
    --cap-drop ALL --read-only --security-opt no-new-privileges --label xtask.role=registry
settings=$*

# One that is paused runs, too, and answers nobody; one that was started in another way may let in others.
format='{{.State.Status}} {{.Config.Image}} {{index .Config.Labels "xtask.settings"}}'
if [ "$(docker container inspect --format "$format" "$name" 2>/dev/null)" = "running $image $settings" ]; then
    echo "running"
    exit 0
fi
if ! docker image inspect "$image" >/dev/null 2>&1; then
    docker info >/dev/null # a stopped engine is no missing image: let it say so
    echo "image missing"
    exit 0
fi
# A container that stopped, or one of an older image: the data is in the volume.
docker container rm --force "$name" >/dev/null 2>&1 || true
docker run --detach --name "$name" "$@" --label "xtask.settings=$settings" "$image" >/dev/null
echo "started"
