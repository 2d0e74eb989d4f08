# Pulls images.
. ./login.sh

# Pulls images by digest with $login, gives each two names, and prints the digests under which the engine has them:
# (REFERENCE TAG TAG)...
pull_images() {
    while [ $# -gt 0 ]; do
        docker image inspect "$1" >/dev/null 2>&1 || pull "$1" >/dev/null
        docker tag "$1" "$2"
        docker tag "$1" "$3"
        docker image inspect --format '{{join .RepoDigests " "}}' "$1"
        shift 3
    done
}
