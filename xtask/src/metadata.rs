//! What `cargo metadata` says, read once into our own words.

use std::path::Path;

use serde_json::Value;

use crate::{failure::Failure, run};

/// Every package that is linked on this platform, and who asks for it.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
}

/// One version of one crate.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The SPDX expression; `None` when the package says nothing, or points at a file.
    pub(crate) licence: Option<String>,
    /// Whether it is a member of this workspace.
    pub(crate) ours: bool,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a `[dependencies]` table, by the crate's own name (not a local rename).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

impl Metadata {
    /// Asks cargo, for the platform that it builds for here: crates of other platforms are neither fetched nor judged.
    pub(crate) fn read(root: &Path) -> Result<Self, Failure> {
        let platform = host(root)?;
        let args = ["metadata", "--format-version", "1", "--filter-platform", &platform];
        Self::parse(&run::captured(run::cargo(root, &args))?)
    }

    /// Reads version 1 of the format.
    pub(crate) fn parse(json: &str) -> Result<Self, Failure> {
        let unknown = |cause: &str| {
            Failure::new(format!("cannot read the answer of `cargo metadata`: {cause}"), "has its format 1 changed?")
        };
        let root: Value = serde_json::from_str(json).map_err(|error| unknown(&error.to_string()))?;
        let members = root["workspace_members"].as_array().ok_or_else(|| unknown("no `workspace_members`"))?;
        let packages = root["packages"].as_array().ok_or_else(|| unknown("no `packages`"))?;
        let read = |package| Package::read(package, members).ok_or_else(|| unknown("a package without a name"));
        Ok(Self { packages: packages.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// The members of this workspace.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.ours)
    }
}

impl Package {
    fn read(package: &Value, members: &[Value]) -> Option<Self> {
        Some(Self {
            name: package["name"].as_str()?.to_owned(),
            version: package["version"].as_str()?.to_owned(),
            licence: package["license"].as_str().map(str::to_owned),
            ours: members.contains(&package["id"]),
            dependencies: package["dependencies"].as_array()?.iter().map(Dependency::read).collect::<Option<_>>()?,
        })
    }
}

impl Dependency {
    fn read(dependency: &Value) -> Option<Self> {
        let kind = match dependency["kind"].as_str() {
            None => Kind::Normal,
            Some("build") => Kind::Build,
            Some("dev") => Kind::Dev,
            Some(_) => return None,
        };
        Some(Self { name: dependency["name"].as_str()?.to_owned(), kind })
    }
}

fn host(root: &Path) -> Result<String, Failure> {
    let said = run::captured(run::cargo(root, &["-vV"]))?;
    said.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).ok_or_else(|| {
        Failure::new("cannot tell the platform: `cargo -vV` names no host", "is CARGO another program than cargo?")
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two members and three versions of two crates, as cargo writes them.
    pub(crate) const SAMPLE: &str = r#"{
        "workspace_members": ["path+file:///w/quay#0.1.0", "path+file:///w/rope#0.1.0"],
        "packages": [
            {"id": "path+file:///w/quay#0.1.0", "name": "quay", "version": "0.1.0", "license": "MIT",
             "dependencies": [{"name": "rope", "kind": null}, {"name": "hemp", "kind": "dev"}, {"name": "cc", "kind": "build"}]},
            {"id": "path+file:///w/rope#0.1.0", "name": "rope", "version": "0.1.0", "license": "MIT", "dependencies": []},
            {"id": "r#hemp@1.0.0", "name": "hemp", "version": "1.0.0", "license": null, "dependencies": []},
            {"id": "r#cc@1.0.0", "name": "cc", "version": "1.0.0", "license": "MIT/Apache-2.0", "dependencies": []},
            {"id": "r#cc@2.0.0", "name": "cc", "version": "2.0.0", "license": "GPL-3.0-only", "dependencies": []}
        ]}"#;

    #[test]
    fn members_and_kinds_are_told_apart() {
        let metadata = Metadata::parse(SAMPLE).unwrap();
        assert_eq!(metadata.ours().map(|package| package.name.as_str()).collect::<Vec<_>>(), ["quay", "rope"]);
        let kinds: Vec<Kind> = metadata.packages[0].dependencies.iter().map(|dependency| dependency.kind).collect();
        assert_eq!(kinds, [Kind::Normal, Kind::Dev, Kind::Build]);
    }

    #[test]
    fn another_format_is_an_error() {
        for json in ["", "{}", r#"{"workspace_members": [], "packages": [{}]}"#] {
            assert!(Metadata::parse(json).is_err(), "{json}");
        }
    }
}
