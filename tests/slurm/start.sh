#!/usr/bin/env bash
# Start a SLURM cluster of one node on this machine, for tests: munged, slurmctld and slurmd, nothing in /etc.
#   start.sh FOLDER    start; FOLDER gets configuration, state and logs; export SLURM_CONF=FOLDER/slurm.conf to use it
#   start.sh FOLDER stop
# Needs root and Debian's packages slurm-wlm and munge. Ports are taken from SLURM_TEST_PORT (default 17000) upwards.
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
export SLURM_CONF="$folder/slurm.conf"
if [ "${2:-start}" = stop ]; then
  for daemon in slurmd slurmctld munged; do
    [ -s "$folder/$daemon.pid" ] && kill "$(cat "$folder/$daemon.pid")" 2>/dev/null || true
  done
  exit 0
fi
[ "$(id -u)" = 0 ] || { echo "needs root"; exit 1; }
for tool in munged slurmctld slurmd sbatch; do
  command -v $tool >/dev/null || PATH="$PATH:/usr/sbin" command -v $tool >/dev/null || { echo "$tool is not installed"; exit 1; }
done
PATH="$PATH:/usr/sbin"
port=${SLURM_TEST_PORT:-17000}
host=$(hostname -s)
# What slurmd finds, for a node that has less than is configured never becomes idle; nproc would heed OMP_NUM_THREADS.
found=$(slurmd -C | head -n 1)
cpus=$(sed -n 's/.* CPUs=\([0-9]*\).*/\1/p' <<< "$found")
memory=$(( $(sed -n 's/.* RealMemory=\([0-9]*\).*/\1/p' <<< "$found") - 512 ))
mkdir -p "$folder"/{state,spool}
chmod 755 "$folder"
[ -s "$folder/munge.key" ] || (umask 077; head -c 1024 /dev/urandom > "$folder/munge.key")
munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
  --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
cat > "$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CryptoType=crypto/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
MpiDefault=none
ReturnToService=2
SlurmdTimeout=0
MessageTimeout=60
KillWait=10
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
CONF
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF" -N "$host"
for second in $(seq 120); do
  state=$(sinfo --noheader --format=%T 2>/dev/null | head -n 1)
  [ "$state" = idle ] && exit 0
  # A machine that is busy may have missed slurmd's first message.
  [ $((second % 30)) = 0 ] && scontrol update NodeName="$host" State=RESUME 2>/dev/null || true
  sleep 0.5
done
echo "the node does not become idle, it is '$state': $(sinfo --noheader --list-reasons 2>&1 | head -n 1)"
for log in slurmctld slurmd; do tail -n 5 "$folder/$log.log"; done
exit 1
