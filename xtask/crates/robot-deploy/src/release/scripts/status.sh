# Prints the state of the machine and of an activation, as KEY<TAB>VALUE... lines: REGISTRY
# shellcheck disable=SC2154 # variables are set by the other parts
if read -r to _ 2>/dev/null <"$home/activation"; then
    if flock -n "$home/activation.lock" true; then state=broken-off; else state=going; fi
    printf '%s\t%s\n' "$state" "$to"
fi
root=$(engine_root "$1" 2>/dev/null)
# `df` works even if this user may not read the engine's directory.
df -Pk "${root:-/}" 2>/dev/null | awk 'NR == 2 { printf "disk\t%s\t%s\n", $4, $2 }'
read -r load _ </proc/loadavg && printf 'load\t%s\t%s\n' "$load" "$(grep -c ^processor /proc/cpuinfo)"
cat /sys/class/thermal/thermal_zone*/temp 2>/dev/null | sort -n | tail -n 1 | sed 's/^/temperature	/'
