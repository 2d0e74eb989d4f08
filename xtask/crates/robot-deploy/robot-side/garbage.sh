# Prints the number of bytes in the robot's registry that no stored release needs: REGISTRY PROGRAM
# shellcheck disable=SC2046 # digests are words
. ./release.sh

registry=$1 program=$2
set -- $(cat "$home"/releases/*/images 2>/dev/null | sed -n 's/^[^ ]*@\(sha256:[0-9a-f]*\) .*/\1/p' | sort -u)
docker container exec "$registry" python3 -c "$program" count "$project" "$@"
