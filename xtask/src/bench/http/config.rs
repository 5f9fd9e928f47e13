//! What each proxy is told. All do the same work, as far as they can: keep-alive on both sides, Via, X-Forwarded-For,
//! -Proto, -Host and -Port written anew, a request id made, forwarded and told in the answer.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use super::{contender::Contender, request};

/// What is behind the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    /// 1 KiB for each request.
    Small,
    /// 10 MiB.
    Large,
    /// An echo of messages.
    WebSocket,
}

impl Backend {
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
            Self::WebSocket => "websocket",
        }
    }
}

/// How clients speak to the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front<'a> {
    Plain,
    Tls(&'a Files),
}

/// A certificate as each of them wants it, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Files {
    /// Whose signature clients trust.
    pub(in super::super) authority: PathBuf,
    pub(in super::super) chain: PathBuf,
    pub(in super::super) key: PathBuf,
    /// Chain and key, as HAProxy has it.
    pub(in super::super) both: PathBuf,
}

/// What a proxy is set up with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) ports: Ports,
    pub(super) front: Front<'a>,
    /// Its own folder.
    pub(super) dir: &'a Path,
    pub(super) access_log: Option<&'a Path>,
}

/// Where a proxy listens, and where the server behind it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) proxy: u16,
    pub(super) server: u16,
}

/// Below the limit of 20,000 that many machines have, with room for two descriptors of each of 9,000 connections.
const OPEN_FILES: u32 = 20_000;

/// Two descriptors each, and some for HAProxy itself, which refuses to start with a number that it cannot serve.
const HAPROXY_CONNECTIONS: u32 = 9_850;

/// So far behind the other port of an nginx stands that for HTTP/2 without TLS.
pub(super) const HTTP2_PORTS: u16 = 400;

/// Hostnames are spread over so many routes, however many they are.
pub(super) const HOST_ROUTES: u32 = 10;

/// Of tambat: `tambat route --from` this. All else is as it comes.
pub(super) fn tambat(contender: Contender, place: &Place<'_>) -> String {
    let Ports { proxy, server } = place.ports;
    let mut text = match place.front {
        Front::Plain => format!("listen = [\"127.0.0.1:{proxy}\"]\n\n[router]\nworkers = 1\n"),
        Front::Tls(Files { chain, key, .. }) => format!(
            "listen_tls = [\"127.0.0.1:{proxy}\"]\n\n[router]\nworkers = 1\n\n\
             [router.tls]\ncertificates = [{{ chain = \"{}\", key = \"{}\" }}]\n",
            chain.display(),
            key.display()
        ),
    };
    let target = format!("targets = [\"127.0.0.1:{server}\"]\n");
    let Contender::TambatHosts(count) = contender else {
        return text + "\n[routes.app]\n" + &target;
    };
    for route in 0..HOST_ROUTES {
        let hosts = (route..count).step_by(HOST_ROUTES as usize).map(|nth| format!("{:?}", request::host(nth)));
        // Writing to a string cannot fail.
        let _ = write!(text, "\n[routes.r{route}]\nhosts = [{}]\n{target}", hosts.collect::<Vec<_>>().join(", "));
    }
    text
}

/// Of nginx. What is not here is as Debian's package has it.
pub(super) fn nginx(contender: Contender, place: &Place<'_>) -> String {
    let (dir, Ports { proxy, server }) = (place.dir.display(), place.ports);
    let log = match (place.access_log, contender) {
        (None, _) => "off".to_owned(),
        (Some(file), Contender::NginxLogBuffer) => format!("{} combined buffer=64k flush=1s", file.display()),
        (Some(file), _) => format!("{} combined", file.display()),
    };
    let (listen, tls) = match place.front {
        Front::Plain => ("", String::new()),
        // TLS 1.3 is not among what 1.22 takes by itself.
        Front::Tls(Files { chain, key, .. }) => (
            "ssl http2 ",
            format!(
                "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3;\n",
                chain.display(),
                key.display()
            ),
        ),
    };
    let (id, answer_id) = match contender {
        Contender::NginxNoId => ("", ""),
        _ => ("proxy_set_header X-Request-ID $request_id;", "add_header X-Request-ID $request_id always;"),
    };
    let buffers = match contender {
        Contender::NginxBuffers => {
            "proxy_buffer_size 64k; proxy_buffers 16 64k; proxy_busy_buffers_size 512k; proxy_max_temp_file_size 0;"
        }
        _ => "",
    };
    let http2 = match contender {
        Contender::NginxHttp2 => format!("listen 127.0.0.1:{} http2 backlog=4096;\n", contender.http2_port(proxy)),
        _ => String::new(),
    };
    format!(
        "daemon off;\nuser root;\npid {dir}/nginx.pid;\nerror_log stderr warn;\n\
         worker_processes 1;\nworker_rlimit_nofile {OPEN_FILES};\n\
         events {{ worker_connections {OPEN_FILES}; }}\n\
         http {{\n\
         access_log {log};\n\
         client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;\n\
         uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;\n\
         keepalive_timeout 75s; keepalive_requests 1000000000;\n\
         map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n\
         upstream app {{\n\
         server 127.0.0.1:{server};\n\
         keepalive {OPEN_FILES}; keepalive_requests 1000000000; keepalive_timeout 50s;\n\
         }}\n\
         server {{\n\
         listen 127.0.0.1:{proxy} {listen}backlog=4096;\n{http2}{tls}\
         location / {{\n\
         proxy_pass http://app; proxy_http_version 1.1;\n\
         proxy_set_header Host $http_host;\n\
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;\n\
         proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;\n\
         proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Port $server_port;\n\
         proxy_set_header Via \"1.1 nginx\"; add_header Via \"1.1 nginx\" always;\n\
         {id} {answer_id} {buffers}\n\
         }}\n}}\n}}\n"
    )
}

