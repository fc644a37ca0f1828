#!/usr/bin/env bash
# check.sh: the rules of Prometheus, checked and tested by promtool: that of MILLRACE_PROMTOOL, that on the PATH, or one that Go builds
# from its module (some minutes, once; it stays in the target folder).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=v0.316.0
promtool=${MILLRACE_PROMTOOL:-$(command -v promtool)} || promtool=
if [ -z "$promtool" ]; then
  command -v go >/dev/null || { echo "check.sh: there is no promtool and no go: install Prometheus, or Go 1.25 or newer" >&2; exit 1; }
  cache=$(cd "$here/../.." && pwd)/target
  cache=${CARGO_TARGET_DIR:-$cache}/promtool-$version
  promtool=$cache/promtool
  if [ ! -x "$promtool" ]; then
    mkdir -p "$cache"
    cd "$cache"
    [ -e go.mod ] || go mod init rules 2>/dev/null
    go get "github.com/prometheus/prometheus/cmd/promtool@$version"
    # Without the clients of clouds in which Prometheus looks for its targets.
    go build -tags remove_all_sd -o promtool github.com/prometheus/prometheus/cmd/promtool
  fi
fi
cd "$here"
"$promtool" check rules rules.yaml
"$promtool" test rules rules_test.yaml rules_week_test.yaml
