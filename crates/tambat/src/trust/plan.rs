//! From what was found to what is to be done. Pure: each step is a command, as its user could type it.

use std::path::{Path, PathBuf};

use super::store::{NssStore, RootName, Store, SystemStore};

/// What the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The root is to be believed.
    Trust,
    /// It is not to be believed any more.
    Undo,
}

/// A store, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Which.
    pub(crate) store: Store,
    /// Is our root in it?
    pub(crate) has: Has,
}

/// Is a root in a store?
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Has {
    /// It is, and it is believed.
    Yes,
    /// It was put there, and is not believed yet: the bundles have not been made anew.
    Half,
    /// It is not.
    No,
    /// That cannot be told: why, and what to do about it.
    Unknown(String),
}

/// The root, as the commands name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Its name in every store.
    pub(crate) name: RootName,
    /// The file that holds it.
    pub(crate) file: PathBuf,
}

/// What is to be done about a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    /// Which.
    pub(crate) store: Store,
    /// What.
    pub(crate) todo: Todo,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Todo {
    /// Nothing: it is as it should be.
    Nothing,
    /// These commands, one after another, the first that fails being the last.
    Run(Vec<Vec<String>>),
    /// It cannot be done: why, and what to do about it.
    Cannot(String),
}

/// What is to be done about this store. `certutil`: where that program is.
pub(crate) fn task(found: &Found, root: &Named, wish: Wish, certutil: Option<&Path>) -> Task {
    let todo = match (&found.store, &found.has, wish) {
        (_, Has::Unknown(why), _) => Todo::Cannot(why.clone()),
        (_, Has::Yes, Wish::Trust) | (_, Has::No, Wish::Undo) => Todo::Nothing,
        (Store::System(store), _, _) => Todo::Run(system(store, root, wish)),
        (Store::Nss(store), _, _) => match certutil {
            Some(certutil) => Todo::Run(nss(store, root, wish, certutil)),
            None => Todo::Cannot("certutil is not there".to_owned()),
        },
    };
    Task { store: found.store.clone(), todo }
}

impl Store {
    /// Does changing it take root's privileges?
    pub(crate) fn needs_root(&self) -> bool {
        matches!(self, Self::System(_))
    }

    /// What people call it.
    pub(crate) fn title(&self) -> String {
        match self {
            Self::System(store) => format!("the system's roots ({})", store.family),
            Self::Nss(store) => format!("{} ({})", store.browser, store.dir.display()),
        }
    }

    /// Where it is.
    pub(crate) fn place(&self) -> &Path {
        match self {
            Self::System(store) => &store.anchor,
            Self::Nss(store) => &store.dir,
        }
    }
}

/// Commands as a line of shell.
pub(crate) fn shell_line(commands: &[Vec<String>], before: &str) -> String {
    let line = |command: &Vec<String>| format!("{before}{}", shell_command(command));
    commands.iter().map(line).collect::<Vec<_>>().join(" && ")
}

/// A command as a shell takes it.
pub(crate) fn shell_command(words: &[String]) -> String {
    let plain =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b));
    let quote = |w: &String| if plain(w) { w.clone() } else { format!("'{}'", w.replace('\'', r"'\''")) };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

fn system(store: &SystemStore, root: &Named, wish: Wish) -> Vec<Vec<String>> {
    let anchor = store.anchor.display().to_string();
    let change = match wish {
        Wish::Trust => vec!["install".to_owned(), "-m".to_owned(), "644".to_owned(), text(&root.file), anchor],
        Wish::Undo => vec!["rm".to_owned(), "-f".to_owned(), anchor],
    };
    vec![change, store.refresh.clone()]
}

