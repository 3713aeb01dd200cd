"""The pytest plugin: options, one test a gate, verdicts as outcomes, records and the summary."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from gauge.verdict import BATCH_GATES, GATES
from suites import asking, export_benchmark, junit, options, plan, recording, terminal
from suites.builds import BUILD
from suites.catalog import ROOT, CatalogError
from suites.run import Run

KEY = pytest.StashKey[Run]()
SUITES = ROOT / "suites"
ORDER = (BUILD, *GATES)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    # The command line is parsed already when a larger repository collects this folder.
    late = bool(getattr(pluginmanager.get_plugin("pytestconfig"), "args", None))
    try:
        options.add(parser)
    except ValueError as clash:
        # In a larger repository, collected as a part of it, another plugin may own a name.
        if not late:
            raise pytest.UsageError(
                f"optgauge: an option is taken by another plugin: {clash}"
            ) from clash


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "optgauge(cell, gate): one gate of one cell")
    if not hasattr(config.option, "cell_timeout"):
        return  # loaded while a larger repository was being collected: its tests are skipped
    try:
        config.stash[KEY] = Run.create(config)
    except CatalogError as error:
        raise pytest.UsageError(str(error)) from error
    for plugin in (Recorder(config.stash[KEY]), Plan(), Around()):
        config.pluginmanager.register(plugin)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Each suite is collected where something is asked of it."""
    if collection_path not in asking.HOMES.values():
        return None
    asked = asking.collected(collection_path, config.stash.get(KEY, None))
    return None if asked else True


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.path == asking.BUILDING:
        _generate_builds(metafunc)
        return
    gate = _gate(metafunc.definition)
    if gate is None:
        return
    run = metafunc.config.stash.get(KEY, None)
    if run is None:
        reason = "optgauge runs by itself: pytest <its folder>/suites"
        metafunc.parametrize(
            "cell, batch", [pytest.param(None, None, marks=pytest.mark.skip(reason))]
        )
        return
    batches = run.settings.batches if gate in BATCH_GATES else (None,)
    params = []
    for cell in run.cells_of(gate):
        for batch in batches:
            marks = [pytest.mark.optgauge(cell, gate)]
            if gate == "speed" and export_benchmark.wanted(metafunc.config):
                marks.append(export_benchmark.mark(cell.model))
            params.append(pytest.param(cell, batch, id=cell.item(batch), marks=marks))
    metafunc.parametrize("cell, batch", params)


def _generate_builds(metafunc: pytest.Metafunc) -> None:
    run = metafunc.config.stash[KEY]
    params = [
        pytest.param(cell, id=cell.id, marks=pytest.mark.optgauge(cell, BUILD))
        for cell in run.cells_of(BUILD)
    ]
    metafunc.parametrize("cell", params)


def _gate(function: Any) -> str | None:
    """The gate that a test function of this folder asks, by its name."""
    gate = function.originalname.removeprefix("test_")
    return gate if gate in GATES and function.path == asking.HOMES[gate] else None


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str) -> list[pytest.Item] | None:
    """Without --history there is nothing to compare with, and no such test."""
    run = collector.config.stash.get(KEY, None)
    ours = name == "test_regression" and collector.path == asking.GATES
    return [] if ours and (run is None or run.settings.history is None) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    run = config.stash.get(KEY, None)
    if run is None:
        return
    if not run.cells:
        # pytest would skip what has no parameters, and end as if all were well.
        empty = [item for item in items if item.path.parent == SUITES]
        items[:] = [item for item in items if item not in empty]
        config.hook.pytest_deselected(items=empty)
        return
    ours = [item for item in items if item.get_closest_marker("optgauge")]
    if not ours:
        return
    # Cell by cell, so that a cell's answers come together, but for those asked late. What is not
    # ours keeps its place in front.
    order = {cell.id: number for number, cell in enumerate(run.every_cell)}

    def place(item: pytest.Item) -> tuple[int, int, int]:
        cell, gate = _asked(item)
        return asking.LATE.get(gate, 0), order[cell.id], ORDER.index(gate)

    others = [item for item in items if not item.get_closest_marker("optgauge")]
    items[:] = others + sorted(ours, key=place)


def _asked(item: pytest.Item) -> tuple[Any, str]:
    marker = item.get_closest_marker("optgauge")
    assert marker is not None
    return marker.args[0], marker.args[1]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A cell's gates stay in one worker, unless every worker is to ask everything."""
    run = config.stash.get(KEY, None)
    if run is None or config.getvalue("dist") == "each" or not _asks_suites(config):
        return None
    from suites.distribution import ByCell

    return ByCell(config, log, run.every_cell, run.settings.batches)


