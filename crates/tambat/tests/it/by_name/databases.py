"""psycopg and asyncpg against `one.example` and `two.example` at a port: databases.py PORT psycopg|asyncpg|passthrough."""

import asyncio
import ssl
import sys
import threading
import time

import asyncpg
import psycopg

PORT = int(sys.argv[1])
SLEEP = "select pg_sleep(300)"
LIMIT_S = 30


def until(look):
    deadline = time.monotonic() + LIMIT_S
    while not look():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def session(name, how=""):
    to = f"host={name}.example port={PORT} user=app dbname=postgres sslmode=verify-full sslrootcert=ca.pem {how}"
    return psycopg.connect(to, autocommit=True)


def cancelled(asking, looking, cancel):
    """Is the query of one session cancelled like this, once the other session sees it run?"""
    pid = asking.info.backend_pid
    runs = "select count(*) from pg_stat_activity where pid = %s and wait_event = 'PgSleep'"

    def when_it_runs():
        until(lambda: looking.execute(runs, [pid]).fetchone()[0] == 1)
        cancel()

    thread = threading.Thread(target=when_it_runs)
    thread.start()
    try:
        asking.execute(SLEEP)
        return False
    except psycopg.errors.QueryCanceled:
        return True
    finally:
        thread.join()


def by_psycopg():
    for how in ("", "sslnegotiation=direct"):
        for name in ("one", "two"):
            with session(name, how) as asking, session(name, how) as looking:
                print(asking.execute("show cluster_name").fetchone()[0])
                if cancelled(asking, looking, lambda: asking.cancel_safe(timeout=LIMIT_S)):
                    print("cancelled in TLS")
                if cancelled(asking, looking, asking.cancel):
                    print("cancelled in plain")
    try:
        session("nope")
    except psycopg.OperationalError as error:
        words = str(error)
        print(words[words.index("no server") :].splitlines()[0])


def through():
    for name in ("one", "two"):
        with session(name) as asking, session(name) as looking:
            print(asking.execute("show cluster_name").fetchone()[0])
            if cancelled(asking, looking, lambda: asking.cancel_safe(timeout=LIMIT_S)):
                print("cancelled in TLS")


def connect(**how):
    return asyncpg.connect(**{"port": PORT, "user": "app", "database": "postgres", "timeout": LIMIT_S, **how})


async def by_asyncpg():
    trust = ssl.create_default_context(cafile="ca.pem")
    direct = ssl.create_default_context(cafile="ca.pem")
    direct.set_alpn_protocols(["postgresql"])
    sleeps = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
    for context in (trust, direct):
        for name in ("one", "two"):
            there = {"host": f"{name}.example", "ssl": context, "direct_tls": context is direct}
            asking, looking = await connect(**there), await connect(**there)
            print(await asking.fetchval("show cluster_name"))
            try:
                await asking.execute(SLEEP, timeout=0.5)
            except asyncio.TimeoutError:
                print("timed out")
            deadline = time.monotonic() + LIMIT_S
            while await looking.fetchval(sleeps) != 0:
                assert time.monotonic() < deadline, "it runs on"
            assert await asking.fetchval("select 42") == 42
            print("nothing runs")
            await asking.close()
            await looking.close()
    for how, words in (
        ({"host": "one.example", "ssl": False}, "this connection has no TLS"),
        ({"host": "127.0.0.1", "ssl": "require"}, "this connection names none"),
        # As PostgreSQL 17 has it: TLS at once needs the protocol's name.
        ({"host": "one.example", "ssl": trust, "direct_tls": True}, "no application protocol"),
    ):
        try:
            await connect(**how)
        except (asyncpg.PostgresError, ssl.SSLError) as error:
            print(words if words in str(error) else error)


match sys.argv[2]:
    case "psycopg":
        by_psycopg()
    case "passthrough":
        through()
    case "asyncpg":
        asyncio.run(by_asyncpg())
