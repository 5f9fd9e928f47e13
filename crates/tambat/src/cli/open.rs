//! `tambat url` and `tambat open`.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use tambat_api::PortStatus;

use super::public_url::public_urls;
use super::running::{Running, block_on};
use super::{OpenArgs, UrlArgs};
use crate::failure::Failure;
use crate::output;

/// `tambat url [PROCESS[:PORT]]`.
pub(crate) fn url(dir: &Path, args: &UrlArgs) -> Result<ExitCode, Failure> {
    let port = block_on(port(dir, args.process.as_deref()))?;
    if args.json {
        output::print_json(&port);
    } else {
        let public = if args.public { Some(public_url(&port, args.process.as_deref())?) } else { None };
        output::print(public.as_deref().map_or_else(|| url_of(&port, args.https), Ok)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// `tambat open [PROCESS]`.
pub(crate) fn open(dir: &Path, args: &OpenArgs) -> Result<ExitCode, Failure> {
    let port = block_on(port(dir, args.process.as_deref()))?;
    if port.protocol != "http" {
        return Err(Failure::usage(format!("cannot open {} in a browser: it speaks {}", port.url, port.protocol)));
    }
    let url = url_of(&port, args.https)?;
    let browser = std::env::var_os("BROWSER").filter(|b| !b.is_empty()).unwrap_or_else(|| "xdg-open".into());
    let opened = Command::new(&browser).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).status();
    match opened {
        Ok(status) if status.success() => {
            output::say(url);
            Ok(ExitCode::SUCCESS)
        }
        Ok(status) => Err(Failure::new(format!("cannot open {}: {} ended with {status}", url, browser.display()))),
        Err(error) => Err(Failure::new(format!(
            "cannot open {}: cannot run {}: {error}; set BROWSER, or visit it yourself",
            url,
            browser.display()
        ))),
    }
}

/// The URL of a port; over TLS the name that people visit first.
fn url_of(port: &PortStatus, https: bool) -> Result<&str, Failure> {
    if !https {
        return Ok(&port.url);
    }
    port.https_names.first().map(String::as_str).ok_or_else(|| match port.protocol.as_str() {
        "http" => Failure::new(format!("{} is not served over https: `tambat logs tambat` says why", port.url)),
        other => Failure::usage(format!("cannot say a URL of https for {}: it speaks {other}", port.url)),
    })
}

/// The URL of a port for who is on another machine.
fn public_url(port: &PortStatus, named: Option<&str>) -> Result<String, Failure> {
    public_urls(port).into_iter().next().ok_or_else(|| {
        let which = named.unwrap_or(&port.url);
        Failure::new(format!(
            "cannot say where {which} is reached from other machines: nothing says by which name or address they know this \
             one; write `hosts` beside its `listen`, or an address there that others reach; or serve it (`tambat serve`)"
        ))
    })
}

async fn port(dir: &Path, named: Option<&str>) -> Result<PortStatus, Failure> {
    let running = Running::find(dir).await?;
    let (process, port) =
        named.map_or((None, None), |n| n.split_once(':').map_or((Some(n), None), |(p, port)| (Some(p), Some(port))));
    let name = running.process_or_default(process)?;
    let process = running.status.processes.iter().find(|p| p.name == name);
    let ports = process.map(|p| p.ports.as_slice()).unwrap_or_default();
    let found = match port {
        None => ports.first(),
        Some(port) => ports.iter().find(|p| p.name.as_deref() == Some(port)),
    };
    found.cloned().ok_or_else(|| match port {
        Some(port) => Failure::usage(format!("{name} has no port `{port}`")),
        None => Failure::new(format!("{name} exports no port (protocol = \"none\")")),
    })
}
