# Tells what a plan has to know of a robot, as KEY<TAB>VALUE lines: PROJECT REGISTRY-CONTAINER REGISTRY-IMAGE.
# Asks only, changes nothing.
set -u
project=$1 registry=$2 image=$3

while read -r hash service; do
    printf 'started\t%s\t%s\n' "$service" "$hash"
done 2>/dev/null <"$HOME/.deploy/$project/started"
state=$(docker container inspect --format '{{.State.Running}} {{.Config.Image}}' "$registry" 2>/dev/null)
if [ "$state" = "true $image" ]; then
    printf 'registry\trunning\n'
elif ! docker image inspect "$image" >/dev/null 2>&1; then
    printf 'registry\tabsent\n'
elif docker volume inspect "$registry" >/dev/null 2>&1; then
    printf 'registry\tstopped\n'
else
    printf 'registry\tempty\n'
fi
root=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null)
printf 'store\t%s\n' "$(docker info --format '{{.DriverStatus}}' 2>/dev/null | grep -q io.containerd.snapshotter && echo containerd || echo classic)"
printf 'free\t%s\n' "$(df -Pk "$root" 2>/dev/null | awk 'NR == 2 { print $4 }')"
