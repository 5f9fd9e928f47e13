"""A page that counts its visits in Redis. PORT, HOST and REDIS_URL come from the environment."""

import asyncio
import os
import signal
import sys
from urllib.parse import unquote, urlsplit

import tornado.web

GRACE_SECONDS = 25  # below the 30 s after which deployments kill
REDIS_SECONDS_MAX = 5  # for a connection and an answer: a restart of Redis fits in
REPLY_BYTES_MAX = 64 * 1024  # the replies here are numbers

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"><title>Visits</title>
<body style="font: 1.2rem/1.5 system-ui; max-width: 30rem; margin: 15vh auto; padding: 0 1rem; text-align: center">
{}</body></html>
"""


class RedisAway(Exception):
    """Redis cannot be reached, or broke off."""


class RedisRefused(Exception):
    """Redis answered with an error: a wrong password, a full disk."""


class Redis:
    """One connection, made when it is needed, made anew when it broke; one command at a time (RESP2)."""

    def __init__(self, url):
        parts = urlsplit(url)
        if parts.scheme != "redis" or not parts.hostname:
            raise ValueError("cannot use REDIS_URL: it is not redis://[user:password@]host:port[/database]")
        self.address = parts.hostname, parts.port or 6379
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        self.greeting = []
        if password:
            self.greeting.append(["AUTH", user, password] if user else ["AUTH", password])
        if parts.path.strip("/"):
            self.greeting.append(["SELECT", parts.path.strip("/")])
        self.lock = asyncio.Lock()
        self.reader = self.writer = None

    async def command(self, *words):
        async with self.lock:
            try:
                return await asyncio.wait_for(self._command(words), REDIS_SECONDS_MAX)
            except RedisRefused:
                raise
            except (OSError, EOFError, ValueError, asyncio.TimeoutError) as error:
                self.close()
                raise RedisAway from error
            except asyncio.CancelledError:
                self.close()  # its reply would be taken for that of the next command
                raise

    def close(self):
        if self.writer:
            self.writer.close()
        self.reader = self.writer = None

    async def _command(self, words):
        # Redis closed it while nobody asked: nothing is sent on it.
        if self.reader and self.reader.at_eof():
            self.close()
        if self.writer:
            try:
                return await self._exchange(words)
            except (OSError, EOFError):
                self.close()  # Redis ended over this command, as in a restart
        # Sent once more on a new connection, as clients do: a visit may then count twice, which beats an error here.
        await self._connect()
        return await self._exchange(words)

    async def _connect(self):
        self.reader, self.writer = await asyncio.open_connection(*self.address, limit=REPLY_BYTES_MAX)
        try:
            for words in self.greeting:
                await self._exchange(words)
        except RedisRefused:
            self.close()
            raise

    async def _exchange(self, words):
        words = [str(word).encode() for word in words]
        self.writer.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        await self.writer.drain()
        line = await self.reader.readuntil(b"\r\n")
        kind, text = line[:1], line[1:-2]
        if kind == b"-":
            raise RedisRefused(text.decode(errors="replace"))
        if kind == b":":
            return int(text)
        if kind == b"$":
            return None if text == b"-1" else (await self.reader.readexactly(int(text) + 2))[:-2]
        if kind == b"+":
            return text
        raise ValueError("a reply of a type that nobody here asks for")


@tornado.web.stream_request_body
class Page(tornado.web.RequestHandler):
    """A request counts as begun from its head on, which is what the decorator is for, and until its answer is out."""

    in_flight = set()
    ended = asyncio.Event()

    def prepare(self):
        self.in_flight.add(self)

    def data_received(self, chunk):
        pass  # no page here reads a body

    def on_finish(self):
        self.in_flight.discard(self)
        self.ended.set()

    on_connection_close = on_finish


class Visits(Page):
    def initialize(self, redis):
        self.redis = redis

    async def get(self):
        self.set_header("Cache-Control", "no-store")
        try:
            count = await self.redis.command("INCR", "visits")
        except RedisAway:
            self.fail("Redis is away right now. Nothing is lost; reload in a moment.")
        except RedisRefused as error:
            print(f"redis refused: {error}", file=sys.stderr, flush=True)
            self.fail("Redis refuses this app. Its log says why.")
        else:
            self.write(PAGE.format(f"<h1>{count}</h1><p>{'visit' if count == 1 else 'visits'}, counted in Redis.</p>"))

    def fail(self, words):
        self.set_status(503)
        self.set_header("Retry-After", "5")
        self.write(PAGE.format(f"<h1>Not now</h1><p>{words}</p>"))


class Health(Page):
    def get(self):
        self.write("ok\n")


class NotFound(Page):
    """Tornado's own counts nothing."""

    def get(self):
        raise tornado.web.HTTPError(404)

    head = post = put = patch = delete = options = get


async def drain():
    while Page.in_flight:
        Page.ended.clear()
        await Page.ended.wait()


async def main():
    """Serves until TERM or INT, then stops accepting and finishes the requests in flight. Tornado does neither."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    redis = Redis(os.environ["REDIS_URL"])
    pages = [("/", Visits, {"redis": redis}), ("/healthz", Health)]
    app = tornado.web.Application(pages, default_handler_class=NotFound)
    port, host = int(os.environ["PORT"]), os.environ.get("HOST", "127.0.0.1")
    # Everywhere is not IPv4 alone, for which Tornado takes 0.0.0.0.
    server = app.listen(port, address="" if host == "0.0.0.0" else host)
    print(f"listening on {host}:{port}", file=sys.stderr, flush=True)
    await stop.wait()
    server.stop()
    try:
        await asyncio.wait_for(drain(), GRACE_SECONDS)
    except asyncio.TimeoutError:
        sys.exit(f"{len(Page.in_flight)} requests cut after {GRACE_SECONDS} s")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyError as missing:
        sys.exit(f"cannot start: {missing.args[0]} is not in the environment; start this app with `tambat start`")
    except (OSError, ValueError) as error:
        sys.exit(f"cannot start: {error}")
