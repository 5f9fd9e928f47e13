//! The apps of a server: what its directory has, which of them can be served beside each other, and what each of them needs
//! for it. One that is broken keeps no other from being served.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tambat_manifest::Loaded;
use tambat_model::{EntrancePlan, Formation, ListenPlan, Plan, Source, clashes};
use tambat_os::Spawner;

use crate::cli::{self, PortArgs};
use crate::daemon::{self, AppStart, Kept, Look, StateDir};
use crate::failure::Failure;
use crate::run_lock::RunLock;
use crate::sockets::Sockets;
use crate::{dependency_files, layers, output};

/// What the directory has: a folder, or a link to one, by its name there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As it is called in the directory.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// An app that is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    /// As it is called in the directory.
    pub(crate) name: String,
    /// Why.
    pub(crate) why: String,
}

/// An app that can be served, as far as its files tell.
#[derive(Debug)]
pub(crate) struct Good {
    entry: Entry,
    loaded: Loaded,
}

impl Good {
    /// As it is called in the directory.
    pub(crate) fn name(&self) -> &str {
        &self.entry.name
    }

    /// The listeners that its files ask for.
    pub(crate) fn entrances(&self) -> &[EntrancePlan] {
        self.loaded.plan.entrances()
    }
}

/// Every folder of this directory, and every link, in the order of their names. What begins with a dot is none of ours.
pub(crate) fn entries(apps: &Path) -> Result<Vec<Entry>, Failure> {
    let unreadable = |error: std::io::Error| Failure::usage(format!("cannot read {}: {error}", apps.display()));
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(apps).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !name.starts_with('.') && !is_file {
            entries.push(Entry { name, path: entry.path() });
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Which of them can be served, and why the others cannot. Of two that want the same the first has it.
/// `listen`: what the server says of its listeners.
pub(crate) fn judge(entries: Vec<Entry>, listen: &[ListenPlan]) -> (Vec<Good>, Vec<Broken>) {
    let (mut good, mut broken) = (Vec::<Good>::new(), Vec::new());
    for entry in entries {
        match load(&entry.path, listen) {
            Ok(loaded) => {
                let clashes = clashes(&loaded.plan, good.iter().map(|good| &good.loaded.plan));
                if clashes.is_empty() {
                    good.push(Good { entry, loaded });
                } else {
                    broken.push(Broken { name: entry.name, why: clashes.join("; ") });
                }
            }
            Err(error) => broken.push(Broken { name: entry.name, why: error.to_string() }),
        }
    }
    (good, broken)
}

/// What the app in this folder is. `listen`: what the server says of its listeners.
pub(crate) fn load(folder: &Path, listen: &[ListenPlan]) -> Result<Loaded, Failure> {
    let loaded = tambat_manifest::load_served(folder, listen)?;
    Ok(Loaded { plan: dependency_files::recognising(loaded.plan), ..loaded })
}

/// What apps are prepared with.
#[derive(Debug)]
pub(crate) struct Workshop<'a> {
    pub(crate) spawner: &'a Spawner,
    pub(crate) sockets: &'a Sockets,
    /// Where service ports begin; 0: the kernel chooses; none: as each app remembers it.
    pub(crate) port: Option<u16>,
    /// How lines look; each app's have its own name.
    pub(crate) look: &'a Look,
}

/// Each app with its lock and its service ports, by the name of its folder, and why others cannot have them.
pub(crate) fn prepare(good: Vec<Good>, workshop: &Workshop<'_>) -> (Vec<(String, AppStart)>, Vec<Broken>) {
    let (mut starts, mut broken) = (Vec::new(), Vec::new());
    for Good { entry, loaded } in in_order_of_ports(good) {
        match held(&loaded.plan, workshop).and_then(|held| prepare_one(loaded, workshop, held, Kept::default())) {
            Ok(start) => starts.push((entry.name, start)),
            Err(failure) => broken.push(Broken { name: entry.name, why: failure.to_string() }),
        }
    }
    starts.sort_by(|(_, a), (_, b)| a.plan.name().cmp(b.plan.name()));
    (starts, broken)
}

/// Who asks for ports by number comes first, then who had some in its last run, then who takes what is left.
fn in_order_of_ports(mut good: Vec<Good>) -> Vec<Good> {
    good.sort_by_key(|good| {
        let plan = &good.loaded.plan;
        let is_explicit = plan.processes().iter().flat_map(|p| &p.ports).any(|port| port.service.is_some());
        let remembers = || StateDir::of(plan.dir()).is_ok_and(|state| state.base().is_some());
        if is_explicit { 0 } else { 2 - u8::from(remembers()) }
    });
    good
}

/// What is remembered of an app, and proof that nobody else runs it.
type Held = (Option<StateDir>, RunLock);

fn held(plan: &Plan, workshop: &Workshop<'_>) -> Result<Held, Failure> {
    let state = cli::state(plan);
    let lock = cli::lock(state.as_ref(), workshop.sockets, plan)?;
    cli::await_last_run(&lock, plan, workshop.spawner)?;
    Ok((state, lock))
}

/// The same for one that comes later: with its lock and its service ports, those that are `kept` for it among them.
pub(crate) async fn prepare_later(
    loaded: Loaded,
    workshop: &Workshop<'_>,
    mut kept: Kept,
) -> Result<AppStart, Failure> {
    let plan = &loaded.plan;
    let state = cli::state(plan);
    let lock = match kept.lock.take() {
        Some(lock) => lock,
        None => cli::take_lock(state.as_ref(), workshop.sockets, plan).await?,
    };
    cli::last_run_ends(&lock, plan, workshop.spawner).await?;
    prepare_one(loaded, workshop, (state, lock), kept)
}

fn prepare_one(loaded: Loaded, workshop: &Workshop<'_>, (state, lock): Held, kept: Kept) -> Result<AppStart, Failure> {
    let plan = loaded.plan;
    let layers = layers::read(plan.dir(), &[], &[])?;
    cli::warn(loaded.warnings.iter().chain(&layers.warnings));
    layers.overridden(&plan).iter().for_each(|warning| output::say(warning));
    let formation = Formation::parse::<&str>(&[], true).and_then(|all| all.resolve(&plan, true));
    let formation = formation.map_err(|error| Failure::usage(error.to_string()))?;
    if formation.values().all(|count| *count == 0) {
        return Err(Failure::usage("every process has 0 instances"));
    }
    let Workshop { spawner, sockets, .. } = workshop;
    let socket = sockets.socket(plan.dir());
    lock.note(spawner.pid(), &socket);
    // The shell's PORT is this server's, not the app's.
    let port = layers.port.as_ref().filter(|layer| matches!(layer.source, Source::DotEnv { .. }));
    let args = PortArgs { port: workshop.port, http_port: 0, https_port: None, strict_port: false };
    let is_built = kept.is_built;
    if let (Some(state), Some(base)) = (&state, kept.base)
        && state.base().is_none()
    {
        // A version in another folder has another memory.
        let _ = state.set_base(Some(base));
    }
    let bound = match daemon::bind_kept(&plan, &args, port, state.as_ref(), kept) {
        Ok(bound) => bound,
        Err(failure) => {
            lock.end();
            return Err(failure);
        }
    };
    Ok(AppStart {
        look: look(workshop.look, &plan),
        formation,
        layers,
        bound,
        lock,
        socket,
        sockets: (*sockets).clone(),
        state,
        // Where names are served is not known to one app.
        published: BTreeMap::new(),
        terminal: None,
        exit_on_end: false,
        is_built,
        later: BTreeSet::new(),
        plan,
    })
}

fn look(look: &Look, plan: &Plan) -> Look {
    let names = plan.processes().iter().map(|p| p.name.to_string()).collect();
    Look { app: Some(plan.name().to_string()), names, ..look.clone() }
}

/// How wide the column of the names is: as the longest of them all needs it.
pub(crate) fn width(good: &[Good]) -> usize {
    let plans = good.iter().map(|good| &good.loaded.plan);
    let instances = plans.flat_map(|plan| {
        plan.processes().iter().map(move |p| format!("{}/{}.{}", plan.name(), p.name, p.instances.max(1)))
    });
    let names: Vec<String> = instances.collect();
    Look::width_of(names.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn folders_and_links_are_apps_and_what_is_hidden_or_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (apps, elsewhere) = (dir.path().join("apps"), dir.path().join("elsewhere"));
        fs::create_dir_all(apps.join("shop")).unwrap();
        fs::create_dir_all(apps.join(".git")).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        fs::write(apps.join("serve.toml"), "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, apps.join("blog")).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", apps.join("gone")).unwrap();
        let names: Vec<String> = entries(&apps).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["blog", "gone", "shop"]);
    }

    #[test]
    fn one_that_is_broken_keeps_no_other_from_being_served() {
        let dir = tempfile::tempdir().unwrap();
        let app = |name: &str, manifest: &str| {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("tambat.toml"), manifest).unwrap();
        };
        let web = |host: &str| format!("[processes.web]\ncommand = \"run\"\nhosts = \"{host}\"\n");
        app("a", &web("shop.example"));
        app("b", &web("shop.example"));
        app("c", "[processes.web]\ncomand = \"run\"\n");
        app("d", &web("d.example"));
        fs::create_dir(dir.path().join("e")).unwrap();
        let (good, broken) = judge(entries(dir.path()).unwrap(), &[]);
        let names: Vec<&str> = good.iter().map(|good| good.entry.name.as_str()).collect();
        assert_eq!(names, ["a", "d"]);
        let why = |nth: usize| (broken[nth].name.as_str(), broken[nth].why.as_str());
        let clash = "`web` of a and `web` of b both answer at shop.example: give one of them another host, or a `path`";
        assert_eq!(why(0), ("b", clash));
        assert!(why(1).0 == "c" && why(1).1.contains("did you mean `command`?"), "{broken:?}");
        assert!(why(2).0 == "e" && why(2).1.starts_with("cannot find an app in"), "{broken:?}");
    }
}
