# Appends an entry to the history of the robot: BY ACTION OUTCOME
. ./release.sh

mkdir -p "$home" && record_entry "$1" "$2" "$(number_of current)" "$3"
