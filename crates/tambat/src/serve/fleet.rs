//! The apps of a server that runs: what is known of each, and what is done when their directory changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tambat_model::{ListenPlan, Plan};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::apps;
use super::change::{Action, Runs, There, decide, in_the_way};
use super::folder::{Settling, Sight, Version};
use super::stay::{End, News, Start, Wish, stay};
use super::yard::{Coming, Yard};
use crate::daemon::Incoming;
use crate::failure::Failure;

/// What a look at the directory has found.
pub(crate) type Look = Result<BTreeMap<String, Sight>, Failure>;

/// The apps of a server that runs. Each goes by the name of its folder.
pub(crate) struct Fleet {
    yard: Arc<Yard>,
    /// Their directory.
    dir: PathBuf,
    /// What the server says of its listeners.
    listen: Vec<ListenPlan>,
    runs: BTreeMap<String, Running>,
    stays: JoinSet<(String, End)>,
    news: UnboundedReceiver<(String, News)>,
    tell: UnboundedSender<(String, News)>,
    settling: Settling,
    /// The version of each folder that was judged last.
    judged: BTreeMap<String, Version>,
    /// Those that are not served, or not in that version.
    refused: BTreeSet<String>,
    /// Those of them that are so since others have what they want.
    by_others: BTreeSet<String>,
    /// Those of them for which that may have changed.
    again: BTreeSet<String>,
    /// Why the directory could not be read the last time.
    unreadable: Option<String>,
}

/// An app that runs, as far as the fleet knows.
struct Running {
    plan: Plan,
    version: Version,
    /// What is to take its place.
    next: Option<(Plan, Version)>,
    is_leaving: bool,
    wishes: UnboundedSender<Wish>,
}

/// What happens to the fleet.
pub(crate) enum Event {
    /// A version takes another's place, or does not.
    News(String, News),
    /// A stay has ended.
    Ended(String, End),
}

impl Fleet {
    /// Of nothing yet.
    pub(crate) fn new(yard: Arc<Yard>, dir: PathBuf, listen: Vec<ListenPlan>) -> Self {
        let (tell, news) = mpsc::unbounded_channel();
        Self {
            yard,
            dir,
            listen,
            runs: BTreeMap::new(),
            stays: JoinSet::new(),
            news,
            tell,
            settling: Settling::default(),
            judged: BTreeMap::new(),
            refused: BTreeSet::new(),
            by_others: BTreeSet::new(),
            again: BTreeSet::new(),
            unreadable: None,
        }
    }

    /// Folders in these versions have been judged before there was a fleet: those that are not served may be, when others go.
    pub(crate) fn judged(&mut self, versions: BTreeMap<String, Version>) {
        let broken = self.yard.view.broken();
        self.refused.extend(versions.keys().filter(|folder| broken.contains_key(*folder)).cloned());
        self.by_others.clone_from(&self.refused);
        self.judged = versions;
    }

    /// Takes in an app that has been begun.
    pub(crate) fn take_in(&mut self, folder: String, version: Version, coming: Coming) {
        let plan = (*coming.begun.app.plan).clone();
        self.begin(folder, plan, version, Start::Begun(Box::new(coming)));
    }

    fn begin(&mut self, folder: String, plan: Plan, version: Version, start: Start) {
        let (wishes, asked) = mpsc::unbounded_channel();
        self.stays.spawn(stay(Arc::clone(&self.yard), folder.clone(), start, asked, self.tell.clone()));
        self.runs.insert(folder, Running { plan, version, next: None, is_leaving: false, wishes });
    }

    /// Hands on what is asked of all.
    pub(crate) fn order(&self, incoming: Incoming) {
        // One that has ended needs no telling.
        self.runs.values().for_each(|running| drop(running.wishes.send(Wish::Signal(incoming))));
    }

    /// Comes back when something has happened; never, as long as there is nothing. Cancel safe.
    pub(crate) async fn next(&mut self) -> Event {
        tokio::select! {
            Some((folder, news)) = self.news.recv() => Event::News(folder, news),
            Some(Ok((folder, end))) = self.stays.join_next() => Event::Ended(folder, end),
            else => std::future::pending().await,
        }
    }

