#!/usr/bin/env bash
# Installs moto, a third-party implementation of the AWS services, from PyPI: the versions in requirements.txt, into a
# virtual environment in the cache directory, where the tests find it. An existing installation is kept.
#
#   tests/control_plane/moto/install.sh           into the cache directory
#   tests/control_plane/moto/install.sh --where   only prints that directory
#
# Ends with 69 where there is no Python that will do: the tests then count as ignored.
set -euo pipefail

cache=${SOP_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rafay-relay-sop}/moto
if [ "${1-}" = --where ]; then
  printf '%s\n' "$cache"
  exit
fi

cd "$(dirname "$0")"
if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "no moto: there is no python3 of at least 3.11 with venv; the tests on moto will be ignored" >&2
  exit 69
fi

# Clones share the directory; a second installation waits for the first.
mkdir -p "$(dirname "$cache")"
exec 9>"$cache.lock"
if command -v flock >/dev/null; then flock 9; fi
# The copy of the list is written last: a half-way installation is not taken for one.
cmp -s requirements.txt "$cache/installed" && "$cache/bin/python" -c 'import moto.server' 2>/dev/null && exit
rm -rf "$cache"
python3 -m venv "$cache"
echo "installing moto"
"$cache/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt
cp requirements.txt "$cache/installed"
echo "moto is in $cache"
