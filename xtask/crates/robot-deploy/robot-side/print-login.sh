# Prints the login of this robot's registry, or "none": a container that was started a moment ago has none yet.
. ./credential.sh

credential || echo none
