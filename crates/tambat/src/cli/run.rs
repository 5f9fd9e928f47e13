//! `tambat run`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use tambat_api::EnvironmentReport;
use tambat_model::{Environment, Plan, ProcessName, ProcessPlan, ResourceUrl, Use, Wiring, instance_environment};

use super::RunArgs;
use super::running::{Running, block_on};
use crate::failure::Failure;
use crate::layers::{self, Layers};
use crate::local_ca::Roots;
use crate::output;

/// `tambat run [--as PROCESS] CMD`: becomes the command, in this directory and the app's environment, without a `PORT`.
/// Handles come from the running app; without one they are missing, and that is said.
pub(crate) fn run(dir: &Path, args: &RunArgs) -> Result<ExitCode, Failure> {
    let home = if args.source.procfile.is_some() { dir } else { app_home(dir) };
    let loaded = tambat_manifest::load(home, args.source.procfile.as_deref())?;
    // Files that are named are named from here, the others lie beside the manifest.
    let beside = if args.source.env_files.is_empty() { home } else { dir };
    let mut layers = layers::read(beside, &args.source.env_files, &args.source.env)?;
    if let Some(roots) = Roots::existing() {
        layers.all.extend(roots.layers(&layers.raw, |line| output::say(&format!("tambat: {line}"))));
    }
    let process = process(&loaded.plan, args.process.as_deref())?;
    let environment = environment(dir, &loaded.plan, process, &layers);
    let mut command = Command::new(&args.command[0]);
    command.args(&args.command[1..]).current_dir(dir).env_clear();
    command.envs(environment.iter().map(|(name, setting)| (name, &setting.value)));
    command.envs(layers.raw.iter().map(|(name, value)| (name, value)));
    let error = command.exec();
    let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
    output::say(&format!("tambat: cannot run {}: {error}", args.command[0]));
    Ok(ExitCode::from(code))
}

/// The directory of the app that this one belongs to: the nearest one, upwards, with a file that says so.
fn app_home(dir: &Path) -> &Path {
    let has_app = |dir: &&Path| ["tambat.toml", "Procfile"].iter().any(|file| dir.join(file).is_file());
    dir.ancestors().find(has_app).unwrap_or(dir)
}

fn process<'a>(plan: &'a Plan, named: Option<&str>) -> Result<&'a ProcessPlan, Failure> {
    let known = || plan.processes().iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
    match named {
        Some(named) => {
            let found = plan.processes().iter().find(|p| p.name.as_str() == named);
            found.ok_or_else(|| {
                Failure::usage(format!("there is no process `{named}` in {}; it has {}", plan.name(), known()))
            })
        }
        None => plan
            .process(&ProcessName::web())
            .or(plan.processes().first())
            .ok_or_else(|| Failure::usage(format!("{} has no process", plan.name()))),
    }
}

/// Only the running app knows where its handles point.
fn environment(dir: &Path, plan: &Plan, process: &ProcessPlan, layers: &Layers) -> Environment {
    let asked: Result<EnvironmentReport, Failure> = block_on(async {
        let running = Running::find(dir).await?;
        let path = running.path(&format!("processes/{}/env?reveal=true", process.name));
        Ok(running.client.get(&path).await?)
    });
    let told = asked.map(|report| report.variables).unwrap_or_default();
    let url = |used: &Use| told.iter().find(|v| v.name == used.var.as_str())?.value.parse::<ResourceUrl>().ok();
    let attached = process.uses.iter().filter_map(|used| Some((used.provider.to_string(), url(used)?)));
    let wiring = Wiring { attached: attached.collect(), ..Wiring::default() };
    let environment = instance_environment(plan, &wiring, &layers.all, process, None);
    let missing: Vec<&str> =
        process.uses.iter().map(|used| used.var.as_str()).filter(|var| environment.get(var).is_none()).collect();
    if !missing.is_empty() {
        output::say(&format!(
            "tambat: {} does not run, so these handles are not set: {}; `tambat start` wires them",
            plan.name(),
            missing.join(", ")
        ));
    }
    environment
}
