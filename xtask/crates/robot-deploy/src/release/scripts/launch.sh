# Takes a release in and has the robot go over to it, on its own: CONTENT WHO ROLLBACK SETTLE DEADLINE KEEP, its archive
# on stdin. Tells what happens, for as long as somebody listens.
# shellcheck disable=SC2154 # it is one of several parts
set -e
content=$1
shift
mkdir -p "$home/releases" "$home/files"
# Of earlier versions, and of runs that were killed.
[ -h "$home/current" ] || rm -rf "$home/current" "$home/previous"
rm -rf "$home"/releases/next.*
next=$home/releases/next.$$
trap 'rm -rf "$next"' EXIT
mkdir "$next"
tar -xzpmf - -C "$next"
docker compose --project-name "$project" --file "$next/compose.json" config --quiet
printf '%s\n' "$content" >"$next/id"

number=$(number_of current) || number=
if [ -n "$number" ] && [ "$(cat "$home/current/id" 2>/dev/null)" = "$content" ]; then
    # The same once more: whatever became of its containers or its directory, they are made anew.
    for about in about.json release.json; do
        [ ! -r "$home/current/$about" ] || cp "$home/current/$about" "$next/"
    done
    rm -rf "$home/releases/$number"
else
    number=$( (cat "$home/last" 2>/dev/null; ls "$home/releases") | grep -x '[0-9]*' | sort -n | tail -n 1)
    number=$((${number:-0} + 1))
    echo "$number" | write "$home/last"
fi
# Who is switched off in a moment has no name of a file without what is in it.
sync_files "$next"
# Files are named by their content: those of containers that go on running stay where they are.
mkdir -p "$next/files"
for place in "$next"/files/*; do
    [ -d "$place" ] || continue
    there=$home/files/${place##*/}
    if [ ! -d "$there" ]; then
        mv "$place" "$home/files/"
        continue
    fi
    # What a container has written there is its own; what was lost is put back. A container may have left links there,
    # and leave more meanwhile: each directory is entered and has to be the one that is meant before anything is done
    # in it, and nothing is done to a link but to replace it.
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
            # Who has it open, as a container has a single file, sees it again.
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
mv -f "$next/activate" "$home/activate"
mv -T "$next" "$home/releases/$number"
go_over "$number" "$@"
