# Prints what is stored on the robot.
. ./release.sh

# Prints the number of live edits and who made the last one, if there are any.
print_edits() {
    [ ! -s "$home/edits" ] ||
        printf 'edits\t%s\t%s\n' "$(wc -l <"$home/edits")" "$(tail -n 1 "$home/edits" | cut -f 1)"
}

# Prints KEY<TAB>VALUE... lines for `releases` with the live edits of the current one, `services` (hashes of the services
# of the release that runs) or `history`; or, for `compose`, the Compose file of the release that runs, as it is.
print_stored() {
    case $1 in
        releases)
            current=$(number_of current) previous=$(number_of previous)
            for place in "$home"/releases/*; do
                number=${place##*/}
                case $number in
                    *[!0-9]*) continue ;;
                    "$current") rank=current ;;
                    "$previous") rank=previous ;;
                    *) rank=- ;;
                esac
                printf 'release\t%s\t%s\t%s\n' "$number" "$rank" "$(tr '\n\t' '  ' 2>/dev/null <"$place/release.json")"
            done
            print_edits
            ;;
        services)
            [ ! -r "$home/current/services" ] || while read -r hash _ service; do
                printf 'wanted\t%s\t%s\n' "$service" "$hash"
            done <"$home/current/services"
            ;;
        compose) [ ! -r "$home/current/compose.json" ] || cat "$home/current/compose.json" ;;
        history) [ ! -r "$home/history" ] || sed 's/^/entry	/' "$home/history" ;;
    esac
}
