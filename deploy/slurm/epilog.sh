#!/bin/bash
# Slurm's Epilog (as root, on each node): the job holds its GPUs no more. It fails no job.
directory=${EPOCHCOST_SLURM_DIR:-/run/epochcost-slurm}
for gpu in ${SLURM_JOB_GPUS//,/ }; do
  [ -f "$directory/$gpu" ] && sed -i "/^$SLURM_JOB_ID /d" "$directory/$gpu"
done
exit 0
