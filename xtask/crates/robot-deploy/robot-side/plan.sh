# Prints the state of a robot for a plan, as KEY<TAB>VALUE lines: PROJECT REGISTRY-CONTAINER REGISTRY-IMAGE.
# Changes nothing.
set -u
project=$1 registry=$2 image=$3

docker container ls --all --filter "label=com.docker.compose.project=$project" --format \
    '{{printf "started\t"}}{{json (.Label "com.docker.compose.service")}}{{printf "\t"}}{{json (.Label "xtask.hash")}}' 2>/dev/null
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
engine=$(docker info --format '{{.DockerRootDir}}{{printf "\t"}}{{.DriverStatus}}' 2>/dev/null)
case $engine in
    *io.containerd.snapshotter*) printf 'store\tcontainerd\n' ;;
    *) printf 'store\tclassic\n' ;;
esac
printf 'free\t%s\n' "$(df -Pk "${engine%%	*}" 2>/dev/null | awk 'NR == 2 { print $4 }')"
