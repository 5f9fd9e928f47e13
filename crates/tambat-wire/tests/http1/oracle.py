"""What Python's own HTTP modules make of bytes: http.server of requests, http.client of responses.

Reads questions from standard input, each one a kind (b"q" or b"s"), the number of answers and for each of them whether
its request was a HEAD (b"s" only), and the bytes behind their length. Answers with one line of JSON each.
"""

import http.client
import http.server
import io
import json
import re
import struct
import sys

# A head of ours may have a few fields more than the hundred that these modules take: they are ours.
http.client._MAXHEADERS = 200


class Broken(Exception):
    pass


class Handler(http.server.BaseHTTPRequestHandler):
    """Reads requests; nobody is connected."""

    protocol_version = "HTTP/1.1"

    def __init__(self, bytes_of_client):
        self.rfile = io.BytesIO(bytes_of_client)
        self.wfile = io.BytesIO()
        self.client_address = ("", 0)
        self.close_connection = True

    def log_message(self, *_):
        pass

    def next(self):
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            return None
        if not self.parse_request():
            raise Broken(self.wfile.getvalue().decode("latin-1") or "no request")
        if self.close_connection:
            raise Broken("the connection is not kept")
        words = self.raw_requestline.decode("latin-1").split()
        fields = [[name.lower(), value.strip(" \t")] for name, value in self.headers._headers]
        body, trailers, whole = self.body()
        return {
            "start": " ".join(words),
            "fields": fields,
            "body": body.decode("latin-1"),
            "trailers": trailers,
            "whole": whole,
        }

    def body(self):
        codings = self.headers.get_all("Transfer-Encoding", [])
        lengths = self.headers.get_all("Content-Length", [])
        if codings and lengths or len(codings) > 1 or len(lengths) > 1:
            raise Broken("more than one length")
        if codings:
            if codings[0].strip().lower() != "chunked":
                raise Broken("an unknown coding")
            return self.chunks()
        length = int(lengths[0]) if lengths else 0
        body = self.rfile.read(min(length, 1 << 30))
        return body, [], len(body) == length

    def chunks(self):
        body = b""
        while True:
            line = self.rfile.readline()
            if not line.endswith(b"\n"):
                return body, [], False
            if not re.fullmatch(rb"[0-9A-Fa-f]+(;[^\r\n]*)?\r\n", line):
                raise Broken(f"no chunk: {line!r}")
            size = int(line.split(b";")[0], 16)
            if size == 0:
                return body, *self.trailers()
            data = self.rfile.read(min(size, 1 << 30))
            body += data
            end = self.rfile.read(2)
            if len(data) < size or len(end) < 2:
                return body, [], False
            if end != b"\r\n":
                raise Broken(f"no end of a chunk: {end!r}")

    def trailers(self):
        trailers = []
        while True:
            line = self.rfile.readline()
            if line == b"\r\n":
                return trailers, True
            if not line.endswith(b"\r\n"):
                return trailers, False
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon:
                raise Broken(f"no trailer: {line!r}")
            trailers.append([name.lower(), value.strip(" \t\r\n")])


class Stream(io.BytesIO):
    """Several responses are read from it, each of which would close it."""

    def close(self):
        pass

    def makefile(self, _mode):
        return self

    def read(self, amount=-1):
        # A length may be more than any file has.
        return super().read(-1 if amount is None else min(amount, 1 << 30))


def requests(data):
    handler, found = Handler(data), []
    try:
        while (request := handler.next()) is not None:
            found.append(request)
    except Broken as why:
        return {"messages": found, "broken": str(why), "left": 0}
    return {"messages": found, "broken": None, "left": 0}


def responses(data, heads):
    stream, found = Stream(data), []
    try:
        for head in heads:
            status = 100
            while 100 <= status < 200 and status != 101 and stream.tell() < len(data):
                response = http.client.HTTPResponse(stream, method="HEAD" if head else "GET")
                response.begin()
                status = response.status
                try:
                    body, whole = response.read(), True
                except http.client.IncompleteRead as why:
                    body, whole = why.partial, False
                fields = [[name.lower(), value.strip(" \t")] for name, value in response.headers._headers]
                found.append(
                    {
                        "start": f"HTTP/1.{response.version - 10} {status}",
                        "fields": fields,
                        "body": body.decode("latin-1"),
                        "trailers": [],
                        "whole": whole,
                    }
                )
    except (http.client.HTTPException, ValueError) as why:
        return {"messages": found, "broken": repr(why), "left": len(data) - stream.tell()}
    return {"messages": found, "broken": None, "left": len(data) - stream.tell()}


def main():
    questions, answers = sys.stdin.buffer, sys.stdout
    while kind := questions.read(1):
        heads = []
        if kind == b"s":
            (count,) = struct.unpack(">I", questions.read(4))
            heads = [flag == 1 for flag in questions.read(count)]
        (length,) = struct.unpack(">I", questions.read(4))
        data = questions.read(length)
        answer = requests(data) if kind == b"q" else responses(data, heads)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


main()
