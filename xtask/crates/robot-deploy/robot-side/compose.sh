# Sets the arguments of Compose for the release that runs: PROJECT ARGUMENT...
set -eu
project=$1
shift
current=$HOME/.deploy/$project/current
if [ ! -r "$current/compose.json" ]; then
    echo 'nothing has been deployed to this robot' >&2
    exit 1
fi
set -- --ansi never --project-name "$project" --project-directory "$current" --file "$current/compose.json" "$@"
