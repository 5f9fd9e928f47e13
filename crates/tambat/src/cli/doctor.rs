//! `tambat doctor`.

use std::path::Path;
use std::process::ExitCode;

use super::DoctorArgs;
use super::running::block_on;
use super::serve::default_apps;
use crate::doctor::{self, Place, Verdict};
use crate::failure::{CODE_NOT_SO, Failure};
use crate::output;

/// `tambat doctor`: 1 if something is wrong.
pub(crate) fn run(dir: &Path, args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let apps = match &args.apps {
        Some(apps) => Some(dir.join(apps)),
        // Without a home there is no such place, and nothing in it.
        None => default_apps().ok(),
    };
    let place = Place { dir, apps: apps.as_deref(), config: args.config.as_deref() };
    let facts = block_on(async { Ok(doctor::gather(&place).await) })?;
    let findings = doctor::judge(&facts);
    if args.json {
        output::print_json(&findings);
    } else {
        output::print(&doctor::show(&findings));
    }
    let is_well = findings.iter().all(|finding| finding.verdict != Verdict::Wrong);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(CODE_NOT_SO) })
}
