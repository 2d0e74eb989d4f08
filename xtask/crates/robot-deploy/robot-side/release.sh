# Common part of the scripts for releases; their first argument is PROJECT. Files of a project on the robot:
#   releases/NUMBER/  a release: compose.json; `services`, with a line "HASH FLAGS SERVICE" for each service;
#                     `relations`, with a line "SERVICE COUNT FOLLOWED" for each service that has not one container or
#                     is replaced with others; `data`, with a line "HASH PATH" for each path in data/;
#                     `images`, with a line "REFERENCE NAME" for each image; `id`; release.json, the record for
#                     people and programs
#   current           link to the release that runs; `previous` is a link to the one before
#   files/            files that containers mount; each directory is named by a hash of its content
#   data/             what containers may write, by path in the repository: belongs to the robot
#   seeds             a line "HASH PATH" for each path in data/ and the content that it began with
#   activation        "TO FROM"; exists during an activation, and after an activation that was interrupted
#   launched          "TOKEN NUMBER" of the activation that a run has started last
#   edits             a line "BY<TAB>ID..." for each live edit, with the containers that it changed
#   edit/             files of the last live edit
#   news              result of the last activation, until it has been reported to a person
#   history           changes to this robot: time, user, action, release, outcome
# shellcheck disable=SC2034 # variables are used by the other parts
set -u
umask 077
project=$1
shift
home=$HOME/.deploy/$project

# Runs Compose on a release: NUMBER ARGUMENT...
compose() {
    release=$home/releases/$1
    shift
    ${compose_timeout:+timeout "$compose_timeout"} docker compose --ansi never --progress plain \
        --project-name "$project" --project-directory "$home/current" --file "$release/compose.json" "$@"
}

# Succeeds if a release has all files that are needed to start it: DIRECTORY
is_complete() { [ -s "$home/$1/services" ] && [ -s "$home/$1/compose.json" ]; }

# Prints the number of the release that a link points to; fails if that release is missing or incomplete: LINK
number_of() { link=$(readlink "$home/$1") && is_complete "$1" && echo "${link##*/}"; }

# Prints a text in the form that it has inside a JSON string: TEXT
json_text() { printf '%s' "$1" | tr '\n\t' '  ' | tr -d '\000-\037' | sed 's/[\\"]/\\&/g'; }

now() { date -u +%Y-%m-%dT%H:%M:%SZ; }

# Appends an entry to the history of the robot: BY ACTION RELEASE OUTCOME
record_entry() {
    printf '%s\t%s\t%s\t%s\t%s\n' "$(now)" "$1" "$2" "$3" "$(printf '%s' "$4" | tr '\n\t' '  ')" >>"$home/history"
}

# Writes stdin to a file atomically and syncs it to the disk: FILE
write_file() {
    cat >"$1.new" && { sync "$1.new" 2>/dev/null || sync; } && mv -f "$1.new" "$1"
}

# Syncs all files of a directory to the disk: DIRECTORY
sync_files() { find "$1" -type f -exec sync {} + 2>/dev/null || sync; }

# Points a link to a release: LINK NUMBER
set_link() { ln -s "releases/$2" "$home/$1.new.$$" && mv -fT "$home/$1.new.$$" "$home/$1"; }

# Prints the directory where the engine keeps its data: REGISTRY. The mount point of the registry's volume is
# known at once; `docker info` is slower, because it also asks all plugins of the client.
engine_root() {
    place=$(docker volume inspect --format '{{.Mountpoint}}' "$1" 2>/dev/null)
    case $place in
        */volumes/*) echo "${place%/volumes/*}" ;;
        *) docker info --format '{{.DockerRootDir}}' ;;
    esac
}

# Prints a stamp that changes with every activation. The survey (survey.sh) prints the same
# stamp without this script.
stamp() { printf '%s:%s' "$(readlink "$home/current")" "$(wc -c 2>/dev/null <"$home/history")"; }
