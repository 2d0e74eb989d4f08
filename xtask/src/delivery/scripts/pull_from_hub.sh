# Pulls published images by digest and names them: REFERENCE TAG TAG, again and again. On stdin the
# `config.json` of a login, or nothing. Prints the digests under which the engine has them, for comparison.
set -eu
umask 077
login=$(cat)
if [ -n "$login" ]; then
    # In memory where that can be: a robot that loses power keeps nothing of it.
    config=$(mktemp -d /dev/shm/xtask-login.XXXXXX 2>/dev/null || mktemp -d)
    trap 'rm -rf "$config"' EXIT
    trap 'exit 129' HUP INT TERM PIPE
    # The engine stays the one that this user's own configuration leads to.
    DOCKER_HOST=${DOCKER_HOST:-$(docker context inspect --format '{{.Endpoints.docker.Host}}')}
    printf '%s' "$login" >"$config/config.json"
    DOCKER_CONFIG=$config
    export DOCKER_HOST DOCKER_CONFIG
    unset login DOCKER_CONTEXT
fi
while [ $# -gt 0 ]; do
    docker image inspect "$1" >/dev/null 2>&1 || docker pull --quiet "$1" >/dev/null
    docker tag "$1" "$2"
    docker tag "$1" "$3"
    docker image inspect --format '{{join .RepoDigests " "}}' "$1"
    shift 3
done
