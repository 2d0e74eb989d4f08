# Pulls images from another registry, with the client's `config.json` on stdin, or with nothing: (REFERENCE TAG TAG)...
set -u
. ./pull-images.sh

login=$(cat)
set -e
pull_images "$@"
