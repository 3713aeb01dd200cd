"""Loads the plugin, nothing else; found from any folder, also inside a larger repository."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).parent)
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)


def pytest_addoption(parser, pluginmanager):
    pluginmanager.import_plugin("suites.plugin")
