#!/bin/sh
# What the wheels link against and slim systems lack: libatomic, for the policy engine. Installed where that can be done
# without asking (root, Debian's packages); elsewhere this says what is missing, and goes on: an OPA could judge instead.
set -u
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -q && apt-get install -q -y --no-install-recommends libatomic1; } >/dev/null && exit 0
fi
echo "The policy engine needs libatomic, which this machine lacks. Install it and run this again:" >&2
echo "  Debian, Ubuntu: apt-get install libatomic1 - Fedora, RHEL: dnf install libatomic - Arch: pacman -S gcc-libs" >&2
