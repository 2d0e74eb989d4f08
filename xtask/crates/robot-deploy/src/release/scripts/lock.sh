# Holds the lock of deploys to this robot for as long as something comes on stdin every few seconds:
# TOKEN WHO WAIT(yes|no). Prints "busy<TAB>AGE<TAB>WHO" while another has it, "news<TAB>NEWS" if there are any, then "held<TAB>STAMP". A laptop that was
# closed sends nothing, and no end of file either.
# shellcheck disable=SC2154 # it is one of several parts
token=$1 who=$2 wait=$3
mkdir -p "$home"
exec 9>>"$home/deploy.lock"
told=''
until flock -n 9; do
    IFS='	' read -r holder pid since name 2>/dev/null <"$home/deploy.holder" || holder='' pid='' since='' name=''
    if [ "$holder" = "$token" ]; then
        # The same run, over a connection that was lost.
        kill "$pid" 2>/dev/null || true
        flock -w 10 9 && break
    fi
    if [ "$wait" = no ] || [ "$told" != "$holder" ]; then
        told=$holder
        printf 'busy\t%s\t%s\n' "$(($(date +%s) - ${since:-0}))" "$name"
    fi
    [ "$wait" = yes ] || exit 0
    flock -w 2 9 && break
done
printf '%s\t%s\t%s\t%s\n' "$token" "$$" "$(date +%s)" "$who" >"$home/deploy.holder"
# Whoever has the lock has been told, at the latest now.
[ ! -s "$home/news" ] || printf 'news\t%s\n' "$(cat "$home/news")"
rm -f "$home/news"
printf 'held\t%s\n' "$(stamp)"
# Who reads does not hold the lock: it goes with this shell.
while [ -n "$(exec 9>&- && exec timeout 20 dd bs=1 count=1 2>/dev/null)" ]; do :; done
rm -f "$home/deploy.holder"
