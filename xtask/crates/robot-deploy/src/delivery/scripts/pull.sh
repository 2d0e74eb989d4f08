# Pulls images by digest and names them: REFERENCE TAG TAG, again and again. Other parts come before (login.sh).
# Prints the digests under which the engine has them, for comparison.
set -eu
while [ $# -gt 0 ]; do
    docker image inspect "$1" >/dev/null 2>&1 || pull "$1" >/dev/null
    docker tag "$1" "$2"
    docker tag "$1" "$3"
    docker image inspect --format '{{join .RepoDigests " "}}' "$1"
    shift 3
done
