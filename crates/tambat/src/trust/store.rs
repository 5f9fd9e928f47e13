//! The places where the programs of a machine look for the roots that they believe.

use std::path::{Path, PathBuf};

use tambat_certs::Root;

/// How a distribution adds roots: a file in a folder, and a program that makes bundles of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Family {
    /// Whose way it is.
    name: &'static str,
    /// Where roots of the machine's own are put.
    anchors: &'static str,
    /// How such a file ends.
    extension: &'static str,
    /// What makes the bundles, with its arguments.
    refresh: &'static [&'static str],
    /// The bundle that most programs read.
    bundle: &'static str,
    /// The package that has certutil(1).
    certutil_package: &'static str,
}

/// The first whose folder and program are there is this machine's: update-ca-certificates(8) of Debian and of SUSE,
/// update-ca-trust(8) of Fedora and of Arch Linux.
const FAMILIES: [Family; 4] = [
    Family {
        name: "Debian",
        anchors: "usr/local/share/ca-certificates",
        extension: "crt",
        refresh: &["update-ca-certificates"],
        bundle: "etc/ssl/certs/ca-certificates.crt",
        certutil_package: "libnss3-tools",
    },
    Family {
        name: "Fedora",
        anchors: "etc/pki/ca-trust/source/anchors",
        extension: "pem",
        refresh: &["update-ca-trust", "extract"],
        bundle: "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        certutil_package: "nss-tools",
    },
    Family {
        name: "Arch Linux",
        anchors: "etc/ca-certificates/trust-source/anchors",
        extension: "crt",
        refresh: &["update-ca-trust"],
        bundle: "etc/ca-certificates/extracted/tls-ca-bundle.pem",
        certutil_package: "nss",
    },
    Family {
        name: "openSUSE",
        anchors: "etc/pki/trust/anchors",
        extension: "pem",
        refresh: &["update-ca-certificates"],
        bundle: "var/lib/ca-certificates/ca-bundle.pem",
        certutil_package: "mozilla-nss-tools",
    },
];

/// Where programs are looked for besides `PATH`: those of administrators are not in everybody's.
const PROGRAM_FOLDERS: [&str; 2] = ["usr/sbin", "sbin"];

/// Browsers that keep their roots in `~/.pki/nssdb`, which they make when they are first started.
const CHROMIUMS: [&str; 7] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "brave-browser",
    "microsoft-edge",
    "vivaldi",
];

/// Where Chromium and what is built on it keep their roots, seen from the home.
const CHROMIUM_DATABASE: &str = ".pki/nssdb";

/// The same of the browser as a snap.
const CHROMIUM_SNAP_DATABASE: &str = "snap/chromium/current/.pki/nssdb";

/// Where Firefox keeps its profiles, each with a database: as a package, a snap and a flatpak.
const FIREFOX_FOLDERS: [&str; 3] =
    [".mozilla/firefox", "snap/firefox/common/.mozilla/firefox", ".var/app/org.mozilla.firefox/.mozilla/firefox"];

/// The file that makes a folder a database of NSS.
const NSS_FILE: &str = "cert9.db";

/// More profiles than this are not somebody's browser.
const DATABASES_MAX: usize = 64;

/// The machine as it is looked at.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// The root of its files.
    pub(crate) root: PathBuf,
    /// The home of the user; none: nobody knows it.
    pub(crate) home: Option<PathBuf>,
    /// Where programs are.
    pub(crate) path: Vec<PathBuf>,
}

/// A place where roots are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Store {
    /// The system's.
    System(SystemStore),
    /// A database of NSS.
    Nss(NssStore),
}

/// The system's roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SystemStore {
    /// Whose way it is: `Debian`.
    pub(crate) family: &'static str,
    /// The file that our root has there.
    pub(crate) anchor: PathBuf,
    /// The program that makes the bundles, with its arguments.
    pub(crate) refresh: Vec<String>,
    /// The bundle that most programs read.
    pub(crate) bundle: PathBuf,
}

/// A database of NSS: a browser's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NssStore {
    /// Whose it is: `Firefox`.
    pub(crate) browser: &'static str,
    /// Its folder.
    pub(crate) dir: PathBuf,
    /// It is there; else it is made.
    pub(crate) is_there: bool,
}

/// How a root is called in every store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootName(String);

impl RootName {
    /// The common name of its subject, which no other CA has.
    pub(crate) fn of(root: &Root) -> Self {
        let subject = root.subject();
        Self(subject.rsplit_once("CN=").map_or(subject, |(_, name)| name).to_owned())
    }

    #[cfg(test)]
    pub(crate) fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// As NSS has it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// As a file is called.
    fn file(&self, extension: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        format!("{}.{extension}", self.0.chars().map(plain).collect::<String>())
    }
}

impl Machine {
    /// This one, for the user who asks.
    pub(crate) fn here() -> Self {
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self { root: PathBuf::from("/"), home, path: std::env::split_paths(&path).collect() }
    }

