#!/bin/bash
# N shares of the gate as an array, and a job that merges them: gate.sh N ARGUMENTS
set -euo pipefail
here=$(dirname "$0")
shares=$1
shift

# site: put options for all jobs here, for example --account=ACCOUNT
OPTIONS=(--parsable --kill-on-invalid-dep=yes)

# all shares decide by one clock
common=("gate.shards=$shares" "gate.decided_at=$(date -u +%Y-%m-%dT%H:%M:%SZ)")

array=$(sbatch "${OPTIONS[@]}" --array="0-$((shares - 1))" "$here/gate.sbatch" \
    "${common[@]}" "$@")
array=${array%%;*} # JOB;CLUSTER on federations
merge=$(sbatch "${OPTIONS[@]}" --job-name=harness-gate --dependency="afterok:$array" \
    --export="ALL,STAGE=gate" "$here/train.sbatch" "${common[@]}" "$@")
echo "shares $array, merge ${merge%%;*}"
