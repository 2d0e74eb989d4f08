# Runs the xtask of the repository, or else the one that wrote this script. Not `cargo xtask`: that might compile.
function _xtask_program
    set -l dir $PWD
    set -l target target
    set -q CARGO_TARGET_DIR; and set target $CARGO_TARGET_DIR
    while test -n "$dir"
        set -l built $target/debug/BINARY
        string match -q '/*' -- $built; or set built $dir/$built
        if test -e $dir/robots.toml -a -x $built
            $built $argv 2>/dev/null
            return
        end
        set dir (string replace -r '/[^/]*$' '' -- $dir)
    end
    BUILT $argv 2>/dev/null
end
