#!/bin/bash
# gate -> train -> probe -> report as four jobs; arguments go to each stage. See slurm/README.md.
set -euo pipefail
here=$(dirname "$0")
arguments=("$@")

# site: put options for all jobs here, for example --account=ACCOUNT
OPTIONS=(--parsable --kill-on-invalid-dep=yes)

submit() { # STAGE [sbatch option ...]
    local stage=$1 answer
    shift
    answer=$(sbatch "${OPTIONS[@]}" --job-name="harness-$stage" --export="ALL,STAGE=$stage" "$@" \
        "$here/train.sbatch" "${arguments[@]}") || return 1 # no set -e inside $(submit ...)
    echo "${answer%%;*}" # JOB;CLUSTER on federations
}

gate=$(submit gate)
train=$(submit train --dependency="afterok:$gate")
probe=$(submit probe --dependency="afterok:$train")
report=$(submit report --dependency="afterany:$probe")
echo "gate $gate, train $train, probe $probe, report $report"
