"""The composition root: creates every object once, in order, and lists endpoints and background loops."""

from tim_server.app.process import RunningProcess, prepare, run_process, start_process

__all__ = ["RunningProcess", "prepare", "run_process", "start_process"]
