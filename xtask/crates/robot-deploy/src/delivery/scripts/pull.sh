# Pulls images by digest and names them: REFERENCE TAG TAG for each. Comes after login.sh.
# Prints the references by digest under which the engine has them.
set -eu
while [ $# -gt 0 ]; do
    docker image inspect "$1" >/dev/null 2>&1 || pull "$1" >/dev/null
    docker tag "$1" "$2"
    docker tag "$1" "$3"
    docker image inspect --format '{{join .RepoDigests " "}}' "$1"
    shift 3
done
