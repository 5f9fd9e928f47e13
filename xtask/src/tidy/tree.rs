//! The files of the repository, read once, with what the checks ask about them worked out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use super::code::code_only;
use crate::failure::Failure;

/// Folders that are made, not written.
const NOT_OURS: &[&str] = &[".git", "target", "corpus", "artifacts", "node_modules", "__pycache__"];

/// Every text file, by its path from the root, with `/` between folders.
#[derive(Debug, Default)]
pub(super) struct Tree {
    texts: BTreeMap<String, String>,
    /// Every file and folder, also those that are no text: what a link may point at.
    paths: BTreeSet<String>,
    rust: Vec<RustFile>,
}

/// One file of Rust.
#[derive(Debug)]
pub(super) struct RustFile {
    pub(super) path: String,
    /// Its lines without comments and literals: what greps of code look at.
    pub(super) code: Vec<String>,
    pub(super) role: Role,
}

/// What a file's lines count as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Under `src/`: so many lines of production code, then the module of its tests.
    Production(usize),
    /// Under `tests/`, a program that tests run (`fixture/`), or a module that only tests see.
    Test,
    /// Benches, examples of a crate, fuzz targets, build scripts.
    Other,
}

impl RustFile {
    /// The lines of production code, numbered from 0.
    pub(super) fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = if let Role::Production(lines) = self.role { lines } else { 0 };
        self.code.iter().take(lines).map(String::as_str).enumerate()
    }

    /// Every line of code, numbered from 0.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().map(String::as_str).enumerate()
    }

    /// Whether it belongs to that crate.
    pub(super) fn is_of(&self, krate: &str) -> bool {
        self.path.strip_prefix("crates/").and_then(|rest| rest.strip_prefix(krate)).is_some_and(|r| r.starts_with('/'))
    }

    /// How many lines of it are tests.
    pub(super) fn test_lines(&self) -> usize {
        match self.role {
            Role::Production(lines) => self.code.len() - lines,
            Role::Test => self.code.len(),
            Role::Other => 0,
        }
    }
}

impl Tree {
    /// Reads everything below `root`, but for what is made.
    pub(super) fn read(root: &Path) -> Result<Self, Failure> {
        let mut tree = Self::default();
        tree.read_folder(root, "").map_err(|error| {
            Failure::new(format!("cannot read the tree at {}: {error}", root.display()), "may you read all of it?")
        })?;
        tree.read_rust();
        Ok(tree)
    }

    /// A tree of these files, for tests of the checks.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            let folders = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
            tree.paths.extend(folders.chain([(*path).to_owned()]));
            tree.texts.insert((*path).to_owned(), (*text).to_owned());
        }
        tree.read_rust();
        tree
    }

    /// Every text file with its path.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// One text file.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Whether there is such a file or folder.
    pub(super) fn has(&self, path: &str) -> bool {
        path.is_empty() || self.paths.contains(path)
    }

    /// Every file of Rust.
    pub(super) fn rust(&self) -> &[RustFile] {
        &self.rust
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() && !NOT_OURS.contains(&name.as_str()) {
                self.read_folder(&entry.path(), &format!("{path}/"))?;
                self.paths.insert(path);
            } else if kind.is_file() {
                // What is no text is only there to be pointed at.
                if let Ok(text) = String::from_utf8(fs::read(entry.path())?) {
                    self.texts.insert(path.clone(), text);
                }
                self.paths.insert(path);
            }
        }
        Ok(())
    }

    fn read_rust(&mut self) {
        let sources = || self.texts.iter().filter(|(path, _)| has_extension(path, "rs"));
        let codes: Vec<(&String, Vec<String>)> =
            sources().map(|(path, text)| (path, code_only(text).lines().map(str::to_owned).collect())).collect();
        let only_tests: Vec<String> = codes.iter().flat_map(|(path, code)| test_modules(path, code)).collect();
        let rust = codes.into_iter().map(|(path, code)| RustFile {
            role: role(path, &code, &only_tests),
            path: path.clone(),
            code,
        });
        self.rust = rust.collect();
    }
}

/// Whether a file's name ends so.
pub(super) fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|is| is == extension)
}

fn role(path: &str, code: &[String], only_tests: &[String]) -> Role {
    let folders: Vec<&str> = path.split('/').collect();
    let tests = folders.contains(&"tests") || folders.contains(&"fixture");
    if tests || only_tests.iter().any(|module| is_below(path, module)) {
        Role::Test
    } else if folders.contains(&"src") {
        Role::Production(production_lines(code))
    } else {
        Role::Other
    }
}

