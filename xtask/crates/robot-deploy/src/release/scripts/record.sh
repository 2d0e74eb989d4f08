# Appends an entry to the history of the robot: BY ACTION OUTCOME
# shellcheck disable=SC2154 # variables are set by the other parts
mkdir -p "$home" && record_entry "$1" "$2" "$(number_of current)" "$3"
