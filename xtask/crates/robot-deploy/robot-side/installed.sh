# Prints what is installed in the running containers of a project: "container<TAB>ID<TAB>SERVICE", then a line
# "file<TAB>DIGEST  PATH" for each file that is small enough to be edited: PROJECT
. ./containers.sh

inspect_containers
printf '%s\n' "$now" | awk '$3 == "running" { print $1, $7 }' | while read -r service id; do
    printf 'container\t%s\t%s\n' "$id" "$service"
    timeout 20 docker container exec "$id" find /opt/ws/install -type f -size -1024k ! -name '*.pyc' \
        -exec sha256sum {} + 2>/dev/null </dev/null | sed -n '/^[0-9a-f]\{64\}  /p' | sed 's/^/file	/'
done
