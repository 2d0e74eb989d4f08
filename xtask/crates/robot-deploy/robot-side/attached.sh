# Runs Compose until stdin is closed, which happens when the connection or the client
# ends. A connection without a terminal does not stop remote processes by itself.
. ./compose.sh

exec 3<&0
docker compose "$@" </dev/null &
compose=$!
{
    cat <&3
    kill "$compose"
} >/dev/null 2>&1 &
watcher=$!
status=0
wait "$compose" || status=$?
kill "$watcher" 2>/dev/null || true
exit "$status"