    /// Waits for the next app to end; false: there is none any more. Cancel safe.
    pub(crate) async fn next_end(&mut self) -> bool {
        self.stays.join_next().await.is_some()
    }

    /// Which folders are known in which version; none: whatever it is.
    pub(crate) fn known(&self) -> BTreeMap<String, Option<Version>> {
        let judged = self.judged.iter().map(|(folder, version)| (folder.clone(), Some(*version)));
        judged.chain(self.runs.keys().map(|folder| (folder.clone(), None))).collect()
    }

    /// Takes in what has happened.
    pub(crate) fn on(&mut self, event: Event) {
        match event {
            Event::News(folder, News::Replaced) => {
                if let Some(running) = self.runs.get_mut(&folder)
                    && let Some((plan, version)) = running.next.take()
                {
                    (running.plan, running.version) = (plan, version);
                }
                self.something_went();
            }
            Event::News(folder, News::Kept(failure)) => {
                if let Some(running) = self.runs.get_mut(&folder) {
                    running.next = None;
                }
                let has_changed = self.by_others.remove(&folder);
                // Not tried again because something else has gone: two of them would have each other try for ever.
                self.refuse(&folder, &failure.to_string(), false);
                if has_changed {
                    // What is there now has been seen meanwhile, and has waited for this.
                    self.again.insert(folder);
                }
            }
            Event::Ended(folder, end) => self.ended(&folder, end),
        }
    }

    fn ended(&mut self, folder: &str, end: End) {
        let Some(running) = self.runs.remove(folder) else { return };
        // One that has never run has had nothing that others could have now.
        if !matches!(end, End::NotBegun { has_run: false, .. }) {
            self.something_went();
        }
        if running.next.is_some() {
            // It was never begun, and may be all right.
            self.again.insert(folder.to_owned());
        }
        match end {
            End::NotBegun { failure, .. } => self.refuse(folder, &failure.to_string(), true),
            End::Ended(_) if running.is_leaving => {
                self.judged.remove(folder);
                self.yard.view.forget(folder);
                self.yard.sayer.say(format!("{folder} is not served any more"));
            }
            // Without being told to: its build failed. The others go on.
            End::Ended(outcome) => {
                let why = outcome.err().map_or_else(|| "it has ended".to_owned(), |failure| failure.to_string());
                self.refuse(folder, &why, false);
            }
        }
    }

    /// Others may have what one had.
    fn something_went(&mut self) {
        self.again.append(&mut self.by_others);
    }

    /// Takes in a look at the directory. `at_once`: somebody says that all is ready. Says how many folders were judged.
    pub(crate) fn looked(&mut self, look: Look, now: Instant, at_once: bool) -> usize {
        let look = match look {
            Ok(look) => look,
            Err(failure) => {
                let why = failure.to_string();
                if self.unreadable.as_ref() != Some(&why) {
                    self.yard.sayer.say(format!("{why}: the apps that are served go on"));
                }
                self.unreadable = Some(why);
                return 0;
            }
        };
        self.unreadable = None;
        let expected: BTreeSet<String> = self.runs.keys().chain(self.judged.keys()).cloned().collect();
        let rested = self.settling.take_in(&look, &expected, now, at_once);
        let (mut gone, mut there) = (BTreeSet::new(), BTreeMap::new());
        for (folder, version) in rested {
            let Some(version) = version else {
                gone.insert(folder);
                continue;
            };
            // Who says that all is ready may have mended what is in no file of ours.
            let is_tried_again = self.again.contains(&folder) || (at_once && self.refused.contains(&folder));
            if self.judged.get(&folder) == Some(&version) && !is_tried_again {
                continue;
            }
            let path = self.dir.join(&folder);
            let found = apps::load(&path, &self.listen).map_or_else(
                |failure| There::Wrong(failure.to_string()),
                |loaded| There::Good(version, Box::new(loaded)),
            );
            self.judged.insert(folder.clone(), version);
            if at_once && !self.runs.contains_key(&folder) {
                // Whoever asks is told, also what has been said before.
                self.yard.view.forget(&folder);
            }
            there.insert(folder, found);
        }
        self.forget(&gone);
        let count = there.len() + gone.iter().filter(|folder| self.runs.contains_key(*folder)).count();
        let runs = self.runs.iter().map(|(folder, running)| {
            let Running { plan, version, next, is_leaving, .. } = running;
            let next = next.as_ref().map(|(plan, _)| plan);
            (folder.clone(), Runs { plan, next, version: *version, is_leaving: *is_leaving })
        });
        let actions = decide(&runs.collect(), &gone, there);
        actions.into_iter().for_each(|(folder, action)| self.act(folder, action));
        count
    }

