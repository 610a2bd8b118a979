"""What every test needs of the process that it runs in."""

import signal
from importlib.util import find_spec

pytest_plugins = ["support.s3_fixtures", "support.places"]

# real vLLM lives in an environment of its own, where scripts/test runs these
collect_ignore = [] if find_spec("vllm") else ["vllm_cpu"]

# a shell starts background commands with Ctrl-C ignored, and so would be every process that the tests start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as under nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
