//! The libraries of Python and Node.js that the tests with real clients use, in folders of their own under `target/tools`.
//! Their versions are pinned: a test that fails has been changed by us.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{failure::Failure, run};

/// A library, the folder that it is installed into, and the program that sees it there.
struct Library {
    name: &'static str,
    version: &'static str,
    folder: &'static str,
    is_there: fn(&Library, &Path) -> bool,
    install: fn(&Library, &Path) -> Result<(), Failure>,
}

const LIBRARIES: &[Library] = &[
    Library {
        name: "websockets",
        version: "17.4",
        folder: "target/tools/python",
        is_there: in_venv,
        install: into_venv,
    },
    Library { name: "ws", version: "8.23.0", folder: "target/tools/node", is_there: in_node, install: into_node },
];

/// Debian's own: another `python3` in PATH may go away with whoever put it there.
const PYTHON: &str = "/usr/bin/python3";

/// Finds every library in its version, or installs it.
///
/// # Errors
///
/// When one cannot be installed; the failure says what was tried.
pub(crate) fn ensure(root: &Path) -> Result<(), Failure> {
    for library in LIBRARIES {
        let folder = root.join(library.folder);
        let said = format!("{} {} in {}", library.name, library.version, library.folder);
        if (library.is_there)(library, &folder) {
            eprintln!("present: {said}");
            continue;
        }
        (library.install)(library, &folder)
            .map_err(|failure| Failure::new(format!("cannot install {said}"), failure.to_string()))?;
        if !(library.is_there)(library, &folder) {
            return Err(Failure::new(
                format!("cannot find {said}, even after installing it"),
                "remove the folder, and try again",
            ));
        }
        eprintln!("installed: {said}");
    }
    Ok(())
}

fn venv_python(folder: &Path) -> PathBuf {
    folder.join("bin/python")
}

fn in_venv(library: &Library, folder: &Path) -> bool {
    let asked = "import importlib.metadata as m, sys; sys.exit(m.version(sys.argv[1]) != sys.argv[2])";
    run::succeeds(&venv_python(folder).to_string_lossy(), &["-c", asked, library.name, library.version])
}

fn into_venv(library: &Library, folder: &Path) -> Result<(), Failure> {
    let mut make = Command::new(PYTHON);
    make.args(["-m", "venv", "--clear"]).arg(folder);
    run::shown(make)?;
    let mut install = Command::new(venv_python(folder));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    install.arg(format!("{}=={}", library.name, library.version));
    run::shown(install)
}

fn in_node(library: &Library, folder: &Path) -> bool {
    let asked = "process.exit(require(process.argv[1] + '/package.json').version === process.argv[2] ? 0 : 1)";
    let library_folder = folder.join("node_modules").join(library.name);
    run::succeeds("node", &["-e", asked, &library_folder.to_string_lossy(), library.version])
}

fn into_node(library: &Library, folder: &Path) -> Result<(), Failure> {
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
    install.arg("--prefix").arg(folder).arg(format!("{}@{}", library.name, library.version));
    run::shown(install)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_a_folder_is_not_there() {
        for library in LIBRARIES {
            assert!(!(library.is_there)(library, Path::new("/nonexistent")), "{}", library.name);
        }
    }

    #[test]
    fn each_has_a_folder_of_its_own_that_is_made_and_not_written() {
        let mut folders: Vec<&str> = LIBRARIES.iter().map(|library| library.folder).collect();
        folders.dedup();
        assert_eq!(folders.len(), LIBRARIES.len());
        assert!(folders.iter().all(|folder| folder.starts_with("target/")));
    }
}
