#!/bin/sh
# deb: remove, purge, upgrade ...; rpm: 0 (last) or 1 (upgrade). What was measured and configured goes with purge alone.
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
if [ "$1" = purge ]; then
  rm -rf /etc/epochcost /var/lib/epochcost /var/lib/epochcost-prices /run/epochcost /run/epochcost-users
  for user in epochcost epochcost-prices; do
    if getent passwd "$user" >/dev/null; then userdel "$user"; fi
    if getent group "$user" >/dev/null; then groupdel "$user"; fi
  done
fi
exit 0
