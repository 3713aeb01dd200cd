"""The subcommands of `python -m reports`, one file each, found by their file names.

A command has a docstring (the description; its first line is the help), `arguments(parser)`, which
declares its options, and `run(options)`, which returns the exit code. A name that does not start
with an underscore is a command: `cache_export.py` is `cache-export`.
"""