fn nss(store: &NssStore, root: &Named, wish: Wish, certutil: &Path) -> Vec<Vec<String>> {
    let database = format!("sql:{}", store.dir.display());
    let of = |words: &[&str]| {
        let begin = [text(certutil), "-d".to_owned(), database.clone()];
        begin.into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect::<Vec<String>>()
    };
    let name = root.name.as_str();
    match wish {
        Wish::Trust => {
            let make = [vec!["mkdir".to_owned(), "-p".to_owned(), text(&store.dir)], of(&["-N", "--empty-password"])];
            // `C`: a CA that may say who servers are.
            let add = of(&["-A", "-n", name, "-t", "C,,", "-i", &text(&root.file)]);
            make.into_iter().filter(|_| !store.is_there).chain([add]).collect()
        }
        Wish::Undo => vec![of(&["-D", "-n", name])],
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Named {
        Named { name: RootName::new("tambat local CA 1F"), file: "/home/me/tam bat/root.pem".into() }
    }

    fn system_store() -> Store {
        Store::System(SystemStore {
            family: "Debian",
            anchor: "/usr/local/share/ca-certificates/tambat.crt".into(),
            refresh: vec!["/usr/sbin/update-ca-certificates".to_owned()],
            bundle: "/etc/ssl/certs/ca-certificates.crt".into(),
        })
    }

    fn nss_store(is_there: bool) -> Store {
        Store::Nss(NssStore { browser: "Chromium", dir: "/home/me/.pki/nssdb".into(), is_there })
    }

    fn todo(store: Store, has: Has, wish: Wish) -> String {
        match task(&Found { store, has }, &root(), wish, Some(Path::new("/usr/bin/certutil"))).todo {
            Todo::Nothing => "nothing".to_owned(),
            Todo::Run(commands) => shell_line(&commands, ""),
            Todo::Cannot(why) => format!("cannot: {why}"),
        }
    }

    #[test]
    fn the_systems_roots_get_a_file_and_are_bundled_anew() {
        let trust = "install -m 644 '/home/me/tam bat/root.pem' /usr/local/share/ca-certificates/tambat.crt && \
                     /usr/sbin/update-ca-certificates";
        let undo = "rm -f /usr/local/share/ca-certificates/tambat.crt && /usr/sbin/update-ca-certificates";
        for (has, trusted, undone) in
            [(Has::No, trust, "nothing"), (Has::Half, trust, undo), (Has::Yes, "nothing", undo)]
        {
            assert_eq!(todo(system_store(), has.clone(), Wish::Trust), trusted, "{has:?}");
            assert_eq!(todo(system_store(), has.clone(), Wish::Undo), undone, "{has:?}");
        }
    }

    #[test]
    fn a_database_is_made_if_need_be() {
        let add = "/usr/bin/certutil -d sql:/home/me/.pki/nssdb -A -n 'tambat local CA 1F' -t C,, -i \
                   '/home/me/tam bat/root.pem'";
        assert_eq!(todo(nss_store(true), Has::No, Wish::Trust), add);
        let make = "mkdir -p /home/me/.pki/nssdb && /usr/bin/certutil -d sql:/home/me/.pki/nssdb -N --empty-password";
        assert_eq!(todo(nss_store(false), Has::No, Wish::Trust), format!("{make} && {add}"));
        let remove = "/usr/bin/certutil -d sql:/home/me/.pki/nssdb -D -n 'tambat local CA 1F'";
        assert_eq!(todo(nss_store(true), Has::Yes, Wish::Undo), remove);
        assert_eq!(todo(nss_store(true), Has::Half, Wish::Undo), remove);
    }

    #[test]
    fn what_cannot_be_told_is_left_alone() {
        for wish in [Wish::Trust, Wish::Undo] {
            let unknown = Has::Unknown("certutil is not there".to_owned());
            assert_eq!(todo(nss_store(true), unknown, wish), "cannot: certutil is not there");
        }
    }

    #[test]
    fn only_the_systems_store_is_roots_own() {
        assert!(system_store().needs_root() && !nss_store(true).needs_root());
        let sudo = shell_line(&[vec!["rm".to_owned(), "a b".to_owned()], vec!["x".to_owned()]], "sudo ");
        assert_eq!(sudo, "sudo rm 'a b' && sudo x");
    }
}
