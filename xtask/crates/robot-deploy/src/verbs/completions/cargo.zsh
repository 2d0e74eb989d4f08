
# `cargo xtask <TAB>`: cargo's completion asks a function of this name.
_cargo-xtask() {
    _clap_dynamic_completer_xtask "$@"
}

# Where cargo has no completion, `xtask` is all that is known of it.
if (( ! $+_comps[cargo] )); then
    _xtask_cargo() {
        if [[ $words[2] == xtask ]] && (( CURRENT > 2 )); then
            shift words
            (( CURRENT-- ))
            _clap_dynamic_completer_xtask "$@"
        else
            _default
        fi
    }
    compdef _xtask_cargo cargo
fi
