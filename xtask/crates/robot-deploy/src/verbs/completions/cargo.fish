
# `cargo xtask <TAB>`: what would be completed after `xtask` alone.
function __fish_cargo_xtask
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test $words[2] = xtask
end

complete -c cargo -n __fish_cargo_xtask -f -a '(complete -C (string replace -r "^\s*cargo\s+" "" -- (commandline -cp)))'
