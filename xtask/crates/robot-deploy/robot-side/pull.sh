# Pulls images from the registry of this robot, whose login it reads itself: (REFERENCE TAG TAG)...
set -u
. ./credential.sh
. ./pull-images.sh

login=$(registry_login "$1") || login=
set -e
pull_images "$@"
