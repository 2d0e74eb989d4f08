# Goes after `compose.sh`: Compose for as long as stdin is open, which ends with the connection and with who asked. A
# connection without a terminal ends nothing by itself.
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
