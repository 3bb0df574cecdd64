#!/bin/bash
# Slurm's Prolog (as root, on each node): which job holds which GPU, and where its user may report.
# Add to what your Prolog does already; it fails no job.
directory=${EPOCHCOST_SLURM_DIR:-/run/epochcost-slurm}
users=${EPOCHCOST_USERS_DIR:-/run/epochcost-users}
install -d -m 0755 "$directory" "$users"
# A directory for each user, his alone; root's agent reads it: --events.user-dirs=/run/epochcost-users/*
install -d -m 0700 -o "$SLURM_JOB_UID" "$users/$SLURM_JOB_USER"
for gpu in ${SLURM_JOB_GPUS//,/ }; do
  echo "$SLURM_JOB_ID $SLURM_JOB_USER" >> "$directory/$gpu"
done
exit 0
