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
memory=$(( $(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 - 512 ))
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
AuthInfo=socket=$folder/munge.socket,cred_expire=5
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
KillWait=10
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
CONF
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF" -N "$host"
for _ in $(seq 60); do
  [ "$(sinfo --noheader --format=%T 2>/dev/null | head -1)" = idle ] && exit 0
  sleep 0.5
done
echo "the node does not become idle"; tail -n 5 "$folder/slurmctld.log" "$folder/slurmd.log"
exit 1
