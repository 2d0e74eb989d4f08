# Brings a Compose project up: PROJECT ID SERVICE..., the project's archive on stdin, the services in the
# order in which they start.
# What runs keeps running until Compose has accepted the new project; what did not change is not restarted.
set -eu
project=$1 id=$2
shift 2
umask 077
home=$HOME/.deploy/$project
next=$home/next.$$
trap 'rm -rf "$next"' EXIT
mkdir -p "$home" "$next"
tar -xpf - -C "$next"
printf '%s\n' "$id" >"$next/id"
docker compose --project-name "$project" --file "$next/compose.json" config --quiet

rm -rf "$home/previous"
[ ! -d "$home/current" ] || mv "$home/current" "$home/previous"
mv "$next" "$home/current"

up() {
    docker compose --project-name "$project" --project-directory "$home/current" \
        --file "$home/current/compose.json" --progress plain up --detach "$@"
}
for service in "$@"; do
    up "$service"
done
up --remove-orphans
