# Brings a Compose project up: PROJECT ID, the project's archive on stdin.
# What runs keeps running until Compose has accepted the new project; what did not change is not restarted.
set -eu
project=$1 id=$2
umask 077
home=$HOME/.deploy/$project
next=$home/next.$$
trap 'rm -rf "$next"' EXIT
mkdir -p "$home" "$next"
tar -xpf - -C "$next"
printf '%s\n' "$id" >"$next/id"
docker compose --project-name "$project" --file "$next/compose.json" config --quiet

# Files are named by their content: those of containers that go on running stay where they are.
mkdir -p "$home/files" "$next/files"
for place in "$next"/files/*; do
    [ ! -d "$place" ] || [ -d "$home/files/${place##*/}" ] || mv "$place" "$home/files/"
done
rm -rf "$next/files" "$home/previous"
[ ! -d "$home/current" ] || mv "$home/current" "$home/previous"
mv "$next" "$home/current"

# Only services that changed or do not run are named to Compose: up to 2.26, which Debian 13 has, it stops
# with a container that it replaces all those that start after it.
running=$(docker container ls --filter "label=com.docker.compose.project=$project" \
    --format '{{.Label "com.docker.compose.service"}}')
# What a start that broke off was about is in doubt: `started` lists only what is known to run as it should.
: >"$home/started.next"
while read -r hash service; do
    if grep -qxF "$hash $service" "$home/started" 2>/dev/null &&
        printf '%s\n' "$running" | grep -qxF "$service"; then
        printf '%s %s\n' "$hash" "$service" >>"$home/started.next"
        continue
    fi
    set -- "$@" "$service"
done <"$home/current/services"
shift 2
mv "$home/started.next" "$home/started"
docker compose --project-name "$project" --project-directory "$home/current" \
    --file "$home/current/compose.json" --progress plain up --detach --remove-orphans --no-deps "$@"
cp "$home/current/services" "$home/started"

for place in "$home"/files/*; do
    grep -qF "/${place##*/}/" "$home"/*/compose.json || rm -rf "$place"
done
