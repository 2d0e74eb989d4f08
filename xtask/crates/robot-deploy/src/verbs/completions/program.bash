# Runs the xtask of the repository, or else the one that wrote this script. Not `cargo xtask`: that might compile.
_xtask_program() {
    local dir=$PWD built
    while [[ -n $dir ]]; do
        built=${CARGO_TARGET_DIR:-target}/debug/BINARY
        [[ $built == /* ]] || built=$dir/$built
        if [[ -e $dir/robots.toml && -x $built ]]; then
            "$built" "$@" 2>/dev/null
            return
        fi
        dir=${dir%/*}
    done
    BUILT "$@" 2>/dev/null
}
