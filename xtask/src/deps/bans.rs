//! Crates that we do without, each with the reason.

use crate::metadata::Metadata;

/// How far a ban reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Not anywhere in what is linked.
    Anywhere,
    /// Not in our own manifests; what others bring is theirs to decide.
    Direct,
}

struct Ban {
    name: &'static str,
    reach: Reach,
    reason: &'static str,
}

const BANS: &[Ban] = &[
    Ban { name: "openssl", reach: Reach::Anywhere, reason: "TLS here is rustls: nothing of the system's to link" },
    Ban { name: "openssl-sys", reach: Reach::Anywhere, reason: "TLS here is rustls: nothing of the system's to link" },
    Ban { name: "native-tls", reach: Reach::Anywhere, reason: "TLS here is rustls: nothing of the system's to link" },
    Ban { name: "async-std", reach: Reach::Anywhere, reason: "one runtime: tokio, current-thread" },
    Ban {
        name: "reqwest",
        reach: Reach::Anywhere,
        reason: "our clients dial a unix socket or loopback: hyper does it",
    },
    Ban { name: "serde_yaml", reach: Reach::Anywhere, reason: "no longer maintained, and we read no YAML" },
    Ban { name: "procfs", reach: Reach::Direct, reason: "tambat-os reads the few files of /proc that it needs" },
    Ban { name: "ctrlc", reach: Reach::Direct, reason: "signals are events of the control thread" },
    Ban { name: "dotenvy", reach: Reach::Direct, reason: "the grammar of .env is ours, with line numbers" },
    Ban { name: "lazy_static", reach: Reach::Direct, reason: "no static state; std::sync::LazyLock elsewhere" },
    Ban { name: "once_cell", reach: Reach::Direct, reason: "std::cell::OnceCell and std::sync::OnceLock are the same" },
    Ban { name: "num_cpus", reach: Reach::Direct, reason: "std::thread::available_parallelism" },
    Ban { name: "async-trait", reach: Reach::Direct, reason: "traits have async functions of their own" },
    Ban { name: "anyhow", reach: Reach::Direct, reason: "errors are types: who is to blame, and what to try next" },
];

/// One line for each banned crate that is there after all, with who asks for it.
pub(super) fn broken(metadata: &Metadata) -> Vec<String> {
    judge(metadata, BANS)
}

fn judge(metadata: &Metadata, bans: &[Ban]) -> Vec<String> {
    let mut lines = Vec::new();
    for ban in bans {
        let askers = metadata
            .packages
            .iter()
            .filter(|package| package.ours || ban.reach == Reach::Anywhere)
            .filter(|package| package.dependencies.iter().any(|dependency| dependency.name == ban.name));
        let linked = metadata.packages.iter().any(|package| package.name == ban.name);
        let askers: Vec<&str> = askers.map(|package| package.name.as_str()).collect();
        if linked && !askers.is_empty() {
            lines.push(format!("cannot accept {} (asked for by {}): {}", ban.name, askers.join(", "), ban.reason));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{
        "workspace_members": ["quay"],
        "packages": [
            {"id": "quay", "name": "quay", "version": "1.0.0", "license": null, "dependencies": [{"name": "rope", "kind": null}]},
            {"id": "rope", "name": "rope", "version": "1.0.0", "license": null,
             "dependencies": [{"name": "hemp", "kind": null}, {"name": "winch", "kind": null}]},
            {"id": "hemp", "name": "hemp", "version": "1.0.0", "license": null, "dependencies": []}
        ]}"#;

    fn judged(name: &'static str, reach: Reach) -> Vec<String> {
        judge(&Metadata::parse(SAMPLE).unwrap(), &[Ban { name, reach, reason: "it rots" }])
    }

    #[test]
    fn a_ban_anywhere_reaches_what_others_bring() {
        assert_eq!(judged("hemp", Reach::Anywhere), ["cannot accept hemp (asked for by rope): it rots"]);
        assert_eq!(judged("rope", Reach::Anywhere), ["cannot accept rope (asked for by quay): it rots"]);
    }

    #[test]
    fn a_direct_ban_reaches_our_own_manifests_only() {
        assert_eq!(judged("hemp", Reach::Direct), Vec::<String>::new());
        assert_eq!(judged("rope", Reach::Direct).len(), 1);
    }

    #[test]
    fn what_is_asked_for_elsewhere_but_not_linked_here_is_no_offence() {
        assert_eq!(judged("winch", Reach::Anywhere), Vec::<String>::new());
    }
}
