"""`python -m worker`: one worker, configured by the environment alone."""

from worker.main import run
from worker.settings import WorkerSettings

if __name__ == "__main__":
    run(WorkerSettings())
