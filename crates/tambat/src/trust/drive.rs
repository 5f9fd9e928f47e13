//! Looking into stores, and running the commands that change them.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::plan::{Found, Has};
use super::store::{Machine, NssStore, RootName, Store, SystemStore};

/// Making the bundles anew takes a second, or some where Java has one of its own; whoever takes longer hangs.
const COMMAND_LIMIT: Duration = Duration::from_mins(1);

/// What certutil says of a certificate that is not in a database.
const NOT_FOUND: &str = "Could not find cert";

/// Every store of this machine, and whether this root is in it. `pem`: the root as text.
pub(crate) fn look(machine: &Machine, name: &RootName, pem: &str) -> Vec<Found> {
    let certutil = machine.program("certutil");
    let system = machine.system_store(name).map(|store| {
        let has = in_system(&store, pem);
        Found { store: Store::System(store), has }
    });
    let nss = machine.nss_stores().into_iter().map(|store| {
        let has = match &certutil {
            Some(certutil) => in_database(&store, name, pem, certutil),
            None => Has::Unknown(format!("certutil is not there: the package {} has it", machine.certutil_package())),
        };
        Found { store: Store::Nss(store), has }
    });
    system.into_iter().chain(nss).collect()
}

/// Runs commands, one after another.
///
/// # Errors
///
/// Of the first that fails, in words; those behind it have not been run.
pub(crate) fn run(commands: &[Vec<String>]) -> Result<(), String> {
    for command in commands {
        let cannot = |why: String| format!("`{}` {why}", super::shell_command(command));
        let ended = finish(command).map_err(|error| cannot(format!("cannot be run: {error}")))?;
        if !ended.is_success {
            return Err(cannot(format!("failed: {}", ended.said())));
        }
    }
    Ok(())
}

fn in_system(store: &SystemStore, pem: &str) -> Has {
    let has_file = std::fs::read(&store.anchor).is_ok_and(|there| there == pem.as_bytes());
    let bundled = std::fs::read(&store.bundle).is_ok_and(|bundle| holds(&bundle, pem));
    match (has_file, bundled) {
        (_, true) => Has::Yes,
        (true, false) => Has::Half,
        (false, false) => Has::No,
    }
}

/// Is the certificate among those of a bundle?
pub(crate) fn holds(bundle: &[u8], pem: &str) -> bool {
    let pem = pem.trim_end();
    !pem.is_empty() && String::from_utf8_lossy(bundle).contains(pem)
}

/// A certificate counts if it is ours and may say who servers are.
fn in_database(store: &NssStore, name: &RootName, pem: &str, certutil: &Path) -> Has {
    if !store.is_there {
        return Has::No;
    }
    let ask = |more: &[&str]| {
        let database = format!("sql:{}", store.dir.display());
        let words = [certutil.to_string_lossy().into_owned(), "-d".to_owned(), database, "-L".to_owned()];
        finish(&words.into_iter().chain(more.iter().map(|word| (*word).to_owned())).collect::<Vec<_>>())
    };
    let cannot = |error: io::Error| Has::Unknown(format!("cannot run {}: {error}", certutil.display()));
    let certificate = match ask(&["-n", name.as_str(), "-a"]) {
        Ok(ended) if ended.is_success => ended.out,
        Ok(ended) if ended.err.contains(NOT_FOUND) => return Has::No,
        Ok(ended) => return Has::Unknown(format!("certutil cannot read it: {}", ended.said())),
        Err(error) => return cannot(error),
    };
    match ask(&[]) {
        Ok(list) if list.is_success => {
            let is_ours = certificate.replace('\r', "").trim() == pem.trim();
            if is_ours && is_believed(&list.out, name) { Has::Yes } else { Has::Half }
        }
        Ok(list) => Has::Unknown(format!("certutil cannot read it: {}", list.said())),
        Err(error) => cannot(error),
    }
}

