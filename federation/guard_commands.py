"""`kith guard`: a site's guard as a process, and its people's say in what it serves."""

from __future__ import annotations

import ipaddress
import json
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from privacy.errors import InputError

if TYPE_CHECKING:
    from federation.approvals import Approvals, Shown
    from federation.guard_listeners import Listener
    from federation.guard_server import GuardServer
    from federation.site import Site

app = typer.Typer()
guard = typer.Typer(help="A site's guard, and what its people let it serve.", no_args_is_help=True)
app.add_typer(guard, name="guard")

LEAST_PREFIX: Final = 12

Folder = Annotated[Path, typer.Argument(help="The site's folder: site.toml, policy.toml, ledger and keys.")]
Digest = Annotated[str, typer.Argument(help=f"The plan's digest, or its first {LEAST_PREFIX} digits or more.")]
Key = Annotated[str, typer.Option(help="URI of the approver's key: file:PATH.")]
OfRun = Annotated[str | None, typer.Option("--run", help="Which run, if several ask for this plan.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@guard.command()
def serve(
    folder: Folder,
    listen: Annotated[
        str | None, typer.Option(help="unix:/PATH or tls:HOST:PORT, instead of what site.toml says.")
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="HOST:PORT on loopback for Prometheus.")] = None,
) -> None:
    """Answer the group's requests until stopped; logs are JSON lines on standard error."""
    from federation import guard_process

    guard_process.harden()  # before anything of the site's is opened
    guard_process.compute_alone()
    guard_process.log_to_stderr()
    import logging
    import threading

    from federation.guard_listeners import listen as listen_at
    from federation.site import load_site

    told = logging.getLogger("kith.guard.server")
    site = load_site(folder)
    place = listen or site.listen
    if not place:
        raise InputError("guard serve: expected --listen, or listen in site.toml, got neither")
    at = None if metrics is None else _loopback(metrics)
    with ExitStack() as open_:
        listener = listen_at(place, site.peers, site.tls)
        open_.callback(listener.close)
        server, figures = _server(site, listener, open_, at)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        facts = {"site": site.name, "address": listener.address, **figures}
        told.info("listening", extra={"facts": facts})
        threading.Thread(target=guard_process.warm, daemon=True).start()
        server.run()
    told.info("stopped")


def _server(
    site: Site, listener: Listener, open_: ExitStack, metrics: tuple[str, int] | None
) -> tuple[GuardServer, dict[str, str]]:
    """The site's server, and where its figures are served, if they are."""
    from federation.approvals import Approvals
    from federation.guard import Guard
    from federation.guard_metrics import GuardMetrics, SiteCollector
    from federation.guard_server import GuardServer
    from federation.metrics_server import metrics_server

    watch, figures = GuardMetrics(), {}
    if metrics is not None:
        ledger, queue = site.open_ledger(), Approvals(site.folder, site.name)
        open_.callback(ledger.close)
        open_.callback(queue.close)
        watch.registry.register(SiteCollector(site, ledger, queue))
        figures["metrics"] = open_.enter_context(metrics_server(watch.registry, *metrics, "--metrics"))
    return GuardServer(Guard(site).answered, listener, watch), figures


@guard.command()
def plans(folder: Folder, as_json: Json = False) -> None:
    """Show every plan that was asked for here: its purpose, cost, what leaves, and which limits it is near."""
    with ExitStack() as open_:
        site, queue = _opened(folder, open_)
        told = [] if queue is None else [_told(site, queue, one) for one in queue.shown(site.policy.approvers)]
    if as_json:
        print(json.dumps({"site": site.name, "plans": told}, indent=2))
        return
    from federation.plan_words import lines

    print("\n\n".join("\n".join(lines(one)) for one in told) or f"{site.name}: no plan was asked for yet")


@guard.command()
def approve(folder: Folder, digest: Digest, key: Key, run: OfRun = None, as_json: Json = False) -> None:
    """Approve a plan in one run, with the key of an approver whom policy.toml names."""
    from federation.approvals import APPROVE

    _decide(folder, digest, run, APPROVE, key, as_json)


@guard.command()
def refuse(folder: Folder, digest: Digest, key: Key, run: OfRun = None, as_json: Json = False) -> None:
    """Refuse a plan in one run, also one that has started: the site takes no further part in it."""
    from federation.approvals import REFUSE

    _decide(folder, digest, run, REFUSE, key, as_json)


def _decide(folder: Path, digest: str, run: str | None, verdict: str, key: str, as_json: bool) -> None:
    """Print the plan as it stands, then sign, then say where its run stands: nobody signs what can not be shown."""
    from datetime import UTC, datetime

    from federation.plan_words import lines
    from privacy.signing import signer_from_uri

    with ExitStack() as open_:
        site, queue = _opened(folder, open_)
        if queue is None:
            raise InputError(f"plan {digest[:16]}: expected one that was asked for at {site.name}, got none")
        approvers = site.policy.approvers
        shown = _found(queue.shown(approvers), digest, run)
        told = _told(site, queue, shown)
        print(json.dumps(told, indent=2) if as_json else "\n".join(lines(told)), flush=True)
        queue.decide(shown, verdict, signer_from_uri(key), approvers, datetime.now(UTC))
        signed = _found(queue.shown(approvers), shown.digest, shown.run)
        if not as_json:
            print(next(lines(_told(site, queue, signed))))


def _opened(folder: Path, open_: ExitStack) -> tuple[Site, Approvals | None]:
    """The site and its queue, if its guard has made one: a file made by whoever looks would be another user's."""
    from federation.approvals import APPROVALS_FILE, Approvals
    from federation.site import load_site

    site = load_site(folder)
    if not (folder / APPROVALS_FILE).exists():
        return site, None
    queue = Approvals(site.folder, site.name)
    open_.callback(queue.close)
    return site, queue


def _told(site: Site, queue: Approvals, shown: Shown) -> dict[str, Any]:
    from datetime import UTC, datetime

    from federation.admission import approvals_needed
    from federation.plan_words import document, limits

    policy, ledger = site.policy, site.open_ledger()
    try:
        found = limits(shown, policy, ledger.budget, ledger.totals, queue.starts(), datetime.now(UTC))
    finally:
        ledger.close()
    return document(shown, approvals_needed(policy, queue, shown), site.name, found)


def _found(shown: tuple[Shown, ...], digest: str, run: str | None) -> Shown:
    from federation.plan_words import printable

    if len(digest) < LEAST_PREFIX:
        raise InputError(f"plan: expected at least {LEAST_PREFIX} digits of its digest, got {len(digest)}")
    found = [one for one in shown if one.digest.startswith(digest) and run in (None, one.run)]
    if len(found) != 1:
        runs = ", ".join(printable(one.run) for one in found) or "none"
        raise InputError(f"plan {digest[:16]}: expected one run that asks for it, got {runs}; --run says which")
    return found[0]


def _loopback(address: str) -> tuple[str, int]:
    """Where a guard's figures may be served: they are the site's own."""
    from federation.metrics_server import host_and_port

    host, port = host_and_port(address, "--metrics")
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host, port
    except ValueError:
        pass
    raise InputError(f"--metrics: expected a loopback address, got {host!r:.60}")
