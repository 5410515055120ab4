#!/usr/bin/env bash
# Train with N processes on this host, one per GPU (or on the CPU where there is none):
#   tools/dist_train.sh CONFIG N [options of tools/train.py]
# Several hosts: set NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT on each of them.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
config=$1 processes=$2
shift 2
exec "${PYTHON:-python}" -m convnext_dense.torchrun \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$processes" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${MASTER_PORT:-29500}" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
