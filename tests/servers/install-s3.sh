#!/usr/bin/env bash
# Installs what tests/servers/s3.py starts: Ceph's object gateway, from Debian. No daemon is left running.
set -euo pipefail

missing=
for program in ceph-mon ceph-osd radosgw; do command -v "$program" >/dev/null || missing=1; done
[ -n "$missing" ] || exit 0

apt-get update -qq
# No recommended packages: the manager and its modules are not needed by one gateway on one disk in memory.
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ceph-mon ceph-osd radosgw >/dev/null
