//! How many instances of each process: `web=2 api`, `all=1,worker=2`.

use std::collections::BTreeMap;

use crate::{NameError, Plan, ProcessName, ProcessPlan};

/// More than this of one process on one machine is a slip of the finger.
pub const INSTANCES_MAX: u16 = 1_000;

/// Which processes to start, and how many of each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Formation {
    all: Option<u16>,
    counts: BTreeMap<ProcessName, Option<u16>>,
    narrows: bool,
}

/// Why a formation cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormationError {
    /// The name before the `=` is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// What follows the `=` is not a count.
    #[error("`{0}` is not a number of instances: write PROCESS=N with N from 0 to {INSTANCES_MAX}")]
    Count(String),
    /// Named twice.
    #[error("`{0}` is named twice")]
    Twice(ProcessName),
    /// No such process in this app.
    #[error("there is no process `{name}` in this app; it has {known}")]
    Unknown {
        /// As typed.
        name: ProcessName,
        /// Those there are.
        known: String,
    },
    /// Two instances of a server on one data directory destroy it.
    #[error("`{0}` is stateful: two instances on its data would destroy it, so it runs once")]
    Stateful(ProcessName),
}

impl Formation {
    /// Reads `PROCESS[=N]` words, also several in one with commas; `all=N` is the default for those not named.
    /// A word without `=` names a process to start alone; words with `=` only set counts, as foreman's `-m` does,
    /// unless `narrows` says that naming selects.
    pub fn parse<S: AsRef<str>>(words: &[S], narrows: bool) -> Result<Self, FormationError> {
        let mut formation = Self::default();
        for word in words.iter().flat_map(|w| w.as_ref().split(',')).filter(|w| !w.is_empty()) {
            let (name, count) = match word.split_once('=') {
                Some((name, count)) => (name, Some(parse_count(word, count)?)),
                None => (word, None),
            };
            if name == "all" && count.is_some() {
                formation.all = count;
                continue;
            }
            let name: ProcessName = name.parse()?;
            if formation.counts.insert(name.clone(), count).is_some() {
                return Err(FormationError::Twice(name));
            }
        }
        formation.narrows = narrows && formation.all.is_none() && !formation.counts.is_empty();
        Ok(formation)
    }

    /// The number of instances of each process of the plan: those asked for, and with `deps` what they use.
    pub fn resolve(&self, plan: &Plan, deps: bool) -> Result<BTreeMap<ProcessName, u16>, FormationError> {
        for name in self.counts.keys() {
            if plan.process(name).is_none() {
                let known = plan.processes().iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
                return Err(FormationError::Unknown { name: name.clone(), known });
            }
        }
        let selected = self.selected(plan, deps);
        let mut counts = BTreeMap::new();
        for process in plan.processes() {
            let asked = self.counts.get(&process.name).copied().flatten().or(self.all);
            let count = if selected.contains(&&process.name) { asked.unwrap_or(process.instances) } else { 0 };
            if process.stateful && count > 1 {
                return Err(FormationError::Stateful(process.name.clone()));
            }
            counts.insert(process.name.clone(), count);
        }
        Ok(counts)
    }

    fn selected<'a>(&'a self, plan: &'a Plan, deps: bool) -> Vec<&'a ProcessName> {
        if !self.narrows {
            return plan.processes().iter().map(|p| &p.name).collect();
        }
        let mut selected: Vec<&ProcessName> = self.counts.keys().collect();
        let mut next = 0;
        while deps && next < selected.len() {
            let used = plan.process(selected[next]).into_iter().flat_map(ProcessPlan::local_providers);
            let new: Vec<_> = used.filter(|name| !selected.contains(name)).collect();
            for name in new {
                if !selected.contains(&name) {
                    selected.push(name);
                }
            }
            next += 1;
        }
        selected
    }
}

fn parse_count(word: &str, count: &str) -> Result<u16, FormationError> {
    count.parse().ok().filter(|n| *n <= INSTANCES_MAX).ok_or_else(|| FormationError::Count(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;
    use crate::draft::ProcessDraft;
    use crate::sample::{plan, process};

    fn shop() -> Plan {
        plan(vec![
            process("web", None, &["api"]),
            process("api", Some(Protocol::Http), &["cache", "mail"]),
            process("cache", Some(Protocol::Redis), &[]),
            ProcessDraft { instances: Some(3), ..process("worker", None, &[]) },
        ])
    }

    /// The counts of web, api, cache and worker.
    fn counts(words: &[&str], narrows: bool, deps: bool) -> Result<[u16; 4], String> {
        let formation = Formation::parse(words, narrows).map_err(|error| error.to_string())?;
        let counts = formation.resolve(&shop(), deps).map_err(|error| error.to_string())?;
        Ok(["web", "api", "cache", "worker"].map(|name| counts[&name.parse::<ProcessName>().unwrap()]))
    }

    #[test]
    fn who_runs_and_how_often() {
        for (words, narrows, deps, expected) in [
            (&[][..], true, true, [1, 1, 1, 3]),
            (&["web"], true, true, [1, 1, 1, 0]),
            (&["web"], true, false, [1, 0, 0, 0]),
            (&["api=2", "worker"], true, true, [0, 2, 1, 3]),
            (&["web=2,worker=0"], false, true, [2, 1, 1, 0]),
            (&["worker"], false, true, [1, 1, 1, 3]),
            (&["all=0", "web=2"], true, true, [2, 0, 0, 0]),
            (&["all=1,worker=2"], true, true, [1, 1, 1, 2]),
            (&["cache=1", "worker=1000"], true, true, [0, 0, 1, 1000]),
            (&["", ","], true, false, [1, 1, 1, 3]),
        ] {
            assert_eq!(counts(words, narrows, deps), Ok(expected), "{words:?}");
        }
    }

    #[test]
    fn what_cannot_be_taken_is_said() {
        for (words, sentence) in [
            (&["web=x"][..], "`web=x` is not a number of instances: write PROCESS=N with N from 0 to 1000"),
            (&["web=-1"], "`web=-1` is not a number of instances: write PROCESS=N with N from 0 to 1000"),
            (&["web=1001"], "`web=1001` is not a number of instances: write PROCESS=N with N from 0 to 1000"),
            (&["web=1", "web=2"], "`web` is named twice"),
            (&["wep"], "there is no process `wep` in this app; it has web, api, cache, worker"),
            (&["cache=2"], "`cache` is stateful: two instances on its data would destroy it, so it runs once"),
            (&["=2"], "`` is not the name of a process: it takes letters, digits, `_` and `-`, at most 63 of them"),
        ] {
            assert_eq!(counts(words, true, true), Err(sentence.to_owned()), "{words:?}");
        }
    }
}
