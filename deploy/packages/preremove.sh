#!/bin/sh
# deb: remove, upgrade NEW, deconfigure; rpm: 0 (last) or 1 (upgrade).
set -e
case "$1" in
  remove|0)
    if [ -d /run/systemd/system ]; then
      systemctl --quiet disable --now epochcost-agent.service epochcost-prices.service
    fi
    ;;
esac
# An rpm upgrade runs this after the new files are there and compiled.
case "$1" in 1) ;; *) find /usr/lib/epochcost -name __pycache__ -prune -exec rm -rf {} + ;; esac
exit 0
