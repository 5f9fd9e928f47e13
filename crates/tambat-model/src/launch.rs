//! The environment of an instance, put together from its sources.

use crate::{
    Environment, HandleState, InstanceName, InstancePort, Layer, Plan, PortKey, PortName, ProcessPlan, Protocol,
    ServicePort, Source, VarName, Wiring,
};

/// The ports one instance is told to bind, in the order of its plan.
pub type InstancePorts = [(Option<PortName>, InstancePort)];

/// The roots that OpenSSL and much else believe, in one file, in place of the system's.
const ROOTS_FILE: &str = "SSL_CERT_FILE";

/// The same as a folder. Who says this has said whom to believe: the system's roots, which the file has, too, are no
/// addition of ours to make.
const ROOTS_FOLDER: &str = "SSL_CERT_DIR";

/// What an instance finds in its environment. `layers` are the sources that every process of the app shares: the
/// command line, `.env` files, the shell, and what the local CA adds. Without an instance (a one-off command) there are no
/// ports and no `PS`.
pub fn instance_environment(
    plan: &Plan,
    wiring: &Wiring,
    layers: &[Layer],
    process: &ProcessPlan,
    instance: Option<(&InstanceName, &InstancePorts)>,
) -> Environment {
    let mut all = layers.to_vec();
    if instance.is_none() {
        // A one-off command must not bind a port that is somebody else's: no PORT, not even the shell's.
        all.retain(|layer| layer.name != "PORT");
    }
    all.push(layer(Source::Default, "HOST", "127.0.0.1"));
    all.extend(process.env.iter().map(|(name, value)| layer(Source::Manifest, name.as_str(), value)));
    for handle in wiring.handles(plan, &process.name) {
        if let HandleState::Wired(url) | HandleState::Attached(url) = &handle.state {
            all.push(layer(Source::Handle(handle.provider.to_string()), handle.var.as_str(), url.reveal()));
        }
    }
    if let Some((name, ports)) = instance {
        all.push(layer(Source::Tambat, "PS", &name.to_string()));
        all.extend(port_layers(ports));
        if let Some(url) = published_url(wiring, process).or_else(|| public_url(wiring, process)) {
            all.push(layer(Source::Tambat, "TAMBAT_URL", &url));
        }
    }
    if all.iter().any(|layer| layer.name == ROOTS_FOLDER) {
        all.retain(|layer| layer.name != ROOTS_FILE || layer.source != Source::LocalCa);
    }
    Environment::compose(all)
}

/// Where everybody reaches a process's first port, if a server has published it: `https://shop.example.com`.
fn published_url(wiring: &Wiring, process: &ProcessPlan) -> Option<String> {
    wiring.published.get(&first_key(process)?).cloned()
}

/// Where people reach a process's first port from this machine: `http://localhost:5000`.
pub fn public_url(wiring: &Wiring, process: &ProcessPlan) -> Option<String> {
    let first = process.ports.first()?;
    wiring.service_ports.get(&first_key(process)?).map(|port| url_at(first.protocol, "localhost", port))
}

fn first_key(process: &ProcessPlan) -> Option<PortKey> {
    Some(PortKey { process: process.name.clone(), port: process.ports.first()?.name.clone() })
}

/// The URL of a protocol at a host and a service port.
pub fn url_at(protocol: Protocol, host: &str, port: ServicePort) -> String {
    format!("{}://{host}:{port}", protocol.scheme())
}

fn port_layers(ports: &InstancePorts) -> impl Iterator<Item = Layer> {
    let first = ports.first().map(|(_, port)| (VarName::reserved("PORT"), *port));
    let named = ports.iter().filter_map(|(name, port)| Some((name.as_ref()?.variable(), *port)));
    first.into_iter().chain(named).map(|(var, port)| layer(Source::Tambat, var.as_str(), &port.to_string()))
}

fn layer(source: Source, name: &str, value: &str) -> Layer {
    Layer { source, name: name.to_owned(), value: value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{plan, process};

    fn of(layers: &[Layer], name: &str) -> Option<String> {
        let plan = plan(vec![process("web", None, &[])]);
        let environment = instance_environment(&plan, &Wiring::default(), layers, &plan.processes()[0], None);
        environment.get(name).map(|setting| format!("{} {}", setting.value, setting.source))
    }

    #[test]
    fn the_local_ca_is_believed_where_nobody_says_whom_to_believe() {
        let ours = [layer(Source::LocalCa, "NODE_EXTRA_CA_CERTS", "/ca"), layer(Source::LocalCa, ROOTS_FILE, "/all")];
        assert_eq!(of(&ours, ROOTS_FILE).unwrap(), "/all local CA");
        let with = |name: &str| [&ours[..], &[layer(Source::Shell, name, "/theirs")]].concat();
        assert_eq!(of(&with(ROOTS_FILE), ROOTS_FILE).unwrap(), "/theirs shell");
        assert_eq!(of(&with(ROOTS_FOLDER), ROOTS_FILE), None, "their folder is all they believe");
        assert_eq!(of(&with(ROOTS_FOLDER), "NODE_EXTRA_CA_CERTS").unwrap(), "/ca local CA", "Node.js adds to its own");
        let both = [&with(ROOTS_FOLDER)[..], &[layer(Source::Shell, ROOTS_FILE, "/theirs")]].concat();
        assert_eq!(of(&both, ROOTS_FILE).unwrap(), "/theirs shell");
    }
}
