# Pulls images from another registry, with the client's `config.json` on stdin, or with nothing: (REFERENCE TAG TAG)...
set -eu
. ./pull-images.sh

login=$(cat)
pull_images "$@"
