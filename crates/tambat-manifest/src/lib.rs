//! From text to plan: `tambat.toml`, `Procfile` and `.env`.
//!
//! [`load`] reads what a directory has and gives the [`Plan`], or everything that is wrong with it at once: each a
//! [`Diagnostic`] with the text underlined and what to write instead. Only [`Files::read`], [`load`],
//! [`plan_for_command`] and [`dotenv::read_dotenv`] touch the file system; the rest takes text.

mod assemble;
mod diagnostic;
pub mod dotenv;
mod duration;
mod error;
mod findings;
mod http_keys;
mod keys;
mod listen_keys;
mod manifest;
mod procfile;
mod reader;
mod route_file;
mod routing;
mod serve_file;
mod size;
mod text;
mod tls_keys;

use std::io;
use std::path::{Path, PathBuf};

use tambat_model::{AppName, Draft, ListenPlan, Manner, Plan, ProcessDraft, ProcessName};

pub use diagnostic::{Diagnostic, Severity, Source, Spot};
pub use dotenv::{DotEnv, read_dotenv};
pub use duration::{DURATION_MAX, DurationError, parse_duration};
pub use error::LoadError;
pub use keys::{KEYS, Key, KeyTable, keys_as_markdown};
pub use route_file::{
    CHECKS_MAX, FileRoute, ROUTE_FILE_BYTES_MAX, ROUTE_FILE_KEYS, RouteFile, RouterKeys, TARGETS_MAX,
    route_file_keys_as_markdown,
};
pub use serve_file::{ACME_DIRECTORY_DEFAULT, AcmeChallenges, AcmeKeys, EabKeys, SERVE_FILE_KEYS, ServeFile};
pub use size::{SIZE_BYTES_MAX, SizeError, parse_size};
pub use text::{FILE_BYTES_MAX, Text};

/// The name of the manifest.
pub const MANIFEST: &str = "tambat.toml";

/// The name of the Procfile.
pub const PROCFILE: &str = "Procfile";

/// What was found in an app's directory.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// `tambat.toml`.
    pub manifest: Option<Text>,
    /// `Procfile`, or the file named in its place.
    pub procfile: Option<Text>,
}

/// A plan, and what its user should know although it can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What is meant.
    pub plan: Plan,
    /// In the order of the files.
    pub warnings: Vec<Diagnostic>,
}

impl Files {
    /// Reads what this directory has. `procfile` names another file in place of `Procfile`, seen from the directory,
    /// and then it must exist.
    pub fn read(dir: &Path, procfile: Option<&Path>) -> Result<Self, LoadError> {
        let manifest = Text::read(&dir.join(MANIFEST))?;
        let path = dir.join(procfile.unwrap_or(Path::new(PROCFILE)));
        let text = Text::read(&path)?;
        if text.is_none() && procfile.is_some() {
            let source = io::Error::new(io::ErrorKind::NotFound, "there is no such file");
            return Err(LoadError::Unreadable { path, source });
        }
        Ok(Self { manifest, procfile: text })
    }

    /// What they mean for an app in this directory, which should be canonical: the app's default name is its last
    /// part. `Err`: everything that is wrong, errors first.
    pub fn plan(&self, dir: &Path) -> Result<Loaded, Vec<Diagnostic>> {
        assemble::assemble(self, (dir, name_of(dir)), Manner::Start, None)
    }
}

/// Reads `tambat.toml` and the `Procfile` of this directory, at least one of which must be there. `procfile` names
/// another file (`-f`), seen from the directory.
pub fn load(dir: &Path, procfile: Option<&Path>) -> Result<Loaded, LoadError> {
    load_for(dir, procfile, Manner::Start)
}

/// The same for an app that a server runs. How listeners are peeked at its own file says ([`ServeFile`]), for all apps:
/// `listen` of its `[router]`, where a fallback is `APP/PROCESS` or `APP/PROCESS:PORT`. Where this is a link to its directory,
/// the app is called as the link is: that stays when another release is linked.
pub fn load_served(dir: &Path, listen: &[ListenPlan]) -> Result<Loaded, LoadError> {
    load_with(dir, None, Manner::Serve, Some(listen))
}

