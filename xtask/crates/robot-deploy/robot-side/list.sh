# Prints what is stored on the robot: PROJECT SUBJECT
. ./stored.sh

print_stored "$1"
