# Prints only the password of this robot's registry, for `docker login --password-stdin`.
. ./credential.sh

credential | base64 -d | cut -d : -f 2