    /// Those that were not served and are not there any more.
    fn forget(&mut self, gone: &BTreeSet<String>) {
        let of_nobody: Vec<&String> = gone.iter().filter(|folder| !self.runs.contains_key(*folder)).collect();
        for folder in of_nobody {
            self.judged.remove(folder);
            self.is_judged_anew(folder);
            self.yard.view.forget(folder);
        }
    }

    /// What was found of it before holds no more.
    fn is_judged_anew(&mut self, folder: &str) {
        for all in [&mut self.refused, &mut self.by_others, &mut self.again] {
            all.remove(folder);
        }
    }

    fn act(&mut self, folder: String, action: Action) {
        self.is_judged_anew(&folder);
        let version = self.judged.get(&folder).copied();
        match (action, version) {
            (Action::Wait, _) => {
                if let Some(running) = self.runs.get(&folder).filter(|running| running.next.is_some()) {
                    // A build, or an instance, may never come to its end.
                    let _ = running.wishes.send(Wish::Withdraw);
                }
                // As soon as that is over.
                self.by_others.insert(folder);
            }
            (Action::Refuse { why, by_others }, _) => self.refuse(&folder, &why, by_others),
            (Action::Stop, _) => {
                self.yard.sayer.say(format!("the folder of {folder} is gone: finishing what is on its way there"));
                if let Some(running) = self.runs.get_mut(&folder) {
                    running.is_leaving = true;
                    // One that has just ended goes without.
                    let _ = running.wishes.send(Wish::Leave);
                }
            }
            (Action::Note, version) => {
                if self.yard.view.is_as_written(&folder) {
                    self.yard.sayer.say(format!("{folder} is served as its files say again"));
                }
                if let (Some(running), Some(version)) = (self.runs.get_mut(&folder), version) {
                    running.version = version;
                }
            }
            (Action::Start(loaded), Some(version)) => {
                self.yard.sayer.say(format!("{folder} is new: starting it"));
                self.begin(folder, loaded.plan.clone(), version, Start::New(loaded));
            }
            (Action::Replace(loaded), Some(version)) => {
                if let Some(running) = self.runs.get_mut(&folder) {
                    let when = match in_the_way(&running.plan, &loaded.plan) {
                        None => "when it is ready".to_owned(),
                        Some(one) => format!(
                            "when what is on its way is finished and `{one}`, of which there is never more than one, has \
                             stopped"
                        ),
                    };
                    self.yard.sayer.say(format!("{folder} has changed: its new version takes over {when}"));
                    running.next = Some((loaded.plan.clone(), version));
                    let _ = running.wishes.send(Wish::Replace(loaded));
                }
            }
            // What is started has been judged.
            (Action::Start(_) | Action::Replace(_), None) => {}
        }
    }

    /// It is not served for this reason; where another version of it runs, that goes on.
    fn refuse(&mut self, folder: &str, why: &str, by_others: bool) {
        self.refused.insert(folder.to_owned());
        if by_others {
            self.by_others.insert(folder.to_owned());
        }
        if self.runs.contains_key(folder) {
            self.yard.view.keep(folder, why);
            self.yard.sayer.say(format!("{folder} has changed, and goes on as it was: {why}"));
        } else if self.yard.view.lose(folder, why) {
            self.yard.sayer.say(not_served(folder, why));
        }
    }
}

/// As it is told.
pub(crate) fn not_served(name: &str, why: &str) -> String {
    format!("{name} is not served: {why}")
}