/// Does this list of certutil's say `C` of it, for servers?
fn is_believed(list: &str, name: &RootName) -> bool {
    let flags = list.lines().find_map(|line| line.strip_prefix(name.as_str()));
    flags.and_then(|flags| flags.trim().split(',').next()).is_some_and(|servers| servers.contains('C'))
}

/// A command that has ended.
struct Ended {
    is_success: bool,
    out: String,
    err: String,
}

impl Ended {
    /// What it has said of its failure, on one line.
    fn said(&self) -> String {
        let text = if self.err.trim().is_empty() { &self.out } else { &self.err };
        let text = tambat_model::plain(&text.split_whitespace().collect::<Vec<_>>().join(" "));
        if text.is_empty() { "it does not say why".to_owned() } else { text }
    }
}

/// Runs a command to its end, without anything to read.
fn finish(words: &[String]) -> io::Result<Ended> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let out = read_all(child.stdout.take());
    let err = read_all(child.stderr.take());
    let texts = [out, err].map(|text| text.recv_timeout(COMMAND_LIMIT));
    if texts.contains(&Err(RecvTimeoutError::Timeout)) {
        child.kill()?;
        child.wait()?;
        let limit = COMMAND_LIMIT.as_secs();
        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("it has not ended within {limit} s")));
    }
    let [out, err] = texts.map(Result::unwrap_or_default);
    Ok(Ended { is_success: child.wait()?.success(), out, err })
}

/// All that comes out, once it has ended.
fn read_all(from: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (done, text) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            // What was read until then is as much as there is.
            let _ = from.read_to_end(&mut bytes);
        }
        let _ = done.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_first_command_that_fails_is_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |name: &str| words(&format!("touch {}", dir.path().join(name).display()));
        assert_eq!(run(&[touch("a"), touch("b")]), Ok(()));
        let failing = vec!["sh".to_owned(), "-c".to_owned(), "echo '  no  way' >&2; exit 3".to_owned()];
        let error = run(&[failing, touch("c")]).unwrap_err();
        assert!(error.ends_with("failed: no way") && error.starts_with("`sh -c "), "{error}");
        let error = run(&[words("/nowhere/at-all"), touch("c")]).unwrap_err();
        assert!(error.starts_with("`/nowhere/at-all` cannot be run: "), "{error}");
        let there = |name: &str| dir.path().join(name).exists();
        assert!(there("a") && there("b") && !there("c"));
    }

    #[test]
    fn the_systems_store_has_a_root_when_its_bundle_has() {
        let dir = tempfile::tempdir().unwrap();
        let (anchor, bundle) = (dir.path().join("anchor"), dir.path().join("bundle"));
        let store =
            SystemStore { family: "Debian", anchor: anchor.clone(), refresh: Vec::new(), bundle: bundle.clone() };
        let pem = "-----BEGIN-----\nA\n-----END-----\n";
        assert_eq!(in_system(&store, pem), Has::No);
        std::fs::write(&anchor, pem).unwrap();
        assert_eq!(in_system(&store, pem), Has::Half);
        std::fs::write(&bundle, format!("# theirs\nB\n{}", pem.trim_end())).unwrap();
        assert_eq!(in_system(&store, pem), Has::Yes);
        std::fs::write(&anchor, "another").unwrap();
        std::fs::write(&bundle, "# theirs\nB\n").unwrap();
        assert_eq!(in_system(&store, pem), Has::No);
        assert!(!holds(b"anything", ""));
    }

    #[test]
    fn a_ca_for_servers_is_known_by_its_flags() {
        let name = RootName::new("tambat local CA 1F");
        let list = |flags: &str| format!("Certificate Nickname   Trust\n\nother  C,,\ntambat local CA 1F    {flags}\n");
        for (flags, believed) in [("C,,", true), ("CT,C,C", true), (",,", false), ("c,,", false), ("u,C,", false)] {
            assert_eq!(is_believed(&list(flags), &name), believed, "{flags}");
        }
        assert!(!is_believed("other  C,,", &name));
    }
}
