#!/usr/bin/env bash
# Installs what tests/servers/docker.py needs, from Debian: the container engine and the maker of a base image.
set -euo pipefail

missing=
for program in dockerd mmdebstrap iptables; do command -v "$program" >/dev/null || missing=1; done
[ -n "$missing" ] || exit 0

apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io iptables mmdebstrap >/dev/null
