//! `tambat ps`.

use std::path::Path;
use std::process::ExitCode;

use tambat_api::{AppStatus, InstanceStatus, ProcessStatus};

use super::running::{Running, block_on};
use crate::entrances::reached;
use crate::failure::Failure;
use crate::output;

/// `tambat ps`.
pub(crate) fn run(dir: &Path, json: bool) -> Result<ExitCode, Failure> {
    let running = block_on(Running::find(dir))?;
    if json {
        output::print_json(&running.status);
    } else {
        output::print(&show(&running.status));
    }
    Ok(ExitCode::SUCCESS)
}

/// Fits into 80 columns where names are short: what is long, the URL, comes last.
fn show(status: &AppStatus) -> String {
    let header = ["PROCESS", "STATE", "PID", "LISTENS", "OPEN", "RESTARTS", "URL"].map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(status.processes.iter().flat_map(rows)).collect();
    let mut text = format!("{} in {}, pid {}\n\n{}", status.app, status.dir, status.pid, output::table(&rows));
    let https = status.processes.iter().flat_map(|p| &p.ports).find_map(|port| port.https_names.first());
    for (more, below) in [(names(status), https), (handles(status), None)] {
        if more.len() > 1 {
            text.push_str("\n\n");
            text.push_str(&output::table(&more));
        }
        if let Some(url) = below {
            text.push_str(&format!("\n\nhttps, too: {url}"));
        }
    }
    for (name, cause) in causes(status) {
        text.push_str(&format!("\n\n{name}: {cause}"));
    }
    for instance in status.processes.iter().flat_map(|p| &p.instances).filter(|i| i.exposed) {
        let address = instance.address.as_deref().unwrap_or_default();
        text.push_str(&format!(
            "\n\n{}: listens on {address}: other machines may reach it past the router;\n  HOST says where it should listen",
            instance.name
        ));
    }
    text
}

fn rows(process: &ProcessStatus) -> Vec<Vec<String>> {
    let urls: Vec<String> = process
        .ports
        .iter()
        .map(|p| p.name.as_ref().map_or_else(|| p.url.clone(), |name| format!("{name} {}", p.url)))
        .collect();
    let first = urls.first().cloned().unwrap_or_else(|| "-".to_owned());
    let none = || "-".to_owned();
    let mut rows: Vec<Vec<String>> = match process.instances.as_slice() {
        [] => vec![vec![process.name.clone(), process.state.clone(), none(), none(), none(), none(), first]],
        instances => instances.iter().map(|i| instance(process, i, &first)).collect(),
    };
    let more = |url| std::iter::repeat_n(String::new(), 6).chain([url]).collect();
    rows.extend(urls.into_iter().skip(1).map(more));
    rows
}

fn instance(process: &ProcessStatus, instance: &InstanceStatus, url: &str) -> Vec<String> {
    let paused = process.state == "paused" && instance.state == "ready";
    let state = if paused { "paused" } else { instance.state.as_str() };
    let state = if process.worker && state == "ready" { "running" } else { state };
    let pid = instance.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    vec![
        instance.name.clone(),
        state.to_owned(),
        pid,
        listens(instance.address.as_deref()),
        instance.open.to_string(),
        instance.restarts.to_string(),
        url.to_owned(),
    ]
}

/// The port is enough where the address is the usual one. Before it is bound there is nothing to tell.
fn listens(address: Option<&str>) -> String {
    match address {
        None => "-".to_owned(),
        Some(told) if told.starts_with("PORT ") => "not yet".to_owned(),
        Some(address) => address.strip_prefix("127.0.0.1").unwrap_or(address).to_owned(),
    }
}

/// Where browsers reach what speaks HTTP, beside its number; then its hostnames elsewhere.
fn names(status: &AppStatus) -> Vec<Vec<String>> {
    let header = ["OF", "NAME"].map(str::to_owned).to_vec();
    let ports = status.processes.iter().flat_map(|p| p.ports.iter().map(move |port| (p, port)));
    let rows = ports.flat_map(|(process, port)| {
        let of = port.name.as_ref().map_or_else(|| process.name.clone(), |port| format!("{}:{port}", process.name));
        let listens = port.listens.iter().map(|at| reached(&at.address, &at.tls, &at.hosts, at.fallback));
        let names = port.names.iter().chain(&port.hosts).cloned().chain(listens);
        names.map(move |name| vec![of.clone(), name])
    });
    std::iter::once(header).chain(rows).collect()
}

fn handles(status: &AppStatus) -> Vec<Vec<String>> {
    let header = ["HANDLE", "OF", "PROVIDER", "URL"].map(str::to_owned).to_vec();
    let rows = status.processes.iter().flat_map(|p| {
        p.uses.iter().map(|u| {
            let provider = if u.attached { format!("{} (attached)", u.provider) } else { u.provider.clone() };
            vec![u.variable.clone(), p.name.clone(), provider, u.url.clone().unwrap_or_else(|| "-".to_owned())]
        })
    });
    std::iter::once(header).chain(rows).collect()
}

fn causes(status: &AppStatus) -> Vec<(&str, &str)> {
    let of_instances = status.processes.iter().flat_map(|p| &p.instances);
    let told = of_instances.filter_map(|i| Some((i.name.as_str(), i.cause.as_deref()?)));
    // A cause begins with the name, most often.
    told.map(|(name, cause)| (name, cause.strip_prefix(name).map_or(cause, str::trim_start))).collect()
}
