# Goes before scripts that deal with releases, whose first argument is PROJECT. What a robot keeps of a project:
#   releases/NUMBER/  a release: compose.json; `services`, a line "HASH FLAGS SERVICE" for each; `images`, a line
#                     "REFERENCE NAME" for each; `id`; release.json, which tells people and programs about it
#   current           the release that runs, a link; `previous` the one before
#   files/            what containers mount, each directory named by its content
#   activation        while the robot goes from one release to another, and after it was kept from it: "TO FROM"
#   news              how the last activation ended, until somebody has been told
#   history           who did what, and when
# shellcheck disable=SC2034 # it is one of several parts
set -u
umask 077
project=$1
shift
home=$HOME/.deploy/$project

# Compose, on a release: NUMBER ARGUMENT...
compose() {
    release=$home/releases/$1
    shift
    ${patience:+timeout "$patience"} docker compose --ansi never --progress plain --project-name "$project" \
        --project-directory "$home/current" --file "$release/compose.json" "$@"
}

# Whether a release is there with what it takes to start it: DIRECTORY
is_whole() { [ -s "$home/$1/services" ] && [ -s "$home/$1/compose.json" ]; }

# The number of the release that a link leads to, if there is one.
number_of() { link=$(readlink "$home/$1") && is_whole "$1" && echo "${link##*/}"; }

# Text as it stands in a JSON string.
quoted() { printf '%s' "$1" | tr '\n\t' '  ' | tr -d '\000-\037' | sed 's/[\\"]/\\&/g'; }

now() { date -u +%Y-%m-%dT%H:%M:%SZ; }

# Writes into the robot's diary: WHO WHAT RELEASE WORDS
note() {
    printf '%s\t%s\t%s\t%s\t%s\n' "$(now)" "$1" "$2" "$3" "$(printf '%s' "$4" | tr '\n\t' '  ')" >>"$home/history"
}

# Makes a file what stdin says: whole or not at all, and on the disk before anything else happens.
write() {
    cat >"$1.new" && { sync "$1.new" 2>/dev/null || sync; } && mv -f "$1.new" "$1"
}

# Has all files of a directory on the disk.
sync_files() { find "$1" -type f -exec sync {} + 2>/dev/null || sync; }

# Makes a link lead to a release: LINK NUMBER
lead() { ln -s "releases/$2" "$home/$1.new.$$" && mv -fT "$home/$1.new.$$" "$home/$1"; }

# Where the engine keeps its data: REGISTRY. It tells the place of its own volume at once; `docker info` asks all plugins
# of the client as well.
engine_root() {
    place=$(docker volume inspect --format '{{.Mountpoint}}' "$1" 2>/dev/null)
    case $place in
        */volumes/*) echo "${place%/volumes/*}" ;;
        *) docker info --format '{{.DockerRootDir}}' ;;
    esac
}

# Changes with every activation. The survey (robot/scripts/survey.sh) says the same without this script.
stamp() { printf '%s:%s' "$(readlink "$home/current")" "$(wc -c 2>/dev/null <"$home/history")"; }
