# Pulls images from the registry of this robot, whose login it reads itself: (REFERENCE TAG TAG)...
set -eu
. ./credential.sh
. ./pull-images.sh

login=$(registry_login "$1") || login=
pull_images "$@"
