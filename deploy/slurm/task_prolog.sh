#!/bin/bash
# Slurm's TaskProlog (as the user, for each task): lines that begin with `export` become its environment.
echo "export EPOCHCOST_DIR=${EPOCHCOST_USERS_DIR:-/run/epochcost-users}/$(id -un)"
