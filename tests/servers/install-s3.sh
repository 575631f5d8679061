#!/usr/bin/env bash
# Installs what tests/servers/s3.py starts: Ceph's object gateway, from Debian. No daemon is left running.
set -euo pipefail

apt-get update -qq
# No recommended packages: the manager and its modules are not needed by one gateway on one disk in memory.
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ceph-mon ceph-osd radosgw >/dev/null
