#!/bin/bash
# Slurm's Epilog (as root, on each node): the job holds its GPUs no more. It fails no job.
directory=${EPOCHCOST_SLURM_DIR:-/run/epochcost-slurm}
for gpu in ${SLURM_JOB_GPUS//,/ }; do
  [ -f "$directory/$gpu" ] && sed -i "/^$SLURM_JOB_ID /d" "$directory/$gpu"
done
# What the job cost here goes to the system's log: journalctl -t epochcost-job. Users: `epochcost job` in the batch script.
if command -v epochcost >/dev/null; then
  timeout 10 epochcost job --agent.url="${EPOCHCOST_AGENT_URL:-http://127.0.0.1:10835}" 2>&1 |
    ${EPOCHCOST_JOB_LOG:-logger -t epochcost-job}
fi
exit 0
