# Writes into the robot's diary: WHO WHAT WORDS
# shellcheck disable=SC2154 # it is one of several parts
mkdir -p "$home" && note "$1" "$2" "$(number_of current)" "$3"
