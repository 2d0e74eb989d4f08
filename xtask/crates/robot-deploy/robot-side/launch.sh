# Stores a release on the robot, starts its activation and prints the events until the end: TOKEN CONTENT BY
# ROLLBACK SETTLE DEADLINE KEEP, with the archive of the release on stdin. The activation does not need this
# connection. A second call with the same TOKEN follows the activation that the first one has started.
. ./release.sh
. ./follow.sh

set -e
run=$1 content=$2
shift 2
mkdir -p "$home/releases" "$home/files"
# Leftovers of earlier versions and of killed runs.
[ -h "$home/current" ] || rm -rf "$home/current" "$home/previous"
next=$home/releases/next.$$
trap 'rm -rf "$next"' EXIT
rm -rf "$next"
mkdir "$next"
tar -xzpmf - -C "$next"
resume "$run"
for other in "$home"/releases/next.*; do
    [ "$other" = "$next" ] || rm -rf "$other"
done
if grep -q 'xtask\.[a-z]*\.of\.robot' "$next/compose.json"; then
    case $HOME$(id -un) in
        *[!A-Za-z0-9._/@+-]*) echo "the home directory of the robot has unusual characters: $HOME" >&2 && exit 1 ;;
    esac
    sed "s|/xtask\.home\.of\.robot|$HOME|g; s|xtask\.user\.of\.robot|$(id -un)|g" "$next/compose.json" |
        write_file "$next/compose.json.filled"
    mv -f "$next/compose.json.filled" "$next/compose.json"
fi
# Compose has accepted the current release's file; digests change nothing about that.
shape() { sed 's/[0-9a-f]\{64\}//g' "$1/compose.json" 2>/dev/null; }
[ "$(shape "$next")" = "$(shape "$home/current")" ] ||
    docker compose --project-name "$project" --file "$next/compose.json" config --quiet
printf '%s\n' "$content" >"$next/id"

number=$(number_of current) || number=
if [ -n "$number" ] && [ "$(cat "$home/current/id" 2>/dev/null)" = "$content" ]; then
    # The current release again: it keeps its number and record; its directory is replaced, in case it was
    # damaged.
    for record in about.json release.json; do
        [ ! -r "$home/current/$record" ] || cp "$home/current/$record" "$next/"
    done
    rm -rf "$home/releases/$number"
else
    number=$( (cat "$home/last" 2>/dev/null; ls "$home/releases") | grep -x '[0-9]*' | sort -n | tail -n 1)
    number=$((${number:-0} + 1))
    echo "$number" | write_file "$home/last"
fi
# Without this, a power cut could leave file names without their content.
sync_files "$next"
# Directories are named by a hash of their content: those that running containers mount stay in place.
mkdir -p "$next/files"
for place in "$next"/files/*; do
    [ -d "$place" ] || continue
    there=$home/files/${place##*/}
    if [ ! -d "$there" ]; then
        mv "$place" "$home/files/"
        continue
    fi
    # Files that a container has written stay; lost or empty files are restored. A container may have put
    # links into these directories and may add more at any time. So each directory is entered, and must be the
    # expected one, before a file in it is touched; links are only ever replaced, never followed.
    (cd -P "$place" && find . -type f -size +0 -exec sh -c '
        from=$PWD held=$PWD.held
        for file do
            cd -P "$0" || exit
            rest=${file#./} at=$PWD
            while part=${rest%%/*} && [ "$part" != "$rest" ]; do
                rest=${rest#*/} at=$at/$part
                mkdir "./$part" 2>/dev/null
                cd -P "./$part" 2>/dev/null && [ "$PWD" = "$at" ] || continue 2
            done
            { [ ! -s "./$rest" ] && [ ! -d "./$rest" ]; } || continue
            # Written in place, so that a container that mounts this single file sees the content again.
            rm -f "$held"
            if ln "./$rest" "$held" 2>/dev/null && [ -f "$held" ] && [ ! -h "$held" ]; then
                cat "$from/$file" >"$held" && sync "$held"
            else
                mv -fT "$from/$file" "./$rest"
            fi || exit
        done
    ' "$there" {} +)
done
rm -rf "$next/files"
grep -o '"\.\./files/[0-9a-f]*/' "$next/compose.json" | cut -d / -f 3 | while read -r hash; do
    [ -d "$home/files/$hash" ] || exit 1
done || { echo 'files of the release have been removed meanwhile: run the command again' >&2 && exit 1; }
# What containers may write is copied from a release once, or, where an older release had it in files/, from there.
[ ! -r "$next/data" ] || while read -r hash path; do
    there=$home/data/$path new=$home/data.new
    { [ -e "$there" ] || [ -h "$there" ]; } && continue
    older=$(awk -v path="$path" -F '"' '
        { for (i = 1; i <= NF; i++) if (sub(/^\.\.\/files\//, "", $i)) {
            rest = $i; sub(/^[^\/]*\//, "", rest)
            if ("/" rest == substr("/" path, length(path) - length(rest) + 1)) { print $i; exit }
        } }' "$home/current/compose.json" 2>/dev/null) || older=
    rm -rf "$new"
    mkdir -p "${there%/*}"
    if [ -n "$older" ] && [ -e "$home/files/$older" ]; then
        cp -RpP "$home/files/$older" "$new"
    elif [ "$hash" != - ]; then
        cp -RpP "$home/files/$hash/$path" "$new"
    else
        mkdir -m 755 "$new"
    fi
    sync_files "$new"
    mv -T "$new" "$there"
    printf '%s %s\n' "$hash" "$path" >>"$home/seeds"
done <"$next/data"
mv -f "$next/activate" "$home/activate"
mv -T "$next" "$home/releases/$number"
start "$number" "$home/activate" switch "$number" "$@"
