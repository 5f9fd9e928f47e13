//! What follows when the directory of apps has changed: from what runs and what is there to what is done. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tambat_manifest::Loaded;
use tambat_model::{Cause, Phase, Plan, ProcessName, Role, World, clashes};

use super::folder::Version;

/// An app that runs, as far as it matters for others and for its own next version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Runs<'a> {
    /// What runs.
    pub(crate) plan: &'a Plan,
    /// What is to run in its place, while that is on its way.
    pub(crate) next: Option<&'a Plan>,
    /// Of the folder that it runs from.
    pub(crate) version: Version,
    /// It is being stopped for good.
    pub(crate) is_leaving: bool,
}

/// A folder that has come to rest in a version that has not been judged yet.
#[derive(Debug)]
pub(crate) enum There {
    /// Its files are right.
    Good(Version, Box<Loaded>),
    /// They are not, for this reason.
    Wrong(String),
}

/// What is done about one folder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Its app is stopped.
    Stop,
    /// Its app is started.
    Start(Box<Loaded>),
    /// This takes the place of what runs.
    Replace(Box<Loaded>),
    /// What runs is what is there.
    Note,
    /// Its app is not served, or stays as it was where it runs.
    Refuse {
        /// Why.
        why: String,
        /// Another app has what it wants: that may change.
        by_others: bool,
    },
    /// It is judged when another one is done with what it is about.
    Wait,
}

/// What is done about each of these folders. Who runs has what it has; of two that are new and want the same, the first has
/// it. What is just being stopped or replaced is left alone until that is done.
pub(crate) fn decide(
    runs: &BTreeMap<String, Runs<'_>>,
    gone: &BTreeSet<String>,
    there: BTreeMap<String, There>,
) -> Vec<(String, Action)> {
    let is_busy = |runs: &Runs<'_>| runs.is_leaving || runs.next.is_some();
    let mut actions = Vec::new();
    for name in gone {
        match runs.get(name) {
            Some(runs) if is_busy(runs) => actions.push((name.clone(), Action::Wait)),
            Some(_) => actions.push((name.clone(), Action::Stop)),
            None => {}
        }
    }
    let leaves = |name: &str, runs: &Runs<'_>| runs.is_leaving || gone.contains(name);
    let mut taken: Vec<(String, Plan)> = Vec::new();
    for (name, there) in there {
        let before = runs.get(&name);
        let action = match (before, there) {
            (Some(before), _) if is_busy(before) => Action::Wait,
            (_, There::Wrong(why)) => Action::Refuse { why, by_others: false },
            (Some(before), There::Good(version, loaded))
                if loaded.plan == *before.plan && !version.differs_beside_the_manifest(before.version) =>
            {
                Action::Note
            }
            (before, There::Good(_, loaded)) => {
                let others = runs.iter().filter(|(other, _)| **other != name);
                let (leaving, staying): (Vec<_>, Vec<_>) = others.partition(|(other, runs)| leaves(other, runs));
                let plans = |runs: &[(&String, &Runs<'_>)]| -> Vec<Plan> {
                    runs.iter().flat_map(|(_, runs)| std::iter::once(runs.plan).chain(runs.next)).cloned().collect()
                };
                let (leaving, staying) = (plans(&leaving), plans(&staying));
                let why = clashes(&loaded.plan, staying.iter().chain(taken.iter().map(|(_, plan)| plan)));
                if !why.is_empty() {
                    Action::Refuse { why: why.join("; "), by_others: true }
                } else if !clashes(&loaded.plan, &leaving).is_empty() {
                    Action::Wait
                } else {
                    taken.push((name.clone(), loaded.plan.clone()));
                    if before.is_some() { Action::Replace(loaded) } else { Action::Start(loaded) }
                }
            }
        };
        actions.push((name, action));
    }
    actions
}

/// The first process of either version of which there may never be two; none: the next one can run beside the one before.
pub(crate) fn in_the_way<'a>(before: &'a Plan, next: &'a Plan) -> Option<&'a ProcessName> {
    let mut processes = before.processes().iter().chain(next.processes());
    processes.find(|process| process.stateful).map(|process| &process.name)
}

/// The processes that nobody waits for: of a version that is to run beside another, they start when those of the other have
/// ended, lest two do the same work.
pub(crate) fn workers(plan: &Plan) -> BTreeSet<ProcessName> {
    let workers = plan.processes().iter().filter(|process| process.role == Role::Worker);
    workers.map(|process| process.name.clone()).collect()
}

/// How far a version is that is to take another's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Some are not ready yet.
    Coming,
    /// All that should be there are.
    Ready,
    /// It will not be, for this reason: whoever fails now may fail again, and the version before goes on.
    Failed(Cause),
}

