# Lists what services write on the robot, or gives up one path: PROJECT list, or PROJECT reset PATH REGISTRY
. ./release.sh

case $1 in
    list)
        [ ! -r "$home/seeds" ] || while read -r _ path; do
            [ -e "$home/data/$path" ] || continue
            printf 'data\t%s\t%s\n' "$(du -sk "$home/data/$path" 2>/dev/null | cut -f 1)" "$path"
        done <"$home/seeds"
        ;;
    reset)
        place=$home/data/$2
        # Containers hold on to the directory that they were created with.
        docker container ls --all --quiet --filter "label=com.docker.compose.project=$project" --filter "volume=$place" |
            while read -r id; do docker container rm --force "$id" >/dev/null || exit; done || exit
        # Containers write as any user, root for one.
        rm -rf "$place" 2>/dev/null || docker run --rm --volume "${place%/*}:/there" --entrypoint rm \
            "$(docker container inspect --format '{{.Image}}' "$3")" -rf "/there/${place##*/}" || exit
        awk -v path="$2" '{ rest = $0; sub(/^[^ ]* /, "", rest); if (rest != path) print }' "$home/seeds" |
            write_file "$home/seeds"
        ;;
esac
