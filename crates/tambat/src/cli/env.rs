//! `tambat env`.

use std::path::Path;
use std::process::ExitCode;

use tambat_api::{EnvironmentReport, VariableReport};

use super::EnvArgs;
use super::running::{Running, block_on};
use crate::failure::Failure;
use crate::output;

/// `tambat env [PROCESS]`.
pub(crate) fn run(dir: &Path, args: &EnvArgs) -> Result<ExitCode, Failure> {
    let report: EnvironmentReport = block_on(async {
        let running = Running::find(dir).await?;
        let process = running.process_or_default(args.process.as_deref())?;
        let path = running.path(&format!("processes/{process}/env?reveal={}", args.reveal));
        Ok(running.client.get(&path).await?)
    })?;
    if args.json {
        output::print_json(&report);
    } else if args.explain {
        output::print(&explain(&report));
    } else {
        report.variables.iter().for_each(|v| output::print(&format!("{}={}", v.name, v.value)));
    }
    Ok(ExitCode::SUCCESS)
}

/// What tambat and the app's files say comes first; what the shell merely had comes last.
fn explain(report: &EnvironmentReport) -> String {
    let (shell, said): (Vec<&VariableReport>, Vec<&VariableReport>) =
        report.variables.iter().partition(|v| v.source == "shell");
    let rows = said
        .into_iter()
        .chain(shell)
        .map(|v| vec![v.name.clone(), v.source.clone(), v.lost.join(", "), shorten(&v.value)]);
    let header = ["VARIABLE", "SOURCE", "WON OVER", "VALUE"].map(str::to_owned).to_vec();
    output::table(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

/// One line is enough to recognise a value by.
fn shorten(value: &str) -> String {
    const LENGTH_MAX: usize = 60;
    let line: String = value.chars().take(LENGTH_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if value.chars().count() > LENGTH_MAX { format!("{line}…") } else { line }
}
