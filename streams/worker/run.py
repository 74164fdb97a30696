"""Run a worker in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import faust
import structlog
from confluent_kafka import KafkaException

from streams.engine.agents import worker_specs
from streams.engine.row_format import require_known_rows
from streams.kafka.topics import require_topics
from streams.logs import configure_logs, logging_config
from streams.process.affinity import pin_to_core
from streams.process.garbage import tune_for_many_rows
from streams.worker.app import Wired, build_app

if TYPE_CHECKING:
    from streams.settings import Settings

log = structlog.get_logger()


class _Worker(faust.Worker):
    """Faust's worker, but for its debugging signals.

    The tracebacks that it prints at SIGUSR1 hold all values, secrets among them, and at SIGUSR2 it would stop for a debugger.
    """

    def _install_signal_handlers_unix(self) -> None:
        super()._install_signal_handlers_unix()
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            self.loop.remove_signal_handler(number)
            # What each thread is at, without values; also where the event loop is stuck.
            faulthandler.register(number, all_threads=True)


def run(settings: Settings, build: Callable[[], Wired] | None = None) -> int:
    """Run until SIGTERM or SIGINT; the slice in flight is finished, then the group is left. Returns the exit status.

    Raises UserError where no broker answers, its topics are not those of the settings, or there is no such core; and
    NewerFormatError where a newer version has written rows, before the group is joined or when such a partition comes.
    """
    configure_logs(settings.log_format, settings.log_level)
    require_topics(settings)
    try:
        require_known_rows(settings, worker_specs(settings))
    except KafkaException as error:  # the topics may be as new as that: who takes a partition over looks again
        log.warning("rows.not_checked", error=str(error)[:300])
    tune_for_many_rows()
    if settings.core is not None:
        pin_to_core(settings.core)
    # Slices are folded in threads: the event loop, which fetches and heartbeats, gets its turn every millisecond.
    sys.setswitchinterval(0.001)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    wired = build() if build else build_app(settings)
    # The command line of Faust would do these three.
    wired.app.finalize()
    wired.app.worker_init()
    wired.app.worker_init_post_autodiscover()
    log.info("worker.started", prefix=settings.prefix, mode=settings.mode, clock=settings.clock)
    worker = _Worker(
        wired.app,
        loop=loop,
        loglevel=settings.log_level,
        logging_config=logging_config(settings.log_format, settings.log_level),
        quiet=True,
        daemon=True,
        override_logging=True,
        redirect_stdouts=False,
    )
    try:
        worker.execute_from_commandline()
    except SystemExit as status:
        if wired.app.shutdown_reason is not None:
            raise wired.app.shutdown_reason from None
        return int(status.code or 0)
    return 0
