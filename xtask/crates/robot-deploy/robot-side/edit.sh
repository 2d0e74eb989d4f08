# Puts changed files into containers of the current release, starts these again and prints the events until the end: TOKEN
# BY SETTLE DEADLINE ID..., with `apply`, `before` and `new` (see apply-edit.sh) on stdin, as a tar. The work does not need
# this connection. A second call with the same TOKEN follows the work that the first one has started.
. ./release.sh
. ./follow.sh

set -e
next=$home/edit.$$
trap 'rm -rf "$next"' EXIT
mkdir -p "$next"
tar -xmf - -C "$next"
resume "$1"
shift
number=$(number_of current) || { echo 'no release runs on this robot' >&2 && exit 1; }
rm -rf "$home/edit"
mv -T "$next" "$home/edit"
start "$number" "$home/edit/apply" "$@"
