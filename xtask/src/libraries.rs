//! The libraries of Python and Node.js that the tests with real clients and frameworks use, in folders of their own under
//! `target/tools`. Their versions are pinned: a test that fails has been changed by us.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{failure::Failure, run};

/// What is installed into one folder: names and versions.
struct Libraries {
    packages: &'static [(&'static str, &'static str)],
    folder: &'static str,
    from: Registry,
}

#[derive(Clone, Copy)]
enum Registry {
    /// Into a virtual environment.
    Python,
    /// Into `node_modules`.
    Node,
}

const LIBRARIES: &[Libraries] = &[
    Libraries { packages: &[("websockets", "17.4")], folder: "target/tools/python", from: Registry::Python },
    Libraries { packages: &[("sslyze", "6.3.1")], folder: "target/tools/sslyze", from: Registry::Python },
    Libraries { packages: &[("aiosmtpd", "1.4.6")], folder: "target/tools/smtp", from: Registry::Python },
    Libraries { packages: &[("h2", "4.4.1"), ("wsproto", "1.3.2")], folder: "target/tools/h2", from: Registry::Python },
    Libraries { packages: &[("redis", "8.1.0")], folder: "target/tools/redis", from: Registry::Python },
    Libraries { packages: &[("ws", "8.23.0")], folder: "target/tools/node", from: Registry::Node },
    Libraries {
        packages: &[("grpcio", "1.85.3"), ("grpcio-health-checking", "1.85.1")],
        folder: "target/tools/grpc",
        from: Registry::Python,
    },
    Libraries {
        packages: &[("psycopg", "3.3.9"), ("psycopg-binary", "3.3.9"), ("asyncpg", "0.32.0")],
        folder: "target/tools/postgres",
        from: Registry::Python,
    },
    // Of docs/recipes.
    Libraries {
        packages: &[("flask", "3.1.3"), ("gunicorn", "27.0.1")],
        folder: "target/tools/flask",
        from: Registry::Python,
    },
    Libraries {
        packages: &[("django", "5.2.19"), ("uvicorn", "0.54.0")],
        folder: "target/tools/django",
        from: Registry::Python,
    },
    Libraries { packages: &[("express", "5.3.0")], folder: "target/tools/express", from: Registry::Node },
    Libraries { packages: &[("vite", "8.4.0")], folder: "target/tools/vite", from: Registry::Node },
];

/// Debian's own: another `python3` in PATH may go away with whoever put it there.
const PYTHON: &str = "/usr/bin/python3";

/// Finds every library in its version, or installs it.
///
/// # Errors
///
/// When one cannot be installed; the failure says what was tried.
pub(crate) fn ensure(root: &Path) -> Result<(), Failure> {
    for libraries in LIBRARIES {
        let folder = root.join(libraries.folder);
        let said = format!("{} in {}", libraries.names(" "), libraries.folder);
        if libraries.are_in(&folder) {
            eprintln!("present: {said}");
            continue;
        }
        libraries
            .install_into(&folder)
            .map_err(|failure| Failure::new(format!("cannot install {said}"), failure.to_string()))?;
        if !libraries.are_in(&folder) {
            return Err(Failure::new(
                format!("cannot find {said}, even after installing it"),
                "remove the folder, and try again",
            ));
        }
        eprintln!("installed: {said}");
    }
    Ok(())
}

impl Libraries {
    /// With this between each name and its version.
    fn specs(&self, between: &str) -> Vec<String> {
        self.packages.iter().map(|(name, version)| format!("{name}{between}{version}")).collect()
    }

    fn names(&self, between: &str) -> String {
        self.specs(between).join(", ")
    }

    fn are_in(&self, folder: &Path) -> bool {
        self.packages.iter().all(|(name, version)| match self.from {
            Registry::Python => in_venv(folder, name, version),
            Registry::Node => in_node(folder, name, version),
        })
    }

    fn install_into(&self, folder: &Path) -> Result<(), Failure> {
        match self.from {
            Registry::Python => into_venv(folder, &self.specs("==")),
            Registry::Node => into_node(folder, &self.specs("@")),
        }
    }
}

fn venv_python(folder: &Path) -> PathBuf {
    folder.join("bin/python")
}

fn in_venv(folder: &Path, name: &str, version: &str) -> bool {
    let asked = "import importlib.metadata as m, sys; sys.exit(m.version(sys.argv[1]) != sys.argv[2])";
    run::succeeds(&venv_python(folder).to_string_lossy(), &["-c", asked, name, version])
}

fn into_venv(folder: &Path, specs: &[String]) -> Result<(), Failure> {
    let mut make = Command::new(PYTHON);
    make.args(["-m", "venv", "--clear"]).arg(folder);
    run::shown(make)?;
    let mut install = Command::new(venv_python(folder));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(specs);
    run::shown(install)
}

fn in_node(folder: &Path, name: &str, version: &str) -> bool {
    let asked = "process.exit(require(process.argv[1] + '/package.json').version === process.argv[2] ? 0 : 1)";
    let library_folder = folder.join("node_modules").join(name);
    run::succeeds("node", &["-e", asked, &library_folder.to_string_lossy(), version])
}

fn into_node(folder: &Path, specs: &[String]) -> Result<(), Failure> {
    let mut install = Command::new("npm");
    install.args([
        "install",
        "--silent",
        "--no-save",
        "--no-package-lock",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
    ]);
    install.arg("--prefix").arg(folder).args(specs);
    run::shown(install)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_a_folder_is_not_there() {
        for libraries in LIBRARIES {
            assert!(!libraries.are_in(Path::new("/nonexistent")), "{}", libraries.names(" "));
        }
    }

    #[test]
    fn each_has_a_folder_of_its_own_that_is_made_and_not_written() {
        let mut folders: Vec<&str> = LIBRARIES.iter().map(|libraries| libraries.folder).collect();
        folders.sort_unstable();
        folders.dedup();
        assert_eq!(folders.len(), LIBRARIES.len());
        assert!(folders.iter().all(|folder| folder.starts_with("target/")));
        assert!(LIBRARIES.iter().all(|libraries| !libraries.packages.is_empty()));
    }
}
