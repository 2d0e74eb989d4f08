# Places files that are too large for the archive of a release: PROJECT HASH, with an archive on stdin
. ./release.sh

set -e
there=$home/files/$1
if [ -d "$there" ]; then
    cat >/dev/null
    exit
fi
mkdir -p "$home/files"
# Leftovers of killed runs.
rm -rf "$home"/files/.next.*
next=$home/files/.next.$$
trap 'rm -rf "$next"' EXIT
mkdir "$next"
tar -xpof - -C "$next"
# As in the archive of a release: the user of a container may be any.
chmod -R u+rwX,go+rX "$next"
# Without this, a power cut could leave file names without their content.
sync_files "$next"
mv -T "$next" "$there"