    /// Where this program is.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let more = PROGRAM_FOLDERS.iter().map(|folder| self.root.join(folder));
        self.path.iter().cloned().chain(more).map(|folder| folder.join(name)).find(|path| path.is_file())
    }

    /// The system's store; none: it is of no kind that is known here.
    pub(crate) fn system_store(&self, name: &RootName) -> Option<SystemStore> {
        let (family, program) = self.family()?;
        let refresh = std::iter::once(program.display().to_string());
        Some(SystemStore {
            family: family.name,
            anchor: self.root.join(family.anchors).join(name.file(family.extension)),
            refresh: refresh.chain(family.refresh.iter().skip(1).map(|word| (*word).to_owned())).collect(),
            bundle: self.root.join(family.bundle),
        })
    }

    /// The databases of this user's browsers, those of Chromium before those of Firefox.
    pub(crate) fn nss_stores(&self) -> Vec<NssStore> {
        let Some(home) = &self.home else { return Vec::new() };
        let chromium = |dir: &str| NssStore {
            browser: "Chromium",
            dir: home.join(dir),
            is_there: home.join(dir).join(NSS_FILE).is_file(),
        };
        let has_chromium = CHROMIUMS.iter().any(|name| self.program(name).is_some());
        let usual = Some(chromium(CHROMIUM_DATABASE)).filter(|store| store.is_there || has_chromium);
        let snap = Some(chromium(CHROMIUM_SNAP_DATABASE)).filter(|store| store.is_there);
        let firefox = FIREFOX_FOLDERS.iter().flat_map(|folder| profiles(&home.join(folder)));
        let firefox = firefox.map(|dir| NssStore { browser: "Firefox", dir, is_there: true });
        usual.into_iter().chain(snap).chain(firefox).take(DATABASES_MAX).collect()
    }

    /// What to install for certutil(1).
    pub(crate) fn certutil_package(&self) -> &'static str {
        self.family().map_or(FAMILIES[0].certutil_package, |(family, _)| family.certutil_package)
    }

    fn family(&self) -> Option<(&'static Family, PathBuf)> {
        FAMILIES.iter().find_map(|family| {
            let program = self.program(family.refresh.first()?)?;
            self.root.join(family.anchors).is_dir().then_some((family, program))
        })
    }
}

/// The folders in here that are databases, sorted by name.
fn profiles(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|dir| dir.join(NSS_FILE).is_file()).take(DATABASES_MAX).collect();
    found.sort();
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;

    /// A machine in a folder, with these files (a last `/`: a folder).
    pub(crate) fn machine(dir: &Path, files: &[&str]) -> Machine {
        for file in files {
            let path = dir.join(file);
            if file.ends_with('/') {
                fs::create_dir_all(&path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
        }
        Machine { root: dir.to_owned(), home: Some(dir.join("home")), path: vec![dir.join("usr/bin")] }
    }

    #[test]
    fn each_family_has_its_way() {
        for (files, family, anchor, refresh) in [
            (
                ["usr/local/share/ca-certificates/", "usr/sbin/update-ca-certificates"],
                "Debian",
                "usr/local/share/ca-certificates/tambat-local-CA-1F.crt",
                vec!["usr/sbin/update-ca-certificates"],
            ),
            (
                ["etc/pki/ca-trust/source/anchors/", "usr/bin/update-ca-trust"],
                "Fedora",
                "etc/pki/ca-trust/source/anchors/tambat-local-CA-1F.pem",
                vec!["usr/bin/update-ca-trust", "extract"],
            ),
            (
                ["etc/ca-certificates/trust-source/anchors/", "usr/bin/update-ca-trust"],
                "Arch Linux",
                "etc/ca-certificates/trust-source/anchors/tambat-local-CA-1F.crt",
                vec!["usr/bin/update-ca-trust"],
            ),
            (
                ["etc/pki/trust/anchors/", "usr/sbin/update-ca-certificates"],
                "openSUSE",
                "etc/pki/trust/anchors/tambat-local-CA-1F.pem",
                vec!["usr/sbin/update-ca-certificates"],
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let store = machine(dir.path(), &files).system_store(&RootName::new("tambat local CA 1F")).unwrap();
            assert_eq!((store.family, store.anchor), (family, dir.path().join(anchor)));
            let program = dir.path().join(refresh[0]).display().to_string();
            assert_eq!(
                (&store.refresh[0], &store.refresh[1..]),
                (&program, &refresh[1..].iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()[..])
            );
        }
        let dir = tempfile::tempdir().unwrap();
        let without_program = machine(dir.path(), &["usr/local/share/ca-certificates/"]);
        assert_eq!(without_program.system_store(&RootName::new("x")), None);
        assert_eq!(without_program.certutil_package(), "libnss3-tools");
    }

    #[test]
    fn the_databases_of_browsers_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let shown = |machine: &Machine| {
            let show = |s: NssStore| {
                let place = s.dir.strip_prefix(dir.path()).unwrap().display().to_string();
                format!("{} {place} {}", s.browser, s.is_there)
            };
            machine.nss_stores().into_iter().map(show).collect::<Vec<_>>()
        };
        let bare = machine(dir.path(), &["home/.mozilla/firefox/Crash Reports/x", "usr/bin/"]);
        assert_eq!(shown(&bare), [""; 0]);
        let with_browser = machine(dir.path(), &["usr/bin/chromium"]);
        assert_eq!(shown(&with_browser), ["Chromium home/.pki/nssdb false"]);
        let files = [
            "home/.pki/nssdb/cert9.db",
            "home/snap/chromium/current/.pki/nssdb/cert9.db",
            "home/.mozilla/firefox/b.default/cert9.db",
            "home/.mozilla/firefox/a.dev/cert9.db",
        ];
        let all = [
            "Chromium home/.pki/nssdb true",
            "Chromium home/snap/chromium/current/.pki/nssdb true",
            "Firefox home/.mozilla/firefox/a.dev true",
            "Firefox home/.mozilla/firefox/b.default true",
        ];
        assert_eq!(shown(&machine(dir.path(), &files)), all);
        let homeless = Machine { home: None, ..machine(dir.path(), &[]) };
        assert_eq!(shown(&homeless), [""; 0]);
    }
}
