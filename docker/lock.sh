#!/usr/bin/env bash
# Writes the lock files of ACCELERATOR (cuda or cpu) from pyproject.toml, for Python 3.11 on Linux x86_64. Versions that
# are locked already stay while they fit; UPGRADE=1 takes the newest. uv's own variables say which index is asked.
set -euo pipefail
cd "$(dirname "$0")/.."

accelerator=${ACCELERATOR:-cuda}
case $accelerator in
  cuda) index=() ;;
  cpu) index=(--torch-backend cpu) ;;
  *) echo "make lock: ACCELERATOR is '$accelerator': choose cuda or cpu" >&2; exit 2 ;;
esac
stage=docker/locks/stage-$accelerator.txt
train=docker/locks/train-$accelerator.txt
platform=(--python-version 3.11 --python-platform x86_64-manylinux_2_28)

lock() { # OUTPUT INPUT...
  uv pip compile --quiet "${platform[@]}" "${index[@]}" ${UPGRADE:+--upgrade} --generate-hashes --no-annotate \
    --custom-compile-command "make lock" --output-file "$@"
}

lock "$stage" pyproject.toml --extra pipeline --extra fast
# Versions as in the other image, so that both share one layer of dependencies.
lock "$train" pyproject.toml --extra store --extra fast --constraint "$stage"
python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' |
  lock docker/locks/build.txt -
