# Goes before the script that pulls, with the `config.json` of a login on stdin, or nothing: what is pulled is
# pulled with that login, and nothing of it stays.
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