fn load_for(dir: &Path, procfile: Option<&Path>, manner: Manner) -> Result<Loaded, LoadError> {
    load_with(dir, procfile, manner, None)
}

fn load_with(
    dir: &Path,
    procfile: Option<&Path>,
    manner: Manner,
    listen: Option<&[ListenPlan]>,
) -> Result<Loaded, LoadError> {
    let files = Files::read(dir, procfile)?;
    if files.manifest.is_none() && files.procfile.is_none() {
        return Err(LoadError::NoFiles { dir: dir.to_path_buf() });
    }
    let canonical = canonical(dir)?;
    let name = match manner {
        Manner::Start => name_of(&canonical),
        Manner::Serve => name_of(dir.file_name().map_or(&canonical, |_| dir)),
    };
    assemble::assemble(&files, (&canonical, name), manner, listen).map_err(LoadError::Invalid)
}

/// The plan for `tambat start -- CMD`: the command is the process `web` of an app named after this directory. No file
/// is read.
pub fn plan_for_command(dir: &Path, command: &str) -> Result<Plan, LoadError> {
    let dir = canonical(dir)?;
    let web = ProcessDraft::new(ProcessName::web(), Some(command.to_owned()));
    let draft = Draft { processes: vec![web], ..Draft::new(name_of(&dir), dir) };
    match Plan::new(draft) {
        Ok((plan, _)) => Ok(plan),
        Err(_) => Err(LoadError::NoCommand),
    }
}

fn canonical(dir: &Path) -> Result<PathBuf, LoadError> {
    dir.canonicalize().map_err(|source| LoadError::Unreadable { path: dir.to_path_buf(), source })
}

