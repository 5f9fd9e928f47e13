"""The square of the town: what its neighbours have to say, each known by its resource handle alone."""

import asyncio
import json
import os
import urllib.parse

import tornado.escape
import tornado.httpclient
import tornado.web

import draining

NEIGHBOUR_SECONDS_MAX = 10  # a restart of one fits in: its connections wait meanwhile

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"><title>Town</title>
<style>
body {{ font: 1.1rem/1.5 system-ui; max-width: 40rem; margin: 6vh auto; padding: 0 1rem }}
section {{ border-top: 1px solid #8886; padding: .5rem 0 1rem }} h2 {{ margin: .5rem 0 }}
li, p {{ overflow-wrap: anywhere }} small {{ opacity: .6; font-weight: normal }}
form {{ display: flex; gap: .5rem }} input {{ flex: 1; min-width: 0 }} input, button {{ font: inherit; padding: .3rem .6rem }}
</style>
<h1>Town</h1>
<section><h2>The quay <small>Jetty, and Redis behind it</small></h2>{quay}
<form method="post" action="ships"><input name="name" maxlength="60" required aria-label="A ship's name">
<button>Moor</button></form></section>
<section><h2>The wall <small>PHP in Apache httpd</small></h2>{wall}</section>
<section><h2>The harbour master <small>Thin</small></h2>{knots}</section></html>
"""


class Neighbour:
    """A backing service over HTTP, at the URL of a resource handle."""

    def __init__(self, variable):
        self.url = os.environ[variable].rstrip("/")
        self.client = tornado.httpclient.AsyncHTTPClient()

    async def ask(self, path, **options):
        """Whatever it answers; who cannot be reached at all answers 599."""
        request = tornado.httpclient.HTTPRequest(
            self.url + path, connect_timeout=NEIGHBOUR_SECONDS_MAX, request_timeout=NEIGHBOUR_SECONDS_MAX, **options
        )
        return await self.client.fetch(request, raise_error=False)

    async def json(self, path, shown):
        answer = await self.ask(path)
        try:
            return shown(json.loads(answer.body)) if answer.code == 200 else "<p>It is away right now.</p>"
        except (ValueError, KeyError, TypeError):
            return "<p>It says what nobody understands.</p>"


def ships(names):
    items = "".join(f"<li>{tornado.escape.xhtml_escape(name)}</li>" for name in names)
    return f"<ol>{items}</ol>" if names else "<p>No ship yet.</p>"


def line(newest):
    return f"<p>{tornado.escape.xhtml_escape(newest['text'])}</p>" if newest else "<p>Nobody has left a line yet.</p>"


def speed(speeds):
    return f"<p>No more than {speeds['knots']:g} kn in here, please, which is {speeds['kmh']:.1f} km/h.</p>"


class Square(draining.Handler):
    def initialize(self, quay, wall, knots):
        self.quay, self.wall, self.knots = quay, wall, knots

    async def get(self):
        quay, wall, knots = await asyncio.gather(
            self.quay.json("/ships", ships), self.wall.json("/?newest", line), self.knots.json("/speed?knots=6", speed)
        )
        self.set_header("Cache-Control", "no-store")
        self.write(PAGE.format(quay=quay, wall=wall, knots=knots))


class Ships(draining.Handler):
    BODY_BYTES_MAX = 4 * 1024

    def initialize(self, quay):
        self.quay = quay

    async def post(self):
        # Browsers say where a form comes from.
        if self.request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            raise tornado.web.HTTPError(403)
        name = urllib.parse.parse_qs(self.body().decode(errors="replace")).get("name", [""])[0]
        body = urllib.parse.urlencode({"name": name})
        fields = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await self.quay.ask("/ships", method="POST", headers=fields, body=body)
        if answer.code != 201:
            raise tornado.web.HTTPError(answer.code if answer.code < 500 else 502)
        self.redirect("./", status=303)


class Health(draining.Handler):
    def get(self):
        self.write("ok\n")


async def main():
    neighbours = {name: Neighbour(f"{name.upper()}_URL") for name in ("quay", "wall", "knots")}
    quay = {"quay": neighbours["quay"]}
    await draining.serve([("/", Square, neighbours), ("/ships", Ships, quay), ("/healthz", Health)])


if __name__ == "__main__":
    draining.run(main)
