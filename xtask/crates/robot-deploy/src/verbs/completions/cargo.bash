
# `cargo xtask <TAB>`. Everything else about cargo is left to the completion that was there before.
_xtask_cargo() {
    local first=1
    while [[ ${COMP_WORDS[first]} == [-+]* ]]; do
        ((first++))
    done
    if [[ ${COMP_WORDS[first]} == xtask ]] && ((COMP_CWORD > first)); then
        COMP_WORDS=("${COMP_WORDS[@]:first}")
        ((COMP_CWORD -= first))
        _clap_complete_xtask xtask "$2" "$3"
    elif [[ -n ${_xtask_cargo_before-} ]]; then
        "$_xtask_cargo_before" "$@"
    fi
}

# bash-completion loads what it has for a command when it is first asked.
if ! complete -p cargo &>/dev/null; then
    for _xtask_load in _comp_load __load_completion; do
        declare -F "$_xtask_load" >/dev/null && "$_xtask_load" cargo &>/dev/null && break
    done
    unset _xtask_load
fi
if [[ $(complete -p cargo 2>/dev/null) =~ \ -F\ ([^ ]+) && ${BASH_REMATCH[1]} != _xtask_cargo ]]; then
    _xtask_cargo_before=${BASH_REMATCH[1]}
fi
complete -F _xtask_cargo -o bashdefault -o default cargo
