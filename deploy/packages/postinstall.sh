#!/bin/sh
# deb: configure [old version]; rpm: 1 (first) or 2 (upgrade).
set -e
systemd-sysusers epochcost.conf
systemd-tmpfiles --create epochcost.conf
# Compiled once by root, since the services may not write here; under another Python it only starts slower.
/usr/lib/epochcost/python -m compileall -q /usr/lib/epochcost >/dev/null
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl try-restart epochcost-agent.service epochcost-prices.service
fi
case "$1" in
  1) first=yes ;;
  configure) [ -n "$2" ] || first=yes ;;
esac
[ -z "$first" ] || cat <<'TEXT'
epochcost is installed. Say what this machine costs in /etc/epochcost/epochcost.yml, then:
  epochcost check --config.file=/etc/epochcost/epochcost.yml
  systemctl enable --now epochcost-agent
TEXT
exit 0
