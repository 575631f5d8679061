#!/usr/bin/env bash
# Builds the images nofrost-stage and nofrost-train and prints their names and ids. docker/README.md lists the variables.
set -euo pipefail
cd "$(dirname "$0")/.."

docker=${DOCKER:-docker}
accelerator=${ACCELERATOR:-cuda}
if [ ! -f "docker/locks/train-$accelerator.txt" ]; then
  echo "make images: there is no lock file for ACCELERATOR=$accelerator: choose cuda or cpu" >&2
  exit 2
fi
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' components/nofrost/__init__.py)
revision=$(git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || echo unknown)
commit=${revision%-dirty}
tag=$version-${commit:0:7}${revision#"$commit"}
[ "$accelerator" = cuda ] || tag+=-$accelerator
tag=${TAG:-$tag}
# A remote's URL may hold a password: only its host and path are for the label.
source=$(git remote get-url origin 2>/dev/null | sed -nE 's#^(https?://)([^/@]*@)?#\1#p' || true)

options=(--file docker/Dockerfile --build-arg "ACCELERATOR=$accelerator")
options+=(--build-arg "VERSION=$version" --build-arg "GIT_SHA=$revision" --build-arg "SOURCE=${source:-unknown}")
[ -z "${BASE:-}" ] || options+=(--build-arg "BASE=$BASE")
[ -z "${SSL_CERT_FILE:-}" ] || options+=(--secret "id=ca,src=$SSL_CERT_FILE")
[ -z "${PIP_CONFIG_FILE:-}" ] || options+=(--secret "id=pip,src=$PIP_CONFIG_FILE")

export DOCKER_BUILDKIT=1
for image in train stage; do
  # DOCKER may be two words (sudo docker), and BUILD_FLAGS are several.
  # shellcheck disable=SC2086
  $docker build "${options[@]}" ${BUILD_FLAGS:-} --target "$image" --tag "nofrost-$image:$tag" \
    --tag "nofrost-$image:latest" .
done
for image in stage train; do
  echo "nofrost-$image:$tag $($docker image inspect --format '{{.Id}}' "nofrost-$image:$tag")"
done
