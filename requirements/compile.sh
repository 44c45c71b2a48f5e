#!/usr/bin/env bash
# Makes requirements/*.lock afresh from pyproject.toml: every version pinned, every file hashed, no index lines.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { # name, then the extras
    local name=$1; shift
    local extras=()
    for extra in "$@"; do extras+=(--extra "$extra"); done
    uv pip compile pyproject.toml "${extras[@]}" --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-header --quiet ${UPGRADE:+--upgrade} -o "requirements/$name.lock"
}
compile dev dev
compile gateway gateway
compile orchestrator orchestrator
compile reconciler reconciler
compile adapter
compile ops cli
uv pip compile --group build --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-header --quiet ${UPGRADE:+--upgrade} -o requirements/build.lock
