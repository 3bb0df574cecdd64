#!/bin/bash
# Slurm's Prolog (as root, on each node): which job holds which GPU, and where its user may report.
# Add to what your Prolog does already; it fails no job.
directory=${EPOCHCOST_SLURM_DIR:-/run/epochcost-slurm}
install -d -m 0755 "$directory"
install -d -m 1777 "${EPOCHCOST_EVENTS_DIR:-/run/epochcost}"
for gpu in ${SLURM_JOB_GPUS//,/ }; do
  echo "$SLURM_JOB_ID $SLURM_JOB_USER" >> "$directory/$gpu"
done
exit 0
