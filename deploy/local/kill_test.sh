#!/usr/bin/env bash
# kill_test.sh N: kills one of three workers N times under load (kill -9), beside a reader that must see each record once;
# `millrace verify` must be clean at the end.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export MILLRACE_KILLS=${1:?usage: kill_test.sh N}
cd "$here/../.."
exec "$here/with.sh" cargo test --locked --test it -- faults::kills --nocapture
