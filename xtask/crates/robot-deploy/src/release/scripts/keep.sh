# Goes before `activate.sh`: what is kept, and what keeps it.
# shellcheck disable=SC2154 # it is one of several parts

# A container that the engine starts at every boot, to end an activation that a power cut broke off: nothing else is sure to
# be started on a robot where there need be neither systemd nor cron, and that works without root. It has the engine's socket,
# this user's id and no capabilities, sees of this user's files only those of the project, and ends at once when there is
# nothing to do. Its image is an empty one: what it runs is the robot's own. It is known by its label and its image, and by
# whom it was made for: others may call a container the same.
guard() {
    name=$project-guard
    [ -z "$(docker container ls --all --quiet --filter "label=xtask.guard=$project" --filter "ancestor=$name")" ] || return 0
    # One of an earlier xtask saw all that is this user's.
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
    images=$(cat "$home"/releases/*/images 2>/dev/null | sort -u)
    names=$(docker image ls --format '{{.Repository}}:{{.Tag}}' "$project" | grep -E -- '-[0-9a-f]{12}$')
    # Names keep images from being pruned by whoever cleans up. Each has a digest in it: one that is there is right.
    printf '%s\n' "$images" | while read -r reference name; do
        [ "$reference" = "$name" ] || has "$names" "$name" || docker image tag "$reference" "$name"
    done
    wanted=$(printf '%s\n' "$images" | sed 's/.* //')
    printf '%s\n' "$names" | while read -r name; do
        has "$wanted" "$name" || docker image rm "$name"
    done
    # Older versions called the registry of the robot by a name: what only they knew goes with the last of their releases.
    named=localhost:5000/$project
    printf '%s\n' "$images" | grep -q "^$named@" ||
        docker image ls --digests --format '{{.Repository}}@{{.Digest}} {{.Repository}}:{{.Tag}}' "$named" | tr ' ' '\n' |
        grep -v '<none>' | sort -u | while read -r name; do docker image rm "$name"; done
    # What has a tag is the latest: delivered, perhaps, to be started later.
    wanted=$(printf '%s\n' "$images" | sed 's/ .*//')
    printf '%s\n' "$wanted" | sed -n 's/@sha256:.*//p' | sort -u | while read -r repository; do
        docker image ls --digests --format '{{.Repository}}@{{.Digest}} {{.Tag}}' "$repository" |
            awk '$2 != "<none>" { tagged[$1] } { seen[$1] } END { for (n in seen) if (!(n in tagged)) print n }' |
            grep -v '<none>' | while read -r name; do
                has "$wanted" "$name" || docker image rm "$name"
            done
    done
} >/dev/null 2>&1

# Whether a word is a line of a text: TEXT WORD
has() {
    case "
$1
" in *"
$2
"*) return 0 ;; esac
    return 1
}
