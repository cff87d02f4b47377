"""The gateway's binary on a port of its own, and what it costs."""

import os
import re
import subprocess
import tempfile

TICKS = os.sysconf("SC_CLK_TCK")
MEASURES = os.path.exists("/proc/self/status")


class Router:
    """Dropped with `stop`. It knows nothing of this machine's environment."""

    def __init__(self, config="", flags=()):
        self.dir = tempfile.TemporaryDirectory(prefix="flow-router-h2-")
        path = os.path.join(self.dir.name, "test.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        self.log_path = os.path.join(self.dir.name, "log")
        env = {"HOME": self.dir.name, "FLOW_ROUTER_DATA_DIR": os.path.join(self.dir.name, "data")}
        command = [os.environ["FLOW_ROUTER_BIN"], "--addr", "127.0.0.1:0", "--config", path, *flags]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=env)
        line = self.process.stdout.readline().decode()
        found = re.search(r"http://([\d.]+):(\d+)", line)
        if not found:
            self.process.kill()
            raise SystemExit(f"the gateway did not start: {line}{self.log()}")
        self.address = (found.group(1), int(found.group(2)))

    def log(self):
        with open(self.log_path, encoding="utf-8") as file:
            return file.read()

    def cpu(self):
        """Seconds of CPU so far; 0 where the system does not say."""
        if not MEASURES:
            return 0
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self):
        """Resident bytes now; 0 where the system does not say."""
        if not MEASURES:
            return 0
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) * 1024

    def stop(self):
        """Ends it. Panics in its log are a failure."""
        self.process.kill()
        self.process.wait()
        log = self.log()
        self.dir.cleanup()
        assert "panicked" not in log, log
