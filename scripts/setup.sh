# Sourced by scripts/up and scripts/test: puts in place what they need, and says clearly what it cannot.
# shellcheck shell=bash

say() { printf 'epochcost: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# A Python of 3.10 or newer, the first that is found.
find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    if command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  fail "Python 3.10 or newer is needed and was not found; set PYTHON to one"
}

# Debian packages where root or sudo allows; otherwise a sentence that says what to do. Returns 1 when something is missing.
ensure_packages() {
  local missing=() package become=()
  command -v dpkg-query >/dev/null || { say "not a Debian system: install these yourself: $*"; return 1; }
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" = "install ok installed" ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      become=(sudo -n)
    else
      say "missing packages, and neither root nor sudo without a password: sudo apt-get install ${missing[*]}"
      return 1
    fi
  fi
  say "installing ${missing[*]}"
  # A distribution package of a server starts it as a service; ours are started by us, on our ports.
  if ! "${become[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 sh -c '
    apt-get update -q >/dev/null && apt-get install -qy --no-install-recommends "$@" >/dev/null' sh "${missing[@]}"; then
    say "could not be installed: ${missing[*]}"
    return 1
  fi
}

# The programs that the tests start.
ensure_test_programs() {
  local programs=(gcc libc6-dev prometheus prometheus-alertmanager chromium chromium-driver docker-compose)
  if ! ensure_packages "${programs[@]}" victoria-metrics; then
    ensure_packages "${programs[@]}" || fail "the tests use the real programs and cannot run without them"
    say "the tests of reports out of VictoriaMetrics are skipped"
  fi
}

# An empty virtual environment in .venv.
make_venv() {
  local python
  [ ! -x .venv/bin/python ] || return 0
  python=$(find_python) || exit 1
  say "making .venv with $python"
  "$python" -m venv .venv 2>/dev/null || {
    ensure_packages python3-venv || fail "no virtual environment can be made: install python3-venv"
    "$python" -m venv .venv || fail "no virtual environment can be made with $python"
  }
}

# A virtual environment in .venv with this project and the extras in $1, and the further packages named after it.
# Installed again only when pyproject.toml or the wish has changed. What is imported is compiled then, not all of it here.
ensure_venv() {
  local extras=$1 stamp
  shift
  make_venv
  stamp=$({ cat pyproject.toml; printf '%s ' "$extras" "$@"; } | sha256sum | cut -d' ' -f1)
  if [ "$(cat ".venv/.epochcost-$extras" 2>/dev/null)" != "$stamp" ]; then
    say "installing epochcost[$extras] into .venv"
    .venv/bin/python -m pip install -q --disable-pip-version-check --no-compile -e ".[$extras]" "$@" ||
      fail "the Python packages could not be installed"
    echo "$stamp" > ".venv/.epochcost-$extras"
  fi
}
