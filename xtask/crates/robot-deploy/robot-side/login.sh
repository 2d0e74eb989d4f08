# `pull IMAGE` pulls with $login, the text of a client's `config.json`, or without a login if that is empty. The
# client reads the text from a pipe: it is in no file, no environment and no list of processes.
. ./credential.sh

place=$HOME/.deploy/login
(umask 077 && mkdir -p "$place")
[ "$(readlink "$place/config.json")" = /dev/stdin ] || ln -sfn /dev/stdin "$place/config.json"

# The client uses the same engine as with this user's own configuration.
engine=${DOCKER_HOST-}
if [ -z "$engine" ] && { [ -n "${DOCKER_CONTEXT-}" ] ||
    grep -qs currentContext "${DOCKER_CONFIG:-$HOME/.docker}/config.json"; }; then
    engine=$(docker context inspect --format '{{.Endpoints.docker.Host}}')
fi

pull() {
    if [ -z "$login" ]; then
        docker pull --quiet "$1" </dev/null
    else
        printf '%s' "$login" | DOCKER_CONTEXT='' DOCKER_HOST=$engine DOCKER_CONFIG=$place docker pull --quiet "$1"
    fi
}

# registry_login IMAGE: prints a `config.json` with the login of this robot's registry, for the registry in
# IMAGE's name.
registry_login() {
    auth=$(credential 2>/dev/null) && printf '{"auths":{"%s":{"auth":"%s"}}}' "${1%%/*}" "$auth"
}
