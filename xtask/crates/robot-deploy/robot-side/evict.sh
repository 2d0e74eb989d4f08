# Evicts stored releases. $to is the release that is being activated, or the current one.
# shellcheck disable=SC2154 # set by the scripts that include this one
. ./release.sh

# Evicts releases, with the images and files that only they need, until COUNT are left: the current one, the
# previous one and the latest healthy ones stay.
evict_releases() {
    remaining=$1 in_use=" $to $(number_of current) $(number_of previous) "
    for number in $(for place in "$home"/releases/*; do echo "${place##*/}"; done | grep -x '[0-9]*' | sort -rn); do
        case $in_use in *" $number "*) remaining=$((remaining - 1)) && continue ;; esac
        if [ "$remaining" -gt 0 ] && grep -qs '"outcome": "healthy"' "$home/releases/$number/release.json"; then
            remaining=$((remaining - 1))
        else
            rm -rf "$home/releases/$number"
        fi
    done
    for place in "$home"/files/*; do
        grep -qsF "/${place##*/}/" "$home"/releases/*/compose.json || rm -rf "$place"
    done
    images=$(cat "$home"/releases/*/images 2>/dev/null | sort -u)
    names=$(docker image ls --format '{{.Repository}}:{{.Tag}}' "$project" | grep -E -- '-[0-9a-f]{12}$')
    # Named images survive `docker image prune`. A name contains the digest, so an existing name needs no
    # check.
    printf '%s\n' "$images" | while read -r reference name; do
        [ "$reference" = "$name" ] || has_line "$names" "$name" || docker image tag "$reference" "$name"
    done
    wanted=$(printf '%s\n' "$images" | sed 's/.* //')
    printf '%s\n' "$names" | while read -r name; do
        has_line "$wanted" "$name" || docker image rm "$name"
    done
    # The registry had another port before, or another name: those images go with the last of their releases.
    docker image ls --format '{{.Repository}}' | sort -u | while read -r repository; do
        case $repository in
            localhost:*/"$project") ;;
            # Perhaps the port of now, with images that were delivered with `--no-start`.
            127.0.0.1:*/"$project") printf '%s\n' "$images" | grep -q '^127\.0\.0\.1:' || continue ;;
            *) continue ;;
        esac
        printf '%s\n' "$images" | grep -q "^$repository@" && continue
        docker image ls --digests --format '{{.Repository}}@{{.Digest}} {{.Repository}}:{{.Tag}}' "$repository" | tr ' ' '\n' |
            grep -v '<none>' | sort -u | while read -r name; do docker image rm "$name"; done
    done
    # An image with a tag is the latest one, perhaps delivered with `--no-start`: it stays.
    wanted=$(printf '%s\n' "$images" | sed 's/ .*//')
    printf '%s\n' "$wanted" | sed -n 's/@sha256:.*//p' | sort -u | while read -r repository; do
        docker image ls --digests --format '{{.Repository}}@{{.Digest}} {{.Tag}}' "$repository" |
            awk '$2 != "<none>" { tagged[$1] } { seen[$1] } END { for (n in seen) if (!(n in tagged)) print n }' |
            grep -v '<none>' | while read -r name; do
                has_line "$wanted" "$name" || docker image rm "$name"
            done
    done
} >/dev/null 2>&1

# Succeeds if a text has a line: TEXT LINE
has_line() {
    case "
$1
" in *"
$2
"*) return 0 ;; esac
    return 1
}
