# Evicts old releases and removes everything that no stored release needs: KEEP REGISTRY PROGRAM. Prints
# "free<TAB>KIBIBYTES" before and after, and "busy" if a push or a delta transfer uses the registry, which is
# then not cleaned.
# shellcheck disable=SC2046 # digests are words
. ./release.sh
. ./evict.sh

keep=$1 registry=$2 program=$3
root=$(engine_root "$registry") || exit
print_free() { printf 'free\t%s\n' "$(df -Pk "$root" | awk 'NR == 2 { print $4 }')"; }
mkdir -p "$home/releases"
exec 8>>"$home/activation.lock"
if ! timeout 60 flock 8; then
    echo 'the robot is activating a release' >&2
    exit 1
fi
to=$(number_of current)
print_free
evict_releases "$keep"
if [ "$(docker container inspect --format '{{.State.Running}}' "$registry" 2>/dev/null)" = true ]; then
    set -- $(printf '%s\n' "$images" | sed -n 's/^[^ ]*@\(sha256:[0-9a-f]*\) .*/\1/p' | sort -u)
    # The program prints `busy` itself.
    docker container exec "$registry" python3 -c "$program" collect "$project" "$@" || exit
fi
print_free
