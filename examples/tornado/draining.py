"""What Tornado leaves to its apps. On TERM it ends at once, with requests in flight; an app that is replaced or moved is
told to stop by TERM, and is to accept nothing new, finish what it began, and end. Copy this file into yours."""

import asyncio
import os
import signal
import sys

import tornado.web

GRACE_SECONDS = 25  # below the 30 s after which deployments kill


@tornado.web.stream_request_body
class Handler(tornado.web.RequestHandler):
    """A request counts as in flight from its head on, which is what the decorator is for, until its answer is out."""

    BODY_BYTES_MAX = 0  # what is longer is read, since the answer comes after it, and forgotten
    in_flight = set()
    is_stopping = False
    _ended = asyncio.Event()

    def prepare(self):
        self.in_flight.add(self)
        self.received = b""

    def data_received(self, chunk):
        if len(self.received) <= self.BODY_BYTES_MAX:
            self.received += chunk

    def body(self):
        if len(self.received) > self.BODY_BYTES_MAX:
            raise tornado.web.HTTPError(413)
        return self.received

    def set_default_headers(self):
        if self.is_stopping:
            self.set_header("Connection", "close")  # the next request of this client goes to another instance

    def finish(self, chunk=None):
        written = super().finish(chunk)
        written.add_done_callback(lambda _: self._leave())
        return written

    def on_connection_close(self):
        self._leave()

    def _leave(self):
        self.in_flight.discard(self)
        self._ended.set()

    @classmethod
    async def drain(cls):
        while cls.in_flight:
            cls._ended.clear()
            await cls._ended.wait()


class NotFound(Handler):
    """Tornado's own counts nothing."""

    def get(self):
        raise tornado.web.HTTPError(404)

    head = post = put = patch = delete = options = get


async def serve(pages, on_stop=lambda: None):
    """Serves these pages on PORT and HOST until TERM or INT, then stops accepting and finishes what is in flight. `on_stop` ends
    answers that would go on for ever."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    port, host = int(os.environ["PORT"]), os.environ.get("HOST", "127.0.0.1")
    # Everywhere is not IPv4 alone, for which Tornado takes 0.0.0.0.
    app = tornado.web.Application(pages, default_handler_class=NotFound)
    server = app.listen(port, address="" if host == "0.0.0.0" else host)
    print(f"listening on {host}:{port}", file=sys.stderr, flush=True)
    await stop.wait()
    server.stop()
    Handler.is_stopping = True
    on_stop()
    try:
        await asyncio.wait_for(Handler.drain(), GRACE_SECONDS)
    except asyncio.TimeoutError:
        sys.exit(f"{len(Handler.in_flight)} requests cut after {GRACE_SECONDS} s")


def run(main):
    """Runs `main()`; what keeps it from starting is told in a sentence."""
    try:
        asyncio.run(main())
    except KeyError as missing:
        sys.exit(f"cannot start: {missing.args[0]} is not in the environment; start this app with `tambat start`")
    except (OSError, ValueError) as error:
        sys.exit(f"cannot start: {error}")
