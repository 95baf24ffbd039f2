#!/bin/bash
# Train on all workers of a Cloud TPU VM, again after each stop until it is finished.
#   GEN_JAX=/shared/gen_jax experiments/cluster/tpu_vm.sh NAME ZONE CONFIG --workdir /shared/runs/NAME --data-dir /shared/data
# GEN_JAX: what pip installs on the workers, a checkout on a disk that all of them mount or an address of one.
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: $0 NAME ZONE CONFIG [arguments of gen-jax train]" >&2; exit 2; }
: "${GEN_JAX:?set GEN_JAX to what pip installs on the workers}"
name=$1 zone=$2
shift 2

on_all_workers() { gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1"; }

on_all_workers "python3 -m venv ~/gen_jax && ~/gen_jax/bin/pip install --quiet $(printf '%q' "$GEN_JAX[tpu]")"
until on_all_workers "~/gen_jax/bin/gen-jax train $(printf '%q ' "$@")"; do
  code=$?
  case $code in 134 | 143 | 255) sleep 60 ;; *) exit "$code" ;; esac
done
