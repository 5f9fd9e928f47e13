"""Handshakes for many names that nobody has asked for before: flood.py PORT PREFIX COUNT. Says how each kind of them ended."""

import collections
import concurrent.futures
import socket
import ssl
import sys

PORT, PREFIX, COUNT = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
AT_ONCE, LIMIT_S = 16, 60

context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE


def shake(number):
    with socket.create_connection(("127.0.0.1", PORT), LIMIT_S) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=f"{PREFIX}{number}.any.example"):
                return "served"
        except ssl.SSLError as error:
            return "refused" if error.reason == "TLSV1_UNRECOGNIZED_NAME" else str(error.reason)
        except OSError as error:
            return type(error).__name__


with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
    ends = collections.Counter(pool.map(shake, range(COUNT)))
print(*(f"{end} {count}" for end, count in sorted(ends.items())), sep="\n")
