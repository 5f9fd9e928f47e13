//! Other programs, run from here. None of them gets a standard input: everything works the same without a terminal.

use std::{
    env,
    ffi::OsString,
    path::Path,
    process::{Command, Stdio},
};

use crate::failure::Failure;

/// Cargo, as the one that runs this: the same toolchain for every step.
pub(crate) fn cargo(root: &Path, args: &[&str]) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(args).current_dir(root);
    command
}

/// Runs a program that talks to the reader itself.
pub(crate) fn shown(mut command: Command) -> Result<(), Failure> {
    let line = line(&command);
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("`{line}` failed: {status}"), "its own words stand above")),
        Err(error) => Err(Failure::new(format!("cannot run `{line}`: {error}"), "is it installed, and in PATH?")),
    }
}

/// Runs a program for its standard output; what it says on standard error becomes the cause when it fails.
pub(crate) fn captured(mut command: Command) -> Result<String, Failure> {
    let line = line(&command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(format!("cannot run `{line}`: {error}"), "is it installed, and in PATH?"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::new(format!("`{line}` failed: {}", output.status), said))
}

/// Whether a program can be run and ends well. Says nothing either way.
pub(crate) fn succeeds(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether this is root.
pub(crate) fn is_root() -> bool {
    let mut id = Command::new("id");
    id.arg("-u");
    captured(id).is_ok_and(|uid| uid.trim() == "0")
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_is_named_with_its_cause() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo broken pump >&2; exit 3"]);
        let failure = captured(command).unwrap_err().to_string();
        assert!(failure.contains("`sh -c") && failure.contains("exit status: 3"), "{failure}");
        assert!(failure.contains("broken pump"), "{failure}");
    }

    #[test]
    fn a_program_that_is_not_there_is_no_success() {
        assert!(!succeeds("/nonexistent/program", &[]));
        assert!(shown(Command::new("/nonexistent/program")).is_err());
        assert!(succeeds("/bin/sh", &["-c", "test ! -t 0"]));
    }
}
