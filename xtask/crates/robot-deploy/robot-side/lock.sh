# Takes the deploy lock of this robot and holds it while stdin gets a byte every few seconds: TOKEN BY
# WAIT(yes|no). Prints "busy<TAB>AGE<TAB>EDITS<TAB>BY" with the number of live edits while another run has it,
# "news<TAB>NEWS" if an outcome is unreported, then "held<TAB>STAMP". The bytes are needed because a laptop that was
# closed sends no end of file.
. ./release.sh

token=$1 by=$2 wait=$3
mkdir -p "$home"
exec 9>>"$home/deploy.lock"
reported=''
until flock -n 9; do
    IFS='	' read -r holder pid since name 2>/dev/null <"$home/deploy.holder" || holder='' pid='' since='' name=''
    if [ "$holder" = "$token" ]; then
        # The same run holds it, over a connection that was lost.
        kill "$pid" 2>/dev/null || true
        timeout 10 flock 9 && break
    fi
    if [ "$wait" = no ] || [ "$reported" != "$holder" ]; then
        reported=$holder
        edits=$(wc -l 2>/dev/null <"$home/edits") || edits=0
        printf 'busy\t%s\t%s\t%s\n' "$(($(date +%s) - ${since:-0}))" "$edits" "$name"
    fi
    [ "$wait" = yes ] || exit 0
    timeout 2 flock 9 && break
done
printf '%s\t%s\t%s\t%s\n' "$token" "$$" "$(date +%s)" "$by" >"$home/deploy.holder"
# The client prints the outcome, so it counts as reported from here on.
[ ! -s "$home/news" ] || printf 'news\t%s\n' "$(cat "$home/news")"
rm -f "$home/news"
printf 'held\t%s\n' "$(stamp)"
# The reader closes the lock file, so that the lock is released with this shell.
while [ -n "$(exec 9>&- && exec timeout 20 dd bs=1 count=1 2>/dev/null)" ]; do :; done
rm -f "$home/deploy.holder"
