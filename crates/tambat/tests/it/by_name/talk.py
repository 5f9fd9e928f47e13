"""Logs two users of two domains in at one port, and has each write to the other.

PORT starttls|direct CERTIFICATES USER@DOMAIN:PASSWORD USER@DOMAIN:PASSWORD
"""

import asyncio
import sys

import slixmpp

SECONDS_MAX = 25


class User(slixmpp.ClientXMPP):
    def __init__(self, account, certificates):
        jid, _, password = account.partition(":")
        super().__init__(jid, password)
        self.ca_certs = certificates
        self.ssl_context.check_hostname = True
        # The name that it asks for and verifies: none, where it is told an address.
        self.default_domain = self.boundjid.host
        self.present, self.read = asyncio.Event(), asyncio.Queue()
        self.add_event_handler("session_start", self.begin)
        self.add_event_handler("message", self.read.put_nowait)

    async def _pick_dns_answer(self, *_, **__):
        return None

    async def begin(self, _):
        self.send_presence()
        await self.get_roster()
        self.present.set()


async def main(port, how, certificates, *accounts):
    users = [User(account, certificates) for account in accounts]
    for user in users:
        direct = how == "direct"
        user.connect(("127.0.0.1", int(port)), use_ssl=direct, force_starttls=not direct, disable_starttls=direct)
    await asyncio.gather(*(user.present.wait() for user in users))
    for one, other in (users, reversed(users)):
        one.send_message(mto=other.boundjid.bare, mbody="ahoj", mtype="chat")
        message = await other.read.get()
        print(f"{other.boundjid.bare} read {message['body']} from {message['from'].bare}")
    await asyncio.gather(*(user.disconnect() for user in users))


asyncio.get_event_loop().run_until_complete(asyncio.wait_for(main(*sys.argv[1:]), SECONDS_MAX))
