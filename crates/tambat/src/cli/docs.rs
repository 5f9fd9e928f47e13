//! `tambat completions` and `tambat man`: made from the same description as the command line itself.

use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

use crate::failure::Failure;

/// `tambat completions SHELL`.
pub(crate) fn completions(command: &mut Command, shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "tambat", &mut script);
    crate::output::print(String::from_utf8_lossy(&script).trim_end());
    ExitCode::SUCCESS
}

/// `tambat man`: the page of tambat, then one a verb, the keys of the files, the clauses of the contract, and the errors
/// that the router answers with; `tambat man | man -l -` reads it.
pub(crate) fn man(command: Command) -> Result<ExitCode, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("cannot write the manual page: {error}"));
    let mut page = Vec::new();
    let mut command = command.disable_help_subcommand(true);
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut page).map_err(failed)?;
    for verb in command.get_subcommands() {
        let man = clap_mangen::Man::new(verb.clone());
        page.extend_from_slice(format!(".SH \"TAMBAT {}\"\n", verb.get_name().to_uppercase()).as_bytes());
        let mut part = Vec::new();
        man.render_description_section(&mut part).map_err(failed)?;
        man.render_synopsis_section(&mut part).map_err(failed)?;
        man.render_options_section(&mut part).map_err(failed)?;
        let part = String::from_utf8_lossy(&part).replace(".SH ", ".SS ");
        page.extend_from_slice(part.as_bytes());
    }
    page.extend_from_slice(keys().as_bytes());
    page.extend_from_slice(contract().as_bytes());
    page.extend_from_slice(errors().as_bytes());
    crate::output::print(String::from_utf8_lossy(&page).trim_end());
    Ok(ExitCode::SUCCESS)
}

/// The keys of `tambat.toml`, of a router's file and of a server's, from the tables that the parsers themselves use.
fn keys() -> String {
    let files = [
        ("TAMBAT.TOML", tambat_manifest::KEYS),
        ("THE FILE OF TAMBAT ROUTE", tambat_manifest::ROUTE_FILE_KEYS),
        ("THE FILE OF TAMBAT SERVE", tambat_manifest::SERVE_FILE_KEYS),
    ];
    files.map(|(title, keys)| keys_of(title, keys)).concat()
}

fn keys_of(title: &str, keys: &[tambat_manifest::Key]) -> String {
    let mut page = format!(".SH \"{title}\"\n");
    for key in keys {
        page.push_str(&format!(".TP\n\\fB{}\\fR {} ({})\n{}\n", key.name, key.table.place(), key.kind, key.doc));
    }
    page
}

/// What `tambat check` judges, from the list that it judges by.
fn contract() -> String {
    let mut page = ".SH \"THE CONTRACT\"\nWhat \\fItambat check\\fR judges. An app that keeps it...\n".to_owned();
    for clause in tambat_check::CLAUSES {
        let text = |text: &str| text.replace('\n', " ").replace('\\', "\\\\");
        page.push_str(&format!(
            ".TP\n\\fB{}\\fR ... {}\n{} Broken: {}\n",
            clause.id,
            clause.title,
            text(clause.asks),
            text(clause.broken)
        ));
    }
    page
}

/// What stands in `Tambat-Error`, from the table that the router itself uses.
fn errors() -> String {
    let mut page =
        ".SH ERRORS\nWhat the router itself answers carries one of these in the field \\fITambat\\-Error\\fR; \
                    the access log and the metrics have them, too.\n"
            .to_owned();
    for code in tambat_model::ErrorCode::ALL {
        page.push_str(&format!(".TP\n\\fB{code}\\fR ({})\n{}\n", code.status(), code.doc()));
    }
    page
}
