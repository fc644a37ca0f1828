#!/usr/bin/env bash
# run.sh SCRIPT ARGUMENTS...: runs a script of this folder in a real Chromium, `check.mjs` or `pictures.mjs`. Needs Node.js 20, a registry that npm
# reaches, and Chromium (MILLRACE_CHROMIUM, or /usr/bin/chromium). The packages stay in the target folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
script=${1:?usage: run.sh SCRIPT ARGUMENTS...}
shift
browser=${MILLRACE_CHROMIUM:-/usr/bin/chromium}
[ -x "$browser" ] || { echo "there is no $browser: install Debian's chromium, or set MILLRACE_CHROMIUM" >&2; exit 1; }

key=$({ node --version; cat "$here/package-lock.json"; } | sha256sum | cut -c1-16)
packages=${CARGO_TARGET_DIR:-$root/target}/browser/$key
if [ ! -e "$packages/.whole" ]; then
  rm -rf "$packages"
  mkdir -p "$packages"
  cp "$here/package.json" "$here/package-lock.json" "$packages/"
  # No code of a package runs to install it.
  (cd "$packages" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  touch "$packages/.whole"
fi
# Modules are looked for beside the file that names them.
cp "$here/$script" "$packages/$script"
MILLRACE_CHROMIUM=$browser node "$packages/$script" "$@"
