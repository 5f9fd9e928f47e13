//! `tambat routes`.

use std::path::Path;
use std::process::ExitCode;

use tambat_api::{Client, ClientError, RoutesReport};

use super::RoutesArgs;
use super::running::{Running, block_on, sockets_there};
use crate::failure::Failure;
use crate::{output, routes_view};

/// `tambat routes`.
pub(crate) fn run(dir: &Path, args: &RoutesArgs) -> Result<ExitCode, Failure> {
    let report: RoutesReport = block_on(async {
        match &args.from {
            Some(file) => of_file(dir, file).await,
            None => {
                let running = Running::find(dir).await?;
                Ok(running.client.get(&running.path("routes")).await?)
            }
        }
    })?;
    if args.json {
        output::print_json(&report);
    } else {
        output::print(&routes_view::show(&report));
    }
    Ok(ExitCode::SUCCESS)
}

/// The routes of the `tambat route` that runs with this file.
async fn of_file(dir: &Path, file: &Path) -> Result<RoutesReport, Failure> {
    let path = dir.join(file);
    let path =
        path.canonicalize().map_err(|error| Failure::usage(format!("cannot find {}: {error}", path.display())))?;
    match Client::new(sockets_there()?.socket(&path)).get("/routes").await {
        Err(ClientError::NotRunning) => {
            Err(Failure::new(format!("no router runs with {0}: `tambat route --from {0}` runs one", path.display())))
        }
        other => Ok(other?),
    }
}