/// `module` is the path of a module's file without `.rs`.
fn is_below(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// The lines before the first test module that is written out in this file.
fn production_lines(code: &[String]) -> usize {
    gated_modules(code).find(|(_, declaration)| declaration.ends_with('{')).map_or(code.len(), |(index, _)| index)
}

/// The modules in files of their own that only tests see.
fn test_modules(path: &str, code: &[String]) -> Vec<String> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let below = match file.trim_end_matches(".rs") {
        "lib" | "main" | "mod" => folder.to_owned(),
        stem => format!("{folder}/{stem}"),
    };
    let names = gated_modules(code).filter_map(|(_, declaration)| {
        declaration.strip_suffix(';')?.rsplit(' ').next().map(|name| format!("{below}/{name}"))
    });
    names.collect()
}

/// Each `mod` under `#[cfg(test)]`: the line of the attribute, and the declaration.
fn gated_modules(code: &[String]) -> impl Iterator<Item = (usize, &str)> {
    let gates = code.iter().enumerate().filter(|(_, line)| line.trim() == "#[cfg(test)]");
    gates.filter_map(|(index, _)| {
        let after = code[index + 1..].iter().map(|line| line.trim()).find(|line| !line.starts_with('#'))?;
        let is_module = after.starts_with("mod ") || after.starts_with("pub(crate) mod ");
        is_module.then_some((index, after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role_of(tree: &Tree, path: &str) -> Role {
        tree.rust().iter().find(|file| file.path == path).unwrap().role
    }

    #[test]
    fn production_ends_where_the_tests_of_the_file_begin() {
        let tree = Tree::of(&[
            ("crates/quay/src/lib.rs", "fn a() {}\n#[cfg(test)]\nuse b;\nfn c() {}\n#[cfg(test)]\nmod tests {\n}\n"),
            ("crates/quay/src/rope.rs", "fn a() {}\n"),
            ("crates/quay/build.rs", "fn main() {}\n"),
        ]);
        assert_eq!(role_of(&tree, "crates/quay/src/lib.rs"), Role::Production(4));
        assert_eq!(tree.rust()[1].test_lines(), 3);
        assert_eq!(role_of(&tree, "crates/quay/src/rope.rs"), Role::Production(1));
        assert_eq!(role_of(&tree, "crates/quay/build.rs"), Role::Other);
    }

    #[test]
    fn a_module_that_only_tests_see_is_a_test_wherever_it_lies() {
        let tree = Tree::of(&[
            ("crates/quay/src/lib.rs", "#[cfg(test)]\nmod pair;\nmod rope;\n"),
            ("crates/quay/src/pair.rs", "fn a() {}\n"),
            ("crates/quay/src/rope.rs", "#[cfg(test)]\n#[path = \"\"]\nmod knots;\n"),
            ("crates/quay/src/rope/knots.rs", "fn a() {}\n"),
            ("crates/quay/src/pairs.rs", "fn a() {}\n"),
            ("crates/quay/tests/it/main.rs", "fn a() {}\n"),
        ]);
        assert_eq!(role_of(&tree, "crates/quay/src/pair.rs"), Role::Test);
        assert_eq!(role_of(&tree, "crates/quay/src/rope/knots.rs"), Role::Test);
        assert_eq!(role_of(&tree, "crates/quay/src/pairs.rs"), Role::Production(1));
        assert_eq!(role_of(&tree, "crates/quay/tests/it/main.rs"), Role::Test);
    }

    #[test]
    fn a_gate_in_a_string_is_no_gate() {
        let tree = Tree::of(&[("xtask/src/a.rs", "const A: &str = \"\n#[cfg(test)]\nmod x {\n\";\nfn b() {}\n")]);
        assert_eq!(role_of(&tree, "xtask/src/a.rs"), Role::Production(5));
    }

    #[test]
    fn a_crate_is_told_by_its_whole_name() {
        let tree = Tree::of(&[("crates/tambat-os/src/lib.rs", ""), ("crates/tambat/src/main.rs", "")]);
        let of = |krate| tree.rust().iter().filter(|file| file.is_of(krate)).count();
        assert_eq!((of("tambat"), of("tambat-os"), of("tambat-o")), (1, 1, 0));
    }
}