def _asks_suites(config: pytest.Config) -> bool:
    """Whether the command names this folder or one that it lies in."""
    named = asking.named_paths(config)
    return any(one == SUITES or one in SUITES.parents or SUITES in one.parents for one in named)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    run = session.config.stash.get(KEY, None)
    if run is None:
        return
    for item in session.items:
        if item.get_closest_marker("optgauge"):
            cell, gate = _asked(item)
            batch = item.callspec.params.get("batch")  # type: ignore[attr-defined]
            run.select(cell, gate, batch, item.nodeid)
    config = session.config.option
    if run.selected and not (config.collectonly or config.plan):
        try:
            run.begin()
        except pytest.UsageError as error:
            if run.worker:
                session.config.workeroutput["optgauge_usage"] = str(error)  # type: ignore[attr-defined]
            raise
        # Not pytest_report_collectionfinish: that is over before the run has begun.
        for line in terminal.heading(run):
            run.progress.line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """A worker of pytest-xdist gets the cells that the controller has chosen."""
    run = node.config.stash.get(KEY, None)
    if run is not None:
        node.workerinput["optgauge_cells"] = [cell.id for cell in run.cells]


class Plan:
    """--plan: tells what would be done instead of doing it."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        run = session.config.stash[KEY]
        if not run.settings.plan or session.config.option.collectonly:
            return None
        writer = session.config.get_terminal_writer()
        for line in plan.lines(run):
            writer.line(line)
        return True


class Around:
    """Completes the A/A cells once the tests have run."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        run = session.config.stash[KEY]
        try:
            result = yield
            if run.begun:
                run.finish_controls()
            return result
        finally:
            run.progress.clear()


@pytest.fixture(scope="session")
def optgauge(request: pytest.FixtureRequest) -> Run:
    """The run that this session is."""
    return request.config.stash[KEY]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    if call.when != "call" or not item.get_closest_marker("optgauge"):
        return (yield)
    run = item.config.stash[KEY]
    record = None if run.settings.stage == BUILD else run.record_of(item.nodeid)
    if record is not None:
        item.user_properties += junit.properties(record)
    report = yield
    # Travels to the controller under pytest-xdist, since a report's attributes are sent along.
    report.optgauge = record  # type: ignore[attr-defined]
    return report


class Recorder:
    """Keeps verdicts as reports arrive: in the one process, or in the controller of workers."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.builds = run.builds

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self.run.settings.stage == BUILD and not self.run.worker:
            self.builds.take(report)
            self.run.progress.done = self.builds.asked
        record = getattr(report, "optgauge", None)
        if record is None or self.run.worker:
            return
        self.run.keep(report.nodeid, record)
        if report.failed:
            self.run.progress.line(terminal.failure_line(record), "red")

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A pytest-xdist worker is done: take what it adds to the run's record."""
        output = getattr(node, "workeroutput", {})
        if "optgauge_usage" in output:
            raise pytest.UsageError(output["optgauge_usage"])
        if "optgauge" in output:
            self.run.shards.append(output["optgauge"])


def pytest_report_teststatus(
    report: pytest.TestReport, config: pytest.Config
) -> tuple[str, str, str] | None:
    run = config.stash.get(KEY, None)
    if run is None or getattr(report, "optgauge", None) is None:
        return None
    run.progress.clear()
    return terminal.test_status(report)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    run = session.config.stash.get(KEY, None)
    if run is None:
        return
    if run.worker:
        if run.begun:
            session.config.workeroutput["optgauge"] = run.header_parts()  # type: ignore[attr-defined]
    elif run.settings.stage == BUILD:
        up = bool(run.time_up or any(one["time_up"] for one in run.shards))
        session.exitstatus = run.builds.exit_status(int(exitstatus), time_up=up)
    elif run.begun or run.records or run.shards:
        session.exitstatus = run.end(int(exitstatus))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    run = config.stash.get(KEY, None)
    if run is None:
        return
    if export_benchmark.wanted(config):
        run.unexported = bool(config.getoption("benchmark_disable", False)) or bool(run.shards)
    if run.selection.empty:
        for line in (run.selection.empty, *run.selection.notices):
            terminalreporter.write_line(line)
    if hasattr(run, "header"):
        terminal.summary(run, terminalreporter)
    elif run.settings.stage == BUILD and run.builds.asked:
        terminalreporter.section("optgauge")
        for line in run.builds.lines(run.settings.cache):
            terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    run = config.stash.get(KEY, None)
    if run is None:
        return
    run.close()
    written = os.path.expanduser(os.path.expandvars(getattr(config.option, "xmlpath", None) or ""))
    if os.path.isfile(written) and not run.worker:
        junit.without_names(Path(written), recording.places(run))


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """pytest-benchmark's files go around: the machine's name is nobody's business."""
    machine_info.pop("node", None)
