"""A real SLURM on this machine: munge, a controller and one node with two CPUs, on the loopback address.

    python -m tests.slurm.local_slurm start /tmp/slurm     prints the SLURM_CONF that its commands need
    python -m tests.slurm.local_slurm stop /tmp/slurm

Needs root and Debian's packages slurm-wlm and munge. All its files are in that folder. A requeued job may
start again after CRED_EXPIRE_S seconds, by default two minutes.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
CRED_EXPIRE_S = 5
START_S, STOP_S = 60.0, 30.0
CONF = """\
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire={cred_expire_s}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={controller_port}
SlurmdPort={node_port}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=120
MessageTimeout=60
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why it cannot be started here, None when it can."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        return f"SLURM is not installed (Debian: slurm-wlm, munge); missing {', '.join(lacking)}"
    return None if os.geteuid() == 0 else "SLURM's node daemon has to be started by root"


def node_name() -> str:
    """The name of the one node."""
    return socket.gethostname().split(".")[0]


def start(folder: Path) -> Path:
    """Starts everything and waits until the node is idle; returns the configuration file.

    Raises RuntimeError, with the controller's last words, when the node does not come up.
    """
    for part in (folder, folder / "state", folder / "spool"):
        part.mkdir(parents=True, exist_ok=True)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    names = {"folder": folder, "host": node_name(), "cred_expire_s": CRED_EXPIRE_S}
    ports = dict(zip(("controller_port", "node_port"), _free_ports(2), strict=True))
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(**names, **ports))
    munge = {"key-file": key, "socket": folder / "munge.sock", "pid-file": folder / "munged.pid"}
    munge |= {"log-file": folder / "munged.log", "seed-file": folder / "munge.seed"}
    environment = os.environ | {"SLURM_CONF": str(conf)}
    for command in (
        ["munged", "--force", *(f"--{name}={value}" for name, value in munge.items())],
        ["slurmctld", "-c"],
        ["slurmd"],
    ):
        subprocess.run(command, env=environment, check=True, timeout=START_S)
    until = time.monotonic() + START_S
    state = ["sinfo", "--noheader", "--format=%T"]
    while time.monotonic() < until:
        found = subprocess.run(state, env=environment, capture_output=True, text=True)
        if found.stdout.strip() == "idle":
            return conf
        time.sleep(0.5)
    log = (folder / "slurmctld.log").read_text().splitlines()
    stop(folder)
    raise RuntimeError("the node did not come up: " + " | ".join(log[-5:]))


def stop(folder: Path) -> None:
    """Ends the daemons of `folder` by their pid files, jobs first."""
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    everybody = ["scancel", f"--nodelist={node_name()}"]
    subprocess.run(everybody, env=environment, capture_output=True, timeout=STOP_S)
    for name in ("slurmd", "slurmctld", "munged"):
        try:
            pid = int((folder / f"{name}.pid").read_text())
            os.kill(pid, signal.SIGTERM)
        except (FileNotFoundError, ProcessLookupError):
            continue
        until = time.monotonic() + STOP_S
        while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
            time.sleep(0.1)


def _free_ports(n: int) -> list[int]:
    found = [socket.socket() for _ in range(n)]
    for one in found:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in found]
    for one in found:
        one.close()
    return ports


if __name__ == "__main__":
    order, where = sys.argv[1:]
    if missing():
        sys.exit(f"error: {missing()}")
    if order == "start":
        print(f"export SLURM_CONF={start(Path(where).resolve())}")
    else:
        stop(Path(where).resolve())
