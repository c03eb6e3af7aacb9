#!/bin/sh
# The command `pawl` of a box: /usr/local/bin/pawl. It runs as the user of the service, whose files it shares.
[ "$(id -un)" = pawl ] || exec sudo -u pawl "$0" "$@"
exec /usr/bin/node /opt/pawl/dist/agent/main.js "$@"
