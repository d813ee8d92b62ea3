#!/bin/bash
# ResNet-50 on ImageNet over two machines of eight GPUs each, under SLURM: sbatch examples/slurm_train.sh
# A process that fails is started again on its machine (--max-restarts), and so is the whole job by --requeue; both go
# on from the last checkpoint, since --output names one folder, on a disk that all machines share.
#SBATCH --job-name=resnet50
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
set -euo pipefail

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
run=${RUN:-$PWD/runs/resnet50-imagenet}

srun torchrun \
    --nnodes="$SLURM_NNODES" --nproc-per-node="$SLURM_GPUS_ON_NODE" --max-restarts=3 \
    --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d --rdzv-endpoint="$first:29500" \
    -m convatlas train resnet50 --recipe paper --data "${DATA:-imagenet}" --output "$run"
