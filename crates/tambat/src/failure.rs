//! The one place where a verb's failure is told.

use std::process::ExitCode;

use tambat_api::ClientError;
use tambat_manifest::LoadError;

/// The thing asked about is not so: not running, not ready, refused.
pub(crate) const CODE_NOT_SO: u8 = 1;

/// The command line or the manifest is wrong.
pub(crate) const CODE_USAGE: u8 = 2;

/// It took too long, as `timeout(1)` has it.
pub(crate) const CODE_TIMED_OUT: u8 = 124;

/// Ended by the signal of this number above it, as a shell has it.
pub(crate) const CODE_SIGNALLED: u8 = 128;

/// Why a verb failed, in words for its user, and the exit code that says so to a program.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// The thing asked about is not so.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: CODE_NOT_SO }
    }

    /// The command line or the manifest is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: CODE_USAGE }
    }

    /// It took too long.
    pub(crate) fn timed_out(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: CODE_TIMED_OUT }
    }

    /// Somebody else's code.
    pub(crate) fn with_code(message: impl Into<String>, code: u8) -> Self {
        Self { message: message.into(), code }
    }

    /// With more to say.
    pub(crate) fn and(self, more: &str) -> Self {
        Self { message: format!("{}{more}", self.message), ..self }
    }

    /// Tells it on standard error.
    pub(crate) fn report(self) -> ExitCode {
        let already_a_report = self.message.starts_with("error") || self.message.contains("\u{1b}[");
        let prefix = if already_a_report { "" } else { "tambat: " };
        crate::output::say(&format!("{prefix}{}", self.message));
        ExitCode::from(self.code)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Invalid(diagnostics) => {
                let color = crate::output::color_on_stderr();
                let all: Vec<String> = diagnostics.iter().map(|d| d.render(color)).collect();
                Self::usage(all.join("\n"))
            }
            other => Self::usage(other.to_string()),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::TimedOut(_) => Self::timed_out(error.to_string()),
            ClientError::Refused { status: 400, message } => Self::usage(message),
            other => Self::new(other.to_string()),
        }
    }
}