/// The name an app has by its directory.
fn name_of(dir: &Path) -> AppName {
    AppName::from_directory(&dir.file_name().unwrap_or_default().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn dir(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::Builder::new().prefix("shop-").tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        dir
    }

    /// The error in one line, the directory's name left out.
    fn refused(files: &[(&str, &[u8])], procfile: Option<&str>) -> String {
        let dir = dir(files);
        let error = load(dir.path(), procfile.map(Path::new)).unwrap_err();
        error.to_string().replace(&dir.path().display().to_string(), "DIR")
    }

    #[test]
    fn an_app_of_a_server_is_called_as_the_link_to_it_is() {
        let apps = dir(&[]);
        let release = dir(&[(PROCFILE, b"web: w\n")]);
        let link = apps.path().join("shop");
        std::os::unix::fs::symlink(release.path(), &link).unwrap();
        let served = load_served(&link, &[]).unwrap().plan;
        assert_eq!((served.name().as_str(), served.dir()), ("shop", &*release.path().canonicalize().unwrap()));
        let named = load_served(&release.path().join("."), &[]).unwrap().plan;
        assert_eq!(named.name(), load(&link, None).unwrap().plan.name(), "it is started where it is");
    }

    #[test]
    fn a_directory_with_either_file_or_both_is_an_app() {
        let manifest: (&str, &[u8]) = (MANIFEST, b"\xef\xbb\xbf[processes.api]\ncommand = \"a\"\n");
        let procfile: (&str, &[u8]) = (PROCFILE, b"web: w\n");
        for (files, names) in [
            (vec![manifest], vec!["api"]),
            (vec![procfile], vec!["web"]),
            (vec![manifest, procfile], vec!["web", "api"]),
        ] {
            let dir = dir(&files);
            let plan = load(dir.path(), None).unwrap().plan;
            assert_eq!(plan.processes().iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), names);
            assert_eq!(plan.dir(), dir.path().canonicalize().unwrap());
            assert!(plan.name().as_str().starts_with("shop-"), "{}", plan.name());
        }
    }

    #[test]
    fn another_procfile_is_seen_from_the_directory() {
        let dir = dir(&[(PROCFILE, b"web: w\n"), ("Procfile.dev", b"dev: d\n")]);
        let plan = load(dir.path(), Some(Path::new("Procfile.dev"))).unwrap().plan;
        assert_eq!(plan.processes()[0].name.as_str(), "dev");
    }

    #[test]
    fn what_cannot_be_read_is_said_in_one_line() {
        insta::assert_snapshot!(refused(&[], None), @r#"
        cannot find an app in DIR: there is no `tambat.toml` and no `Procfile`
        write a `Procfile` with a line such as `web: npm start`, or run a command as it is: tambat start -- npm start
        "#);
        insta::assert_snapshot!(refused(&[(PROCFILE, b"web: w\n")], Some("Procfile.dev")), @r#"cannot read DIR/Procfile.dev: there is no such file"#);
        insta::assert_snapshot!(refused(&[(PROCFILE, b"web: w\n\nap\xffi: x\n")], None), @r#"cannot read DIR/Procfile: line 3 is not UTF-8; save the file as UTF-8"#);
        insta::assert_snapshot!(refused(&[(MANIFEST, &vec![b'\n'; 1024 * 1024 + 1])], None), @r#"cannot read DIR/tambat.toml: it has more than 1048576 bytes, so it is probably another file"#);
        insta::assert_snapshot!(refused(&[(PROCFILE, b"web\n")], None), @r#"
        error: this line is neither `name: command` nor a comment
         --> DIR/Procfile:1:1
          |
        1 | web
          | ^^^
          |
          = help: write `name: command`, or `#` before what is only for people
        "#);
        let empty = dir(&[]);
        fs::create_dir(empty.path().join(PROCFILE)).unwrap();
        assert!(matches!(load(empty.path(), None), Err(LoadError::Unreadable { .. })));
    }

    #[test]
    fn a_file_may_be_as_long_as_the_limit() {
        let mut text = b"web: w\n".to_vec();
        text.resize(usize::try_from(FILE_BYTES_MAX).unwrap(), b'\n');
        assert!(load(dir(&[(PROCFILE, &text)]).path(), None).is_ok());
    }

    #[test]
    fn a_command_alone_is_the_process_web() {
        let dir = dir(&[(PROCFILE, b"not read\n")]);
        let plan = plan_for_command(dir.path(), "npm start").unwrap();
        let [web] = plan.processes() else { panic!("one process") };
        assert_eq!((web.name.as_str(), web.command.as_str(), web.position), ("web", "npm start", 0));
        insta::assert_snapshot!(plan_for_command(dir.path(), " ").unwrap_err(), @r#"cannot run an empty command: write one after the `--`, as in `tambat start -- npm start`"#);
        let nowhere = dir.path().join("nowhere");
        assert!(matches!(plan_for_command(&nowhere, "x"), Err(LoadError::Unreadable { .. })));
    }

    #[test]
    fn a_dotenv_file_that_is_not_there_is_none() {
        let dir = dir(&[(".env", b"A=1\n")]);
        let read = |name: &str| read_dotenv(&dir.path().join(name), &|_| None).map(|file| file.map(|f| f.layers.len()));
        assert_eq!(read(".env").unwrap(), Some(1));
        assert_eq!(read("other.env").unwrap(), None);
    }

    #[test]
    fn no_secret_is_in_what_is_said_or_debugged() {
        let url = b"[processes.web]\ncommand = 1\nuses = [\"redis://:hunter2@h\"]\n[resources.db]\nurl = \"redis://:hunter2@h:x\"\n";
        let error = load(dir(&[(MANIFEST, url)]).path(), None).unwrap_err();
        assert!(!error.to_string().contains("hunter2") && !format!("{error:?}").contains("hunter2"), "{error}");
        let dotenv = dir(&[(".env", b"A=hunter2 # hunter2\nB=\"hunter2\nhunter2${x:?}\"\nhunter2\nhunter2=\n")]);
        let Err(error) = read_dotenv(&dotenv.path().join(".env"), &|_| None) else { panic!("it is wrong") };
        let LoadError::Invalid(found) = &error else { panic!("{error}") };
        assert_eq!(found.iter().filter(|d| d.severity == Severity::Error).count(), 2, "{error}");
        assert!(!error.to_string().contains("hunter2") && !format!("{error:?}").contains("hunter2"), "{error}");
    }
}
