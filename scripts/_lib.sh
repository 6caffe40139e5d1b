# Shared functions of the house's scripts; sourced, never run. The sourcing script has set -euo pipefail.
# shellcheck shell=bash

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
#: github.com/minio/minio, its archived head (docs/dependencies.md says why this one).
MINIO_VERSION="v0.0.0-20260212201848-7aac2a2c5b7c"

say() { printf '%s\n' "$*" >&2; }
note() { [ -z "${TIERGATE_VERBOSE:-}" ] || say "$@"; }
die() { say "$(basename "$0"): $*"; exit 3; }

# Runs a command silently; when it fails, shows what it printed and the sentence given first.
quietly() {
  local sentence="$1" log status=0
  shift
  note "+ $*"
  log="$(mktemp)"
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" -ne 0 ]; then
    tail -n 25 "$log" >&2
    say "$sentence"
  fi
  rm -f "$log"
  return "$status"
}

# Directory for what is made once and used by every checkout: clips, the MinIO binary.
cache_dir() {
  local dir="${TIERGATE_CACHE:-/var/cache/tiergate}"
  if ! mkdir -p "$dir" 2>/dev/null || [ ! -w "$dir" ]; then
    [ -z "${TIERGATE_CACHE:-}" ] || die "TIERGATE_CACHE=$dir cannot be written."
    dir="${XDG_CACHE_HOME:-$HOME/.cache}/tiergate"
    mkdir -p "$dir"
  fi
  printf '%s\n' "$dir"
}

# Exit 0 when $1 is a Python of at least 3.11 that can make virtual environments.
python_is_usable() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  local candidate
  for candidate in python3.11 python3.12 python3.13 python3.14 python3; do
    if command -v "$candidate" >/dev/null && python_is_usable "$candidate"; then
      command -v "$candidate"
      return 0
    fi
  done
  return 1
}

debian_missing() {
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || printf '%s ' "$package"
  done
}

_apt_updated=""
# Installs the named Debian packages that are not there yet. Returns 1, with a sentence, where that cannot be done.
debian_install() {
  local missing as_root=()
  command -v dpkg-query >/dev/null || { say "This is not a Debian machine; install by hand: $*"; return 1; }
  missing="$(debian_missing "$@")"
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    if sudo -n true 2>/dev/null; then
      as_root=(sudo -n)
    else
      say "These Debian packages are missing; install them as root: apt-get install $missing"
      return 1
    fi
  fi
  say "Installing Debian packages: $missing"
  if [ -z "$_apt_updated" ]; then
    quietly "apt-get update failed; going on with the lists that are here." "${as_root[@]}" apt-get -q update || true
    _apt_updated=1
  fi
  # shellcheck disable=SC2086  # a list of package names
  quietly "apt-get install $missing failed." "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -y --no-install-recommends install $missing
}

# One hash over the contents of the files named.
hash_of() { cat "$@" | sha256sum | cut -c1-32; }

# stamp_is FILE VALUE: the work that FILE stands for was done for VALUE.
stamp_is() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

# lock_checkout: one install or build at a time in one checkout.
lock_checkout() {
  mkdir -p "$ROOT/build"
  exec 9>"$ROOT/build/install.lock"
  flock 9
}
