# Prints the state of the machine, of an activation and of the release that runs, as KEY<TAB>VALUE... lines:
# PROJECT REGISTRY
. ./release.sh
. ./stored.sh

if read -r to _ 2>/dev/null <"$home/activation"; then
    if flock -n "$home/activation.lock" true; then printf 'broken-off\t%s\n' "$to"; else printf 'going\t%s\n' "$to"; fi
fi
root=$(engine_root "$1" 2>/dev/null)
# `df` works even if this user may not read the engine's directory.
df -Pk "${root:-/}" 2>/dev/null | awk 'NR == 2 { printf "disk\t%s\t%s\n", $4, $2 }'
read -r load _ </proc/loadavg && printf 'load\t%s\t%s\n' "$load" "$(grep -c ^processor /proc/cpuinfo)"
cat /sys/class/thermal/thermal_zone*/temp 2>/dev/null | sort -n | tail -n 1 | sed 's/^/temperature	/'
print_stored releases
print_stored services
