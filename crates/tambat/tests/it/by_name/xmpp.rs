//! Two ejabberd for two domains, behind one address for clients and one for servers.

use std::fs;

use super::sockets::{ask, loopback};
use crate::support::{AppDir, Apps, Base, Ca, Running, programs};

const TALK: &str = include_str!("talk.py");

/// The apps, their domains, and the user of each.
const DOMAINS: [(&str, &str, &str); 2] =
    [("one", "one.example", "alice@one.example:wonderland"), ("two", "two.example", "bob@two.example:builder")];

/// Both served, TLS being `off` (the app's own, by STARTTLS) or ended here.
struct Chats {
    dir: AppDir,
    clients: u16,
    servers: u16,
    _running: Running,
}

impl Chats {
    fn serve(tls: &str) -> Self {
        programs::ejabberd();
        programs::slixmpp();
        programs::dnsmasq();
        programs::openssl();
        let (apps, ca, Base(clients)) = (Apps::new(), Ca::new("chat CA"), Base::find());
        let [servers, names] = [clients + 1, clients + 2];
        apps.app("names", &dns(servers, names));
        for (name, domain, _) in DOMAINS {
            chat(&apps, name, domain, tls, [clients, servers, names]);
            ca.signs(&[domain]).write(&apps.dir, domain);
        }
        let certificates = DOMAINS.map(|(_, d, _)| format!("{{ chain = \"{d}.pem\", key = \"{d}.key\" }}")).join(", ");
        let config = format!("[router.tls]\ncertificates = [{certificates}]\n");
        let dir = apps.dir.clone().file("serve.toml", config).file("ca.pem", ca.pem());
        let running = apps.serve(&["--config", "serve.toml"]).running;
        running.out_line(&format!("listening 127.0.0.1:{clients} one/chat:c2s, two/chat:c2s"));
        running.out_line(&format!("listening 127.0.0.1:{servers} one/chat:s2s, two/chat:s2s"));
        Self { dir, clients, servers, _running: running }
    }

    /// The users of both domains write to each other, which the two servers carry through the router. The clients verify
    /// the certificate of their domain.
    fn talk(&self, how: &str, certificates: &str) {
        let [(_, _, alice), (_, _, bob)] = DOMAINS;
        let port = self.clients.to_string();
        let said = self.dir.program("/usr/bin/python3", &["-c", TALK, &port, how, certificates, alice, bob]).must_be(0);
        let read =
            "bob@two.example read ahoj from alice@one.example\nalice@one.example read ahoj from bob@two.example\n";
        assert_eq!(said.stdout, read, "{said:?}");
    }

    /// A stream's header of nobody's domain, and one without any, are answered in XMPP.
    fn refuses_others(&self) {
        for (port, of) in [(self.clients, "client"), (self.servers, "server")] {
            let at = loopback(port);
            let told = ask(at, &header(of, " to='three.example'"), "</stream:stream>");
            assert!(told.contains("<host-unknown "), "{told}");
            let told = ask(at, &header(of, ""), "</stream:stream>");
            assert!(told.contains("<improper-addressing "), "{told}");
        }
    }
}

/// A server of names, by which servers of either domain find the other's.
fn dns(servers: u16, listen: u16) -> String {
    let found =
        DOMAINS.map(|(_, domain, _)| format!("--srv-host=_xmpp-server._tcp.{domain},localhost,{servers}")).join(" ");
    format!(
        "[processes.dns]\nprotocol = \"dns\"\nlisten = \"127.0.0.1:{listen}\"\n\
         command = \"exec /usr/sbin/dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --pid-file --user= \
         --bind-interfaces --listen-address=127.0.0.1 --port=$PORT {found}\"\n"
    )
}

/// An app: the example's ejabberd, with this domain.
fn chat(apps: &Apps, name: &str, domain: &str, tls: &str, [clients, servers, names]: [u16; 3]) {
    let port = |listen: u16| {
        format!("{{ protocol = \"xmpp\", hosts = \"{domain}\", listen = \"127.0.0.1:{listen}\", tls = \"{tls}\" }}")
    };
    let (_, _, account) = DOMAINS[usize::from(name == "two")];
    let manifest = format!(
        "build = \"sh build.sh\"\n[processes.chat]\ncommand = \"export ERL_INETRC=$PWD/dns; exec sh ejabberd.sh\"\n\
         env = {{ ACCOUNTS = \"{}\" }}\n\
         [processes.chat.ports]\nc2s = {}\ns2s = {}\nhttp = \"http\"\n",
        account.replace(&format!("@{domain}"), ""),
        port(clients),
        port(servers),
    );
    let example = programs::repository().join("examples/ejabberd");
    let text = |file: &str| fs::read_to_string(example.join(file)).unwrap().replace("localhost", domain);
    let mut config = text("ejabberd.yml").replace("\nmodules:", "\nmodules:\n  mod_s2s_dialback: {}");
    config.push_str("s2s_use_starttls: optional\n");
    if tls == "terminate" {
        config = config.replace("starttls_required: true, ", "");
    }
    let dns = format!(
        "{{resolv_conf, \"\"}}.\n{{hosts_file, \"\"}}.\n{{nameserver, {{127,0,0,1}}, {names}}}.\n{{lookup, [dns]}}.\n"
    );
    apps.app(name, &manifest)
        .file("build.sh", text("build.sh"))
        .file("ejabberd.sh", text("ejabberd.sh"))
        .file("ejabberd.yml", config)
        .file("dns", dns);
}

fn header(of: &str, to: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:{of}' xmlns:stream='http://etherx.jabber.org/streams'{to} \
         version='1.0'>"
    )
}

#[test]
fn two_domains_share_an_address_with_tls_of_their_own() {
    let chats = Chats::serve("off");
    // They wait for the servers to start.
    let served = ask(loopback(chats.clients), &header("client", " to='two.example'"), "</stream:features>");
    assert!(served.contains("from='two.example'") && served.contains("<starttls "), "{served}");
    let served = ask(loopback(chats.servers), &header("server", " to='ONE.example'"), "</stream:features>");
    assert!(served.contains("xmlns='jabber:server'"), "{served}");
    let own = DOMAINS.map(|(name, ..)| fs::read_to_string(chats.dir.path().join(name).join("data/cert.pem")).unwrap());
    fs::write(chats.dir.path().join("own.pem"), own.concat()).unwrap();
    chats.talk("starttls", "own.pem");
    chats.refuses_others();
}

#[test]
fn two_domains_share_an_address_where_tls_ends() {
    let chats = Chats::serve("terminate");
    chats.talk("starttls", "ca.pem");
    chats.talk("direct", "ca.pem");
    chats.refuses_others();
    for (_, domain, _) in DOMAINS {
        let at = loopback(chats.clients).to_string();
        let args = ["-servername", domain, "-verify_hostname", domain, "-alpn", "xmpp-client", "-connect", &at];
        let said = chats.dir.program("openssl", &[&["s_client", "-CAfile", "ca.pem"], &args[..]].concat());
        for part in ["Verify return code: 0 (ok)", "ALPN protocol: xmpp-client"] {
            assert!(said.stdout.contains(part), "no {part} in {said:?}");
        }
    }
    let at = loopback(chats.clients).to_string();
    let refused = chats.dir.program("openssl", &["s_client", "-servername", "three.example", "-connect", &at]);
    assert!(refused.stderr.contains("unrecognized name"), "{refused:?}");
}