/// Of HAProxy. What is not here is its default. Where there is a log it goes to its standard output. It gives up kept-alive connections to
/// servers while a quarter of its descriptors is used, unless told otherwise: with 9,000 connections it would have none.
pub(super) fn haproxy(contender: Contender, place: &Place<'_>) -> String {
    let Ports { proxy, server } = place.ports;
    let (pipes, splice) = match contender {
        // Two descriptors each, and a quarter of all connections would have one.
        Contender::HaproxySplice => {
            ("  maxpipes 32\n", "  option splice-auto\n  option splice-request\n  option splice-response\n")
        }
        _ => ("", ""),
    };
    let (log_to, log) = match place.access_log {
        Some(_) => ("  log stdout format raw local0\n", "  log global\n  option httplog\n"),
        None => ("", ""),
    };
    let (tls, scheme) = match place.front {
        Front::Plain => (String::new(), "http"),
        Front::Tls(Files { both, .. }) => (format!("ssl crt {} alpn h2,http/1.1 ", both.display()), "https"),
    };
    format!(
        "global\n  nbthread 1\n  maxconn {HAPROXY_CONNECTIONS}\n{pipes}{log_to}\
         \x20 tune.pool-low-fd-ratio 98\n  tune.pool-high-fd-ratio 99\n\
         defaults\n  mode http\n{log}{splice}  http-reuse always\n\
         \x20 timeout connect 5s\n  timeout client 75s\n  timeout server 55s\n  timeout http-request 10s\n\
         \x20 timeout http-keep-alive 75s\n  timeout tunnel 1h\n\
         frontend web\n  bind 127.0.0.1:{proxy} {tls}backlog 4096\n\
         \x20 unique-id-format %[uuid]\n  unique-id-header X-Request-ID\n\
         \x20 http-request set-header X-Forwarded-For %[src]\n  http-request set-header X-Forwarded-Proto {scheme}\n\
         \x20 http-request set-header X-Forwarded-Host %[req.hdr(host)]\n\
         \x20 http-request set-header X-Forwarded-Port %[dst_port]\n\
         \x20 http-request add-header Via \"1.1 haproxy\"\n\
         \x20 http-response set-header X-Request-ID %[unique-id]\n  http-response add-header Via \"1.1 haproxy\"\n\
         \x20 default_backend app\n\
         backend app\n  server s 127.0.0.1:{server}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place<'a>(front: Front<'a>, access_log: Option<&'a Path>) -> Place<'a> {
        Place { ports: Ports { proxy: 81, server: 82 }, front, dir: Path::new("/d"), access_log }
    }

    #[test]
    fn hostnames_are_spread_and_none_is_lost() {
        let tambat = |contender| tambat(contender, &place(Front::Plain, None));
        for count in [10, 1_000] {
            let text = tambat(Contender::TambatHosts(count));
            assert_eq!(text.matches("[routes.").count(), 10, "{count}");
            assert_eq!(text.matches(".example\"").count(), count as usize);
            assert!((0..count).all(|nth| text.contains(&format!("{:?}", request::host(nth)))), "{count}");
        }
        assert_eq!(tambat(Contender::Tambat).matches("[routes.").count(), 1);
    }

    #[test]
    fn each_setting_is_where_its_name_says_and_nowhere_else() {
        let nginx = |contender| nginx(contender, &place(Front::Plain, Some(Path::new("/l"))));
        let has = |contender, what| nginx(contender).contains(what);
        assert!(has(Contender::Nginx, "$request_id") && !has(Contender::NginxNoId, "$request_id"));
        assert!(has(Contender::NginxLogBuffer, "buffer=64k") && !has(Contender::Nginx, "buffer="));
        assert!(has(Contender::NginxHttp2, "listen 127.0.0.1:481 http2 ") && !has(Contender::Nginx, "http2"));
        assert!(has(Contender::NginxBuffers, "proxy_buffers") && !has(Contender::Nginx, "proxy_buffers"));
        let haproxy = |contender| haproxy(contender, &place(Front::Plain, None));
        assert!(haproxy(Contender::HaproxySplice).contains("splice-response"));
        assert!(!haproxy(Contender::Haproxy).contains("splice"));
    }

    #[test]
    fn all_speak_tls_with_the_same_certificate_or_none_does() {
        let of = |name: &str| PathBuf::from(name);
        let files = Files { authority: of("/ca"), chain: of("/chain"), key: of("/key"), both: of("/both") };
        let texts = |front| {
            let place = place(front, None);
            let tambat = tambat(Contender::Tambat, &place);
            [tambat, nginx(Contender::Nginx, &place), haproxy(Contender::Haproxy, &place)]
        };
        let [tambat, nginx, haproxy] = texts(Front::Tls(&files));
        assert!(tambat.contains("listen_tls = ") && !tambat.contains("listen = "), "{tambat}");
        assert!(tambat.contains("chain = \"/chain\", key = \"/key\""), "{tambat}");
        assert!(nginx.contains("listen 127.0.0.1:81 ssl http2 backlog=4096;"), "{nginx}");
        assert!(nginx.contains("ssl_certificate /chain; ssl_certificate_key /key;"), "{nginx}");
        assert!(haproxy.contains("bind 127.0.0.1:81 ssl crt /both alpn h2,http/1.1 backlog 4096"), "{haproxy}");
        assert!(haproxy.contains("X-Forwarded-Proto https\n"), "{haproxy}");
        for text in texts(Front::Plain) {
            assert!(!text.contains("tls") && !text.contains("ssl") && !text.contains("/chain"), "{text}");
        }
    }
}
