//! What each proxy is told. What is not here is its default.

use std::{fmt, path::Path};

use super::{super::http::Files, hello::NAME, peer::Peer};

/// How clients reach the server behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// At a port of its own.
    Plain,
    /// By the name in a TLS handshake that is the server's.
    Sni,
    /// Over TLS, which the proxy ends.
    Tls,
}

impl Front {
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::Sni, Self::Tls];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Sni => "sni",
            Self::Tls => "tls",
        }
    }
}

impl fmt::Display for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "a port of its own",
            Self::Sni => "by SNI, passed through",
            Self::Tls => "TLS ended by the proxy",
        })
    }
}

/// Where a proxy listens, what is behind it, and what it shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) proxy: u16,
    pub(super) server: u16,
    pub(super) protocol: &'a str,
    pub(super) front: Front,
    pub(super) files: Option<&'a Files>,
    /// Its own folder.
    pub(super) dir: &'a Path,
}

/// Below the limit of 20,000 that many machines have.
const OPEN_FILES: u32 = 20_000;

/// Two descriptors each, and some for HAProxy itself, which refuses to start with a number that it cannot serve.
const HAPROXY_CONNECTIONS: u32 = 9_850;

/// As many pipes as streams are measured with at once, and some: two descriptors each.
const HAPROXY_PIPES: u32 = 100;

/// Of `tambat route --from` this.
pub(super) fn tambat(place: &Place<'_>) -> String {
    let Place { proxy, server, protocol, .. } = place;
    let (tls, certificates) = match (place.front, place.files) {
        (Front::Plain, _) | (Front::Tls, None) => (String::new(), String::new()),
        (Front::Sni, _) => (format!("tls = \"passthrough\"\nhosts = \"{NAME}\"\n"), String::new()),
        (Front::Tls, Some(Files { chain, key, .. })) => (
            format!("tls = \"terminate\"\nhosts = \"{NAME}\"\n"),
            format!(
                "[router.tls]\ncertificates = [{{ chain = \"{}\", key = \"{}\" }}]\n",
                chain.display(),
                key.display()
            ),
        ),
    };
    format!(
        "[router]\nworkers = 1\n{certificates}[routes.app]\nprotocol = \"{protocol}\"\nlisten = \"127.0.0.1:{proxy}\"\n\
         targets = \"127.0.0.1:{server}\"\n{tls}"
    )
}

/// Of nginx.
pub(super) fn nginx(peer: Peer, place: &Place<'_>) -> String {
    let (dir, Place { proxy, server, .. }) = (place.dir.display(), place);
    let buffers = if peer == Peer::NginxBuffers { "proxy_buffer_size 64k;" } else { "" };
    let (listen, server) = match (place.front, place.files) {
        (Front::Plain, _) | (Front::Tls, None) => ("", format!("proxy_pass 127.0.0.1:{server};")),
        (Front::Sni, _) => ("", "ssl_preread on; proxy_pass $by_name;".to_owned()),
        (Front::Tls, Some(Files { chain, key, .. })) => (
            "ssl ",
            format!(
                "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3; proxy_pass 127.0.0.1:{server};",
                chain.display(),
                key.display()
            ),
        ),
    };
    let by_name = match place.front {
        Front::Sni => format!("map $ssl_preread_server_name $by_name {{ {NAME} 127.0.0.1:{}; }}\n", place.server),
        Front::Plain | Front::Tls => String::new(),
    };
    format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         daemon off;\nuser root;\npid {dir}/nginx.pid;\nerror_log stderr warn;\n\
         worker_processes 1;\nworker_rlimit_nofile {OPEN_FILES};\n\
         events {{ worker_connections {OPEN_FILES}; }}\n\
         stream {{\n{by_name}\
         server {{\nlisten 127.0.0.1:{proxy} {listen}backlog=4096;\ntcp_nodelay on;\n{buffers}\n{server}\n}}\n}}\n"
    )
}

/// Of HAProxy.
pub(super) fn haproxy(peer: Peer, place: &Place<'_>) -> String {
    let Place { proxy, server, .. } = place;
    let (pipes, splice) = if peer == Peer::HaproxySplice {
        (format!("  maxpipes {HAPROXY_PIPES}\n"), "  option splice-request\n  option splice-response\n")
    } else {
        (String::new(), "")
    };
    let connections =
        if peer == Peer::HaproxySplice { HAPROXY_CONNECTIONS - HAPROXY_PIPES } else { HAPROXY_CONNECTIONS };
    let (tls, rules) = match (place.front, place.files) {
        (Front::Plain, _) | (Front::Tls, None) => (String::new(), "  default_backend app\n".to_owned()),
        (Front::Sni, _) => (
            String::new(),
            format!(
                "  tcp-request inspect-delay 3s\n  tcp-request content accept if {{ req_ssl_hello_type 1 }}\n\
                 \x20 use_backend app if {{ req_ssl_sni -i {NAME} }}\n"
            ),
        ),
        (Front::Tls, Some(Files { both, .. })) => {
            (format!("ssl crt {} ", both.display()), "  default_backend app\n".to_owned())
        }
    };
    format!(
        "global\n  nbthread 1\n  maxconn {connections}\n{pipes}\
         defaults\n  mode tcp\n{splice}  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
         frontend in\n  bind 127.0.0.1:{proxy} {tls}backlog 4096\n{rules}\
         backend app\n  server s 127.0.0.1:{server}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(front: Front) -> [String; 3] {
        let of = std::path::PathBuf::from;
        let files = Files { authority: of("/ca"), chain: of("/chain"), key: of("/key"), both: of("/both") };
        let place = Place { proxy: 81, server: 82, protocol: "tcp", front, files: Some(&files), dir: Path::new("/d") };
        [tambat(&place), nginx(Peer::Nginx, &place), haproxy(Peer::Haproxy, &place)]
    }

    #[test]
    fn all_tell_names_apart_or_none_does() {
        assert!(texts(Front::Sni).iter().all(|text| text.contains(NAME)));
        assert!(texts(Front::Plain).iter().all(|text| !text.contains(NAME) && !text.contains("/chain")));
    }

    #[test]
    fn all_end_tls_with_the_same_certificate_or_none_does() {
        let [tambat, nginx, haproxy] = texts(Front::Tls);
        assert!(tambat.contains("tls = \"terminate\"") && tambat.contains("chain = \"/chain\""), "{tambat}");
        assert!(nginx.contains("81 ssl backlog") && nginx.contains("ssl_certificate /chain;"), "{nginx}");
        assert!(haproxy.contains("ssl crt /both"), "{haproxy}");
    }

    #[test]
    fn each_setting_is_where_its_name_says_and_nowhere_else() {
        let place =
            Place { proxy: 1, server: 2, protocol: "tcp", front: Front::Plain, files: None, dir: Path::new("/") };
        assert!(haproxy(Peer::HaproxySplice, &place).contains("splice-request"));
        assert!(!haproxy(Peer::Haproxy, &place).contains("splice"));
        assert!(nginx(Peer::NginxBuffers, &place).contains("64k") && !nginx(Peer::Nginx, &place).contains("64k"));
    }
}
