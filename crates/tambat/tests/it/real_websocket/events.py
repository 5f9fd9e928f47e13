"""Server-sent events with Python's own library: `events.py serve` on PORT, `events.py read PORT HOST` reads them with urllib.

Each event is sent when somebody asks for /next, which the reader does when the one before it has come: whoever holds
one back stops everything. The answer has no length and no chunks: it ends with its connection.
"""

import http.server
import os
import queue
import signal
import sys
import threading
import urllib.request

EVENTS, BEATS = 20, 10
listeners = []


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/next":
            for listener in listeners:
                listener.put("next")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        waiting = queue.Queue()
        listeners.append(waiting)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            self.send_events(waiting)
        except OSError:
            listeners.remove(waiting)
            print("the reader has gone", flush=True)

    def send_events(self, waiting):
        number = 0
        self.wfile.write(b"data: event 0\n\n")
        while True:
            try:
                waiting.get(timeout=0.3)
                number += 1
                self.wfile.write(f"id: {number}\ndata: event {number}\n\n".encode())
            except queue.Empty:
                self.wfile.write(b": still here\n\n")

    def log_message(self, format, *args):
        pass


def serve():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
    server.daemon_threads = True
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print("listening on", server.server_address[1], flush=True)
    server.serve_forever()


def read(port, host):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(path):
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": f"{host}:{port}"})
        return opener.open(request, timeout=30)

    with get("/events") as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        number, beats = 0, 0
        while number <= EVENTS or beats < BEATS:
            line = stream.readline().decode()
            assert line, "the stream has ended"
            if line.startswith(":"):
                beats += 1
            elif line.startswith("data: "):
                assert line == f"data: event {number}\n", line
                number += 1
                if number <= EVENTS:
                    with get("/next") as answer:
                        assert answer.status == 200
    print("events was as it should be")


if sys.argv[1] == "serve":
    serve()
else:
    read(int(sys.argv[2]), sys.argv[3])
