#!/bin/sh
# The command `pawl` of a box: /usr/local/bin/pawl. It runs as the user of the service, whose files it shares.
exec sudo -u pawl /usr/bin/node /opt/pawl/dist/agent/main.js "$@"
