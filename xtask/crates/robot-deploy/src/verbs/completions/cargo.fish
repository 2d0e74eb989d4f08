
# `cargo xtask <TAB>`: what would be completed after `xtask` alone.
function __fish_cargo_xtask
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test $words[2] = xtask
end

complete --keep-order --command cargo --condition __fish_cargo_xtask --no-files \
    --arguments '(XTASK_COMPLETE=fish _xtask_program -- (commandline -opc)[2..-1] (commandline -ct))'
