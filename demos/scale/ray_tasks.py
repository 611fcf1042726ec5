"""The engine on Ray: every attempt is a task, on this machine or on the cluster that RAY_ADDRESS names.

Retries are the run's, not Ray's, so that both engines promise the same.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
from pathlib import Path
from typing import Any

from demos.scale.attempt import Attempt, attempt
from demos.scale.job import Job
from demos.scale.options import ScaleOptions
from demos.scale.processes import JOBS_PER_WORKER
from dexvid_envs.errors import DexVidError, MissingExtraError, OptionError
from dexvid_envs.machine import whole_cores

_CONNECT_S = 10.0
_LOOPBACK = "127.0.0.1"
_OBJECT_STORE_BYTES = 100_000_000  # results are files; by default it would take a third of the memory from the jobs
_TASKS_PER_CORE = 2  # one that runs and one that waits: enough to keep it busy, without a queue of ten thousand


class RayEngine:
    """Tasks of one core each. See `demos.scale.engine.Engine`.

    A Ray that the program has already begun is used as it is. Otherwise that of RAY_ADDRESS, or one is begun that listens on
    the loopback interface alone and ends with the run.
    """

    def __init__(self, out: Path, options: ScaleOptions) -> None:
        """Connects.

        Raises:
            MissingExtraError: Ray is not installed.
            OptionError: no node has as much memory as a job may need.
            DexVidError: Ray does not start, or there is no cluster at RAY_ADDRESS.
        """
        self._ray = import_ray()
        self._out, self._options = out, options
        self._ours, self._shared = _connect(self._ray, options)
        try:
            memory = _job_memory(self._ray, options)
        except OptionError:
            self.close()
            raise
        remote = self._ray.remote(num_cpus=1, memory=memory, max_retries=0, max_calls=JOBS_PER_WORKER)
        self._task = remote(attempt)
        self._jobs: dict[Any, Job] = {}  # by the reference to the attempt's end

    def has_room(self) -> bool:
        """Whether Ray has few enough tasks; it holds those back for which a node has no core or memory."""
        if self._shared and self._options.workers:
            return len(self._jobs) < self._options.workers
        return len(self._jobs) < _TASKS_PER_CORE * max(int(self._ray.cluster_resources().get("CPU", 1)), 1)

    def start(self, job: Job) -> None:
        """Hands a task to Ray."""
        self._jobs[self._task.remote(job, self._out, self._options.job_limit_s)] = job

    def wait(self) -> list[tuple[Job, Attempt]]:
        """Attempts that have ended."""
        ready, _ = self._ray.wait(list(self._jobs), num_returns=1, timeout=1.0)
        return [(self._jobs.pop(reference), self._result(reference)) for reference in ready]

    def _result(self, reference: Any) -> Attempt:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:  # its process or node died, or the worker could not be begun
            first = next((line for line in str(error).splitlines() if line.strip()), "no more is known")
            return Attempt("broken", f"{type(error).__name__}: {first.strip()}")

    def close(self) -> None:
        """Cancels what runs, and ends Ray if it was begun here."""
        for reference in getattr(self, "_jobs", {}):
            self._ray.cancel(reference, force=True)
        if self._ours:
            self._ray.shutdown()


def import_ray() -> Any:
    """The module, told to send no statistics and to keep to the loopback interface.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "RAY_ADDRESS" not in os.environ:
        # Read while it is imported: without it Ray takes the machine's outer address, even where it is given 127.0.0.1.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise MissingExtraError(
            "the engine ray is not installed; install it with: pip install -c constraints.txt -e '.[scale]' in the project's "
            "checkout, or leave --engine ray out"
        ) from error


def _connect(ray: Any, options: ScaleOptions) -> tuple[bool, bool]:
    """Whether Ray was connected to here, and whether it is a cluster that others may use as well."""
    if ray.is_initialized():
        return False, True
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            _expect_listener(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            return True, True
        ray.init(
            address="local",
            num_cpus=options.workers or whole_cores(),
            include_dashboard=False,
            _node_ip_address=_LOOPBACK,
            object_store_memory=_OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        what = f"there is no Ray cluster at RAY_ADDRESS={address}" if address else "Ray does not start"
        raise DexVidError(f"{what} ({error}); check it, or leave --engine ray out") from error
    if ray.util.get_node_ip_address() != _LOOPBACK:
        ray.shutdown()
        raise DexVidError("Ray was imported before, and would listen beyond this machine; import demos.scale.ray_tasks first")
    return True, False


def _expect_listener(address: str) -> None:
    """Ray itself goes on trying for minutes.

    Raises:
        OSError: nobody listens there.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()


def _job_memory(ray: Any, options: ScaleOptions) -> int:
    """Bytes that a task asks for.

    Raises:
        OptionError: more than any node has, so that tasks would wait for ever.
    """
    wanted = int(1e9 * options.job_memory_gb)
    most = max((int(node["Resources"].get("memory", 0)) for node in ray.nodes() if node["Alive"]), default=0)
    if wanted > most:
        raise OptionError(f"--job-memory-gb is {options.job_memory_gb}, but no node of Ray's has more than {most / 1e9:.1f}")
    return wanted
