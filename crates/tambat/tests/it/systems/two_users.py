"""Logs two users in over STARTTLS, trusting one certificate, and has one write to the other. PORT CERTIFICATE USER:PASSWORD..."""

import asyncio
import sys

import slixmpp

SECONDS_MAX = 25


class User(slixmpp.ClientXMPP):
    def __init__(self, account, certificate):
        name, _, password = account.partition(":")
        super().__init__(f"{name}@localhost", password)
        self.ca_certs = certificate
        self.present, self.read = asyncio.Event(), asyncio.Queue()
        self.add_event_handler("session_start", self.begin)
        self.add_event_handler("message", self.read.put_nowait)

    async def begin(self, _):
        self.send_presence()
        await self.get_roster()
        self.present.set()


async def main(port, certificate, *accounts):
    one, other = (User(account, certificate) for account in accounts)
    for user in (one, other):
        user.connect(("127.0.0.1", int(port)), force_starttls=True)
    await asyncio.gather(one.present.wait(), other.present.wait())
    one.send_message(mto=other.boundjid.bare, mbody="ahoj", mtype="chat")
    message = await other.read.get()
    print(f"{other.boundjid.bare} read {message['body']} from {message['from'].bare}")
    await asyncio.gather(one.disconnect(), other.disconnect())


asyncio.get_event_loop().run_until_complete(asyncio.wait_for(main(*sys.argv[1:]), SECONDS_MAX))
