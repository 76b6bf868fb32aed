#!/bin/bash
# gate -> train -> probe -> report as four jobs; arguments go to each stage. See slurm/README.md.
set -euo pipefail
here=$(dirname "$0")

# site: put options for all jobs here, for example --account=ACCOUNT
OPTIONS=(--parsable --kill-on-invalid-dep=yes)

submit() { # STAGE [sbatch option ...]
    local stage=$1
    shift
    sbatch "${OPTIONS[@]}" --job-name="harness-$stage" --export="ALL,STAGE=$stage" "$@" \
        "$here/train.sbatch" "${arguments[@]}"
}

arguments=("$@")
gate=$(submit gate)
train=$(submit train --dependency="afterok:$gate")
probe=$(submit probe --dependency="afterok:$train")
report=$(submit report --dependency="afterany:$probe")
echo "gate $gate, train $train, probe $probe, report $report"
