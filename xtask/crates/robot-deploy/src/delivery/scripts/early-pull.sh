# Pulls the images that stdin names, one a line, says of each whether it has been pulled, and removes all of them at
# the end of stdin: the end of who asked, however that came. Other parts come before (login.sh).
set -u
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