/// How far it is by this world of its own.
pub(crate) fn arrival(plan: &Plan, world: &World) -> Arrival {
    let mut arrival = Arrival::Ready;
    for process in plan.processes().iter().filter(|process| process.role == Role::Exporter) {
        let Some(view) = world.processes.get(&process.name) else { return Arrival::Coming };
        let failed = view.instances.iter().find_map(|instance| match &instance.phase {
            Phase::Backoff { cause } | Phase::Failed { cause } | Phase::Ended { cause } => Some(Arc::clone(cause)),
            _ if instance.restarts > 0 => Some(format!("{} has failed", instance.name).into()),
            _ => None,
        });
        if let Some(cause) = failed {
            return Arrival::Failed(cause);
        }
        let ready = view.instances.iter().filter(|instance| matches!(instance.phase, Phase::Ready { .. })).count();
        if ready < usize::from(view.desired) {
            arrival = Arrival::Coming;
        }
    }
    arrival
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Manifests of apps in folders of these names.
    struct Scene {
        dir: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap() }
        }

        fn loaded(&self, name: &str, manifest: &str) -> Box<Loaded> {
            let folder = self.dir.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("tambat.toml"), manifest).unwrap();
            Box::new(tambat_manifest::load_served(&folder, &[]).unwrap())
        }

        /// `web` at this host.
        fn web(&self, name: &str, host: &str) -> Box<Loaded> {
            self.loaded(name, &format!("[processes.web]\ncommand = \"run\"\nhosts = \"{host}\"\n"))
        }
    }

    fn version(manifest: u64) -> Version {
        Version::of_numbers(1, manifest, 1)
    }

    fn runs(loaded: &Loaded) -> Runs<'_> {
        Runs { plan: &loaded.plan, next: None, version: version(1), is_leaving: false }
    }

    /// In words, a line for each folder.
    fn decided(all: &[(&str, Runs<'_>)], gone: &[&str], there: Vec<(&str, There)>) -> Vec<String> {
        let runs = all.iter().map(|(name, runs)| ((*name).to_owned(), *runs)).collect();
        let gone = gone.iter().map(|name| (*name).to_owned()).collect();
        let there = there.into_iter().map(|(name, there)| (name.to_owned(), there)).collect();
        let told = |(name, action): (String, Action)| match action {
            Action::Stop => format!("stop {name}"),
            Action::Start(loaded) => format!("start {name} as {}", loaded.plan.name()),
            Action::Replace(loaded) => format!("replace {name} by {}", loaded.plan.name()),
            Action::Note => format!("note {name}"),
            Action::Refuse { why, by_others } => format!("refuse {name} ({by_others}): {why}"),
            Action::Wait => format!("wait {name}"),
        };
        decide(&runs, &gone, there).into_iter().map(told).collect()
    }

    fn good(loaded: Box<Loaded>) -> There {
        There::Good(version(2), loaded)
    }

    #[test]
    fn what_is_new_starts_what_is_gone_stops_and_what_is_wrong_is_told() {
        let scene = Scene::new();
        let (shop, blog) = (scene.web("shop", "shop.example"), scene.web("blog", "blog.example"));
        let all = [("shop", runs(&shop)), ("blog", runs(&blog))];
        let there = vec![
            ("chat", good(scene.web("chat", "chat.example"))),
            ("typo", There::Wrong("did you mean `command`?".to_owned())),
        ];
        assert_eq!(
            decided(&all, &["blog", "never"], there),
            ["stop blog", "start chat as chat", "refuse typo (false): did you mean `command`?"]
        );
        assert_eq!(decided(&all, &[], Vec::new()), [""; 0]);
    }

    #[test]
    fn a_version_replaces_another_where_it_says_something_else_or_is_another_folder() {
        let scene = Scene::new();
        let shop = scene.web("shop", "shop.example");
        let all = [("shop", runs(&shop))];
        let again = || scene.web("shop", "shop.example");
        assert_eq!(decided(&all, &[], vec![("shop", good(again()))]), ["note shop"]);
        for other in [Version::of_numbers(2, 1, 1), Version::of_numbers(1, 1, 2)] {
            assert_eq!(decided(&all, &[], vec![("shop", There::Good(other, again()))]), ["replace shop by shop"]);
        }
        let other = scene.web("shop", "other.example");
        assert_eq!(decided(&all, &[], vec![("shop", good(other))]), ["replace shop by shop"]);
        let wrong = There::Wrong("it is empty".to_owned());
        assert_eq!(decided(&all, &[], vec![("shop", wrong)]), ["refuse shop (false): it is empty"]);
    }

    #[test]
    fn who_runs_has_what_it_has_and_of_two_new_ones_the_first() {
        let scene = Scene::new();
        let shop = scene.web("shop", "shop.example");
        let all = [("shop", runs(&shop))];
        let there = vec![
            ("a", good(scene.web("a", "shop.example"))),
            ("b", good(scene.web("b", "b.example"))),
            ("c", good(scene.web("c", "b.example"))),
        ];
        let answers = "both answer at";
        let told = decided(&all, &[], there);
        assert!(
            told[0].starts_with(&format!("refuse a (true): `web` of shop and `web` of a {answers} shop.example")),
            "{told:?}"
        );
        assert_eq!(told[1], "start b as b");
        assert!(
            told[2].starts_with(&format!("refuse c (true): `web` of b and `web` of c {answers} b.example")),
            "{told:?}"
        );
    }

    #[test]
    fn listeners_that_cannot_both_be_are_told_with_the_lines_to_write() {
        let scene = Scene::new();
        let line = |name: &str, listen: &str| {
            let keys = format!("protocol = \"tcp\"\nexpose = true\nlisten = \"{listen}\"\n");
            scene.loaded(name, &format!("[processes.line]\ncommand = \"run\"\n{keys}"))
        };
        let shop = line("shop", "127.0.0.1:7000");
        let all = [("shop", runs(&shop))];
        let told = |name: &str, listen: &str| decided(&all, &[], vec![(name, good(line(name, listen)))]).remove(0);
        let both = told("blog", "0.0.0.0:7000");
        assert!(
            both.ends_with("cannot both be listened at: write the same address at both, or another port"),
            "{both}"
        );
        let same = told("blog", "127.0.0.1:7000");
        assert!(same.starts_with("refuse blog (true): ") && same.contains("shop/line"), "{same}");
        assert_eq!(told("shop", "0.0.0.0:7000"), "replace shop by shop", "its own is no obstacle");
    }

    #[test]
    fn what_is_under_way_is_waited_for() {
        let scene = Scene::new();
        let (shop, next) = (scene.web("shop", "shop.example"), scene.web("shop", "next.example"));
        let heir = || good(scene.web("heir", "shop.example"));
        let leaving = Runs { is_leaving: true, ..runs(&shop) };
        let there = vec![("heir", heir()), ("shop", good(scene.web("shop", "shop.example")))];
        assert_eq!(decided(&[("shop", leaving)], &[], there), ["wait heir", "wait shop"]);
        assert_eq!(decided(&[("shop", leaving)], &["shop"], Vec::new()), ["wait shop"]);
        // A folder that was given another name: the one goes, and the other comes when it has gone.
        assert_eq!(decided(&[("shop", runs(&shop))], &["shop"], vec![("heir", heir())]), ["stop shop", "wait heir"]);
        let replaced = Runs { next: Some(&next.plan), ..runs(&shop) };
        let there = vec![("shop", There::Wrong("it is empty".to_owned()))];
        assert_eq!(decided(&[("shop", replaced)], &[], there), ["wait shop"]);
        for host in ["shop.example", "next.example"] {
            let told = decided(&[("shop", replaced)], &[], vec![("heir", good(scene.web("heir", host)))]);
            assert!(told[0].starts_with("refuse heir (true)"), "{told:?}");
        }
    }

    #[test]
    fn a_version_runs_beside_another_unless_there_may_be_only_one_of_something() {
        let scene = Scene::new();
        let app = |keys: &str| {
            let web = "[processes.web]\ncommand = \"run\"\n[processes.work]\ncommand = \"work\"\n";
            scene.loaded("shop", &format!("{web}{keys}"))
        };
        let (plain, with_data) = (app(""), app("[processes.db]\ncommand = \"run\"\nprotocol = \"postgres\"\n"));
        assert_eq!(in_the_way(&plain.plan, &plain.plan), None);
        for (before, next) in [(&plain, &with_data), (&with_data, &plain)] {
            assert_eq!(in_the_way(&before.plan, &next.plan).map(ProcessName::as_str), Some("db"));
        }
        assert_eq!(workers(&plain.plan), BTreeSet::from(["work".parse().unwrap()]));
    }

    #[test]
    fn a_version_has_arrived_when_all_that_clients_reach_are_ready_and_fails_with_the_first() {
        use tambat_model::{InstanceName, InstanceView, ProcessView};
        let scene = Scene::new();
        let plan =
            scene.loaded("shop", "[processes.web]\ncommand = \"run\"\n[processes.work]\ncommand = \"work\"\n").plan;
        let ready =
            || Phase::Ready { pid: 1, endpoints: [].into(), load: Arc::default(), after: std::time::Duration::ZERO };
        let judged = |desired, phases: Vec<(Phase, u32)>| {
            let name = InstanceName { process: "web".parse().unwrap(), number: std::num::NonZeroU16::MIN };
            let instance =
                |(phase, restarts)| InstanceView { name: name.clone(), generation: 1, restarts, phase, ill: None };
            let instances = phases.into_iter().map(instance).collect();
            let web = ProcessView { desired, instances, ..ProcessView::default() };
            // Workers have not been started.
            arrival(&plan, &World { processes: BTreeMap::from([("web".parse().unwrap(), web)]) })
        };
        let failed = |cause: &str| Arrival::Failed(cause.into());
        assert_eq!(arrival(&plan, &World::default()), Arrival::Coming);
        assert_eq!(judged(1, Vec::new()), Arrival::Coming);
        assert_eq!(judged(0, Vec::new()), Arrival::Ready);
        assert_eq!(judged(2, vec![(ready(), 0)]), Arrival::Coming);
        assert_eq!(judged(2, vec![(ready(), 0), (Phase::Spawning, 0)]), Arrival::Coming);
        assert_eq!(judged(2, vec![(ready(), 0), (ready(), 0)]), Arrival::Ready);
        assert_eq!(judged(2, vec![(ready(), 0), (Phase::Backoff { cause: "it broke".into() }, 0)]), failed("it broke"));
        assert_eq!(judged(1, vec![(Phase::Ended { cause: "it ended".into() }, 0)]), failed("it ended"));
        assert_eq!(judged(1, vec![(ready(), 1)]), failed("web.1 has failed"));
    }
}
