# Pulls the images that stdin names, one a line, and prints for each whether it was pulled. Removes all of
# them at the end of stdin, which is also the end of the deploying process, however that came.
set -u
. ./credential.sh
. ./login.sh

trap '' HUP PIPE
pulled='' login=''
while read -r reference; do
    pulled="$pulled $reference"
    [ -n "$login" ] || login=$(registry_login "$reference")
    if pull "$reference" >/dev/null 2>&1; then
        echo pulled
    else
        echo failed
    fi
done
for reference in $pulled; do
    docker image rm "$reference" >/dev/null 2>&1
done
