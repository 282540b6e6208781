"""under_memory_profiler.py TABLE WORKLOAD ARGUMENT...: runs main() of the workload under memory_profiler."""
import importlib.util
import sys

import memory_profiler

table, path, scale = sys.argv[1:4]
del sys.argv[:2]
spec = importlib.util.spec_from_file_location("workload", path)
workload = importlib.util.module_from_spec(spec)
sys.modules["workload"] = workload
spec.loader.exec_module(workload)
with open(table, "w") as stream:
    print("checksum", memory_profiler.profile(workload.main, stream=stream)(float(scale)))
