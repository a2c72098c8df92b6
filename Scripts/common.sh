# What the scripts share: where they are, the toolchain, packages, the build. Sourced, never run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n== %s\n' "$*"; }

# The toolchain, and the libraries that the build links.
need_swift() {
    command -v swift >/dev/null && need_packages libssl-dev zlib1g-dev libcrypt-dev && return
    echo "Swift is not installed. Install a toolchain of version 6.2 or later for this system (swift.org/install)," >&2
    echo "put its usr/bin folder on PATH, and run this again." >&2
    exit 1
}

# Installs the Debian packages among its arguments that are missing.
need_packages() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" -ne 0 ]; then
        echo "These packages are missing; install them with: sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # Services that a package would start (nginx, haproxy) stay down: their ports may be in use.
    local policy=/usr/sbin/policy-rc.d ours=no result=0
    if [ ! -e "$policy" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || result=$?
    [ "$ours" = no ] || rm -f "$policy"
    return $result
}

build_release() {
    say "building a release"
    swift build -c release
}
