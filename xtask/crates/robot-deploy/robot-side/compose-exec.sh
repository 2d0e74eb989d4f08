# Runs Compose on the release that runs: PROJECT ARGUMENT...
. ./compose.sh

exec docker compose "$@"
