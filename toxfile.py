"""Tells tox.ini which Python runs tox, since its environments work with that one's packages.

torch takes 5 GB. An environment of tox's own for each task would install it once each, and even a
shared folder is made anew whenever another environment uses it.
"""

import importlib.util
import os
import sys

os.environ["OPTGAUGE_PYTHON"] = sys.executable
os.environ["OPTGAUGE_READY"] = "yes" if importlib.util.find_spec("torch") else "no"
