//! `tambat attach` and `tambat detach`.

use std::io::{BufRead, Read};
use std::path::Path;
use std::process::ExitCode;

use tambat_api::{Attach, Done};
use tambat_model::ResourceUrl;

use super::running::{Running, block_on, encode};
use super::{AttachArgs, DetachArgs};
use crate::failure::Failure;
use crate::output;

/// No URL is longer.
const URL_BYTES_MAX: u64 = 16 * 1024;

/// `tambat attach NAME URL`.
pub(crate) fn attach(dir: &Path, args: &AttachArgs) -> Result<ExitCode, Failure> {
    let url = url(dir, args)?;
    let parsed = url.parse::<ResourceUrl>();
    parsed.map_err(|error| Failure::usage(format!("cannot attach a URL to {}: {error}", args.name)))?;
    block_on(async {
        let running = Running::find(dir).await?;
        let attach = Attach { name: args.name.clone(), url };
        let done: Done = running.client.post(&running.path("attachments"), &attach).await?;
        output::say(&done.done);
        Ok(ExitCode::SUCCESS)
    })
}

/// `tambat detach NAME`.
pub(crate) fn detach(dir: &Path, args: &DetachArgs) -> Result<ExitCode, Failure> {
    block_on(async {
        let running = Running::find(dir).await?;
        let path = running.path(&format!("attachments?name={}", encode(&args.name)));
        let done: Done = running.client.delete(&path).await?;
        output::say(&done.done);
        Ok(ExitCode::SUCCESS)
    })
}

fn url(dir: &Path, args: &AttachArgs) -> Result<String, Failure> {
    let text = match (&args.url, &args.url_file) {
        // Whoever types it ends it with a line's end.
        (Some(dash), _) if dash == "-" => {
            let mut line = String::new();
            let read = std::io::stdin().lock().take(URL_BYTES_MAX).read_line(&mut line);
            read.map_err(|error| unreadable("standard input", &error))?;
            line
        }
        (Some(url), _) => on_the_command_line(url, &args.name)?,
        (None, Some(file)) => {
            let path = dir.join(file);
            let mut text = String::new();
            let opened = std::fs::File::open(&path);
            let read = opened.and_then(|file| file.take(URL_BYTES_MAX).read_to_string(&mut text));
            read.map_err(|error| unreadable(&path.display().to_string(), &error))?;
            text
        }
        (None, None) => return Err(Failure::usage("attach what? give a URL, - for standard input, or --url-file")),
    };
    Ok(text.trim().to_owned())
}

/// A password there can be read by every user of this machine, and stays in the shell's history.
fn on_the_command_line(url: &str, name: &str) -> Result<String, Failure> {
    if url.parse::<ResourceUrl>().is_ok_and(|url| url.has_password()) {
        return Err(Failure::usage(format!(
            "cannot take a password from the command line, where every user of this machine could read it: \
             `tambat attach {name} -` reads the URL from standard input, --url-file from a file"
        )));
    }
    Ok(url.to_owned())
}

fn unreadable(source: &str, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot read the URL from {source}: {error}"))
}
