#!/bin/bash
# Set up all that the tests and examples need: programs from distribution packages, and the
# package itself with its dependencies in the virtual environment .venv of this checkout.
# Quick when nothing is missing; repeat it as often as you like.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
# whatever virtual environment is active: this one is not to be made from itself
unset VIRTUAL_ENV PYTHONHOME
PATH=:$PATH:/usr/sbin:/sbin:
PATH=${PATH//":$venv/bin:"/:}
PATH=${PATH#:} PATH=${PATH%:}

# program:Debian package that has it
needed=(
    qemu-system-x86_64:qemu-system-x86
    qemu-img:qemu-utils
    qemu-io:qemu-utils
    tcpdump:tcpdump
    nc:netcat-openbsd
    ip:iproute2
    ps:procps
    cpio:cpio
    xz:xz-utils
    mkfs.ext4:e2fsprogs
    mkfs.xfs:xfsprogs
    mount:mount
    strace:strace
    dot:graphviz
    ssh:openssh-client
    sshd:openssh-server
    rsync:rsync
    gcc:gcc
    nbdkit:nbdkit
    nbdfuse:libnbd-bin
    sshfs:sshfs
    fusermount3:fuse3
    python3:python3
)

say() { printf 'setup: %s\n' "$*"; }
fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        fail "root rights are needed for: $* (run it as root, or install sudo)"
    fi
}

# Debian 12 or later with its package manager?
on_debian() {
    command -v apt-get >/dev/null && [ -r /etc/os-release ] || return 1
    (
        # shellcheck source=/dev/null
        . /etc/os-release
        [ "${ID:-}" = debian ] && [ "${VERSION_ID:-99}" -ge 12 ]
    )
}

# sets the arrays missing_programs and missing_packages
find_missing() {
    missing_programs=() missing_packages=()
    local pair
    for pair in "${needed[@]}"; do
        if ! command -v "${pair%%:*}" >/dev/null; then
            missing_programs+=("${pair%%:*}")
            missing_packages+=("${pair##*:}")
        fi
    done
    # a plugin, no program
    if ! nbdkit --dump-plugin python >/dev/null 2>&1; then
        missing_programs+=("nbdkit python")
        missing_packages+=(nbdkit-plugin-python)
    fi
    # Debian packs these two modules separately from python3
    if command -v python3 >/dev/null && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        missing_programs+=("python3 -m venv")
        missing_packages+=(python3-venv)
    elif ! command -v python3 >/dev/null; then
        missing_packages+=(python3-venv)
    fi
}

install_programs() {
    find_missing
    [ ${#missing_programs[@]} -gt 0 ] || return 0
    on_debian || fail "missing programs: $(printf '%s, ' "${missing_programs[@]}" | sed 's/, $//')." \
        "Install them with this distribution's package manager (only Debian 12 or later is automatic)."
    say "installing ${missing_packages[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "${missing_packages[@]}" >/dev/null
    hash -r
    find_missing
    [ ${#missing_programs[@]} -eq 0 ] || fail "still missing: ${missing_programs[*]}"
}

check_python() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or later is needed, but python3 is $(python3 -V 2>&1 | cut -d" " -f2)."
}

# changes whenever the environment has to be made anew or updated
fingerprint() {
    (
        cd "$root"
        echo "$venv"
        cat scripts/setup.sh
        for file in setup.py setup.cfg pyproject.toml; do
            [ -e "$file" ] && cat "$file"
        done
        true
    ) | sha256sum | cut -d' ' -f1
}

install_package() {
    local stamp=$venv/.setup-stamp want
    want=$(fingerprint)
    if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
        return 0
    fi
    say "setting up $venv"
    rm -f "$stamp"
    # a moved checkout or an upgraded Python leaves an environment that cannot run
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1 ||
        ! grep -qsF "$venv" "$venv/bin/activate"; then
        rm -rf "$venv"
        python3 -m venv "$venv"
    fi
    (cd "$root" && "$venv/bin/python" -m pip install --quiet --editable '.[test]')
    echo "$want" >"$stamp"
}

install_programs
check_python
install_package
say "ready"
