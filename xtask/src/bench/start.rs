//! `cargo xtask bench start`: boot, memory, wake-ups, streams.

use std::path::Path;

use super::{
    Bench, boot, idle, machine,
    proxies::{Place, Proxies},
    redis,
    report::Report,
    stream,
};
use crate::failure::Failure;

/// Every figure of it, one after the other.
pub(super) fn measure(root: &Path, bench: &Bench) -> Result<(), Failure> {
    let mut report = Report::default();
    let versions = [
        format!("foreman {}", machine::first_line("foreman", &["version"])?),
        machine::first_line(&bench.honcho, &["--version"])?,
        machine::first_line("haproxy", &["-v"])?,
        machine::first_line("redis-server", &["--version"])?,
    ];
    report.say(&machine::description(root, Some(&bench.tambat), &versions)?);
    boot::measure(bench, &mut report)?;
    idle::measure(bench, &mut report)?;
    let proxies = Proxies::start(bench, Place::Pinned(bench.cores))?;
    stream::measure(&proxies, &mut report)?;
    proxies.stop()?;
    let proxies = Proxies::start(bench, Place::Anywhere)?;
    redis::measure(&proxies, &report)?;
    proxies.stop()?;
    report.finish()
}
