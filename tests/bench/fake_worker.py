"""A contestant's process for tests: answers as its first argument says."""

import json
import os
import subprocess
import sys
import time

behaviour = sys.argv[1]
if behaviour == "silent":
    time.sleep(600)
if behaviour == "dead":
    print("no such library", file=sys.stderr)
    sys.exit(7)
if behaviour == "complaining":
    print(json.dumps({"error": "ValueError: not with me"}), flush=True)
    sys.exit(0)
print(json.dumps({"memory": 1000, "has_parts": False}), flush=True)
for line in sys.stdin:
    command = json.loads(line)
    if behaviour == "killed later":
        os.kill(os.getpid(), 9)
    if behaviour in ("killed parent", "ending parent"):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.DEVNULL)
        print(json.dumps({"samples": [{"child": child.pid}]}), flush=True)
        if behaviour == "ending parent":
            os._exit(7)
        os.kill(os.getpid(), 9)
    if behaviour == "hanging later":
        time.sleep(600)
    print(json.dumps({"samples": [{"total": 0.25}] * command["count"], "memory": 1000}), flush=True)
