//! `tambat route`.

use std::path::Path;
use std::process::ExitCode;

use super::RouteArgs;
use crate::failure::Failure;

/// `tambat route --from FILE`.
pub(crate) fn run(dir: &Path, args: &RouteArgs) -> Result<ExitCode, Failure> {
    crate::route::run(&dir.join(&args.from), dir, &args.router.clone().seen_from(dir))
}
