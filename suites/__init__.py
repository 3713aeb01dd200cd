"""The pytest suites and their plugin: they drive zoo, optimizers, gauge and reports."""
