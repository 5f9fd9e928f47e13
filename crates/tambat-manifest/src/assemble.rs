//! Procfile and manifest, put together: the draft, and the place of every problem that its check finds.

use std::path::Path;

use tambat_model::{Draft, Place, Plan, Problem, ProcessDraft};

use crate::diagnostic::{Diagnostic, Spot};
use crate::findings::Findings;
use crate::manifest::{self, Manifest};
use crate::procfile::{self, Procfile};
use crate::{Files, Loaded, name_of};

/// What the files mean for an app in this directory.
pub(crate) fn assemble(files: &Files, dir: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    let procfile = files.procfile.as_ref().map(procfile::read);
    let manifest = match files.manifest.as_ref().map(manifest::read).transpose() {
        Ok(manifest) => manifest,
        Err(syntax) => {
            let mut found = procfile.map(|procfile| procfile.found).unwrap_or_default();
            found.push(*syntax);
            return Err(found.in_order());
        }
    };
    Assembly { procfile, manifest }.plan(dir)
}

struct Assembly {
    procfile: Option<Procfile>,
    manifest: Option<Manifest>,
}

impl Assembly {
    fn plan(self, dir: &Path) -> Result<Loaded, Vec<Diagnostic>> {
        let draft = self.draft(dir);
        let mut found = self.one_off();
        self.procfile.iter().for_each(|p| found.append(p.found.clone()));
        self.manifest.iter().for_each(|m| found.append(m.found.clone()));
        let spoilt = found.has_errors();
        let (plan, problems) = match Plan::new(draft) {
            Ok((plan, problems)) => (Some(plan), problems),
            Err(problems) => (None, problems),
        };
        let follows = |problem: &&Problem| !(spoilt && self.follows(problem));
        problems.iter().filter(follows).for_each(|problem| found.push(self.diagnostic(problem)));
        match plan {
            Some(plan) if !spoilt => Ok(Loaded { plan, warnings: found.in_order() }),
            _ => Err(found.in_order()),
        }
    }

    /// The lines of the Procfile, then what only the manifest has. The manifest's command wins.
    fn draft(&self, dir: &Path) -> Draft {
        let mut written: Vec<Option<ProcessDraft>> =
            self.manifest.iter().flat_map(|m| &m.processes).cloned().map(Some).collect();
        let mut processes = Vec::new();
        let mut position = 0_u16;
        for entry in self.procfile.iter().flat_map(|p| &p.entries) {
            let of_manifest = written.iter_mut().find(|w| w.as_ref().is_some_and(|w| w.name == entry.name));
            let draft = match of_manifest.and_then(Option::take) {
                Some(draft) => Some(draft),
                None if entry.is_one_off() => None,
                None => Some(ProcessDraft::new(entry.name.clone(), None)),
            };
            if let Some(mut draft) = draft {
                draft.command.get_or_insert_with(|| entry.command.clone());
                processes.push(ProcessDraft { position: Some(position), ..draft });
            }
            position = position.saturating_add(1);
        }
        for draft in written.into_iter().flatten() {
            processes.push(ProcessDraft { position: Some(position), ..draft });
            position = position.saturating_add(1);
        }
        Draft {
            name: self.manifest.as_ref().and_then(|m| m.name.clone()).unwrap_or_else(|| name_of(dir)),
            dir: dir.to_path_buf(),
            build: self.manifest.as_ref().and_then(|m| m.build.clone()),
            processes,
            resources: self.manifest.as_ref().map(|m| m.resources.clone()).unwrap_or_default(),
        }
    }

    /// A `release` line of the Procfile is for deploying elsewhere, unless the manifest makes it a process.
    fn one_off(&self) -> Findings {
        let is_process = |entry: &procfile::Entry| {
            self.manifest.iter().flat_map(|m| &m.processes).any(|process| process.name == entry.name)
        };
        let warning = |procfile: &Procfile, entry: &procfile::Entry| {
            let title = format!("`{}` is run once for each release, so it is not started here", entry.name);
            Diagnostic::warning(procfile.source.spot(entry.span.clone()), title)
                .help(format!("tambat run '{}'", entry.command))
        };
        let mut found = Findings::default();
        if let Some(procfile) = &self.procfile {
            let one_offs = procfile.entries.iter().filter(|entry| entry.is_one_off() && !is_process(entry));
            one_offs.for_each(|entry| found.push(warning(procfile, entry)));
        }
        found
    }

    /// Does a problem probably follow from one that has been reported: is it about a process that could not be read
    /// whole, or about the app when nothing was read whole?
    fn follows(&self, problem: &Problem) -> bool {
        let spoilt = |place: &Place| match place {
            Place::App => true,
            Place::Process(name) | Place::Key(name, _) => {
                self.manifest.as_ref().is_some_and(|m| m.spoilt.contains(name))
            }
            Place::Use(..) | Place::Port(..) | Place::Resource(_) => false,
        };
        spoilt(&problem.at) || problem.other.as_ref().is_some_and(spoilt)
    }

    fn diagnostic(&self, problem: &Problem) -> Diagnostic {
        let spot = self.spot(&problem.at);
        let mut diagnostic = Diagnostic {
            severity: problem.severity,
            title: problem.what.clone(),
            spots: spot.into_iter().collect(),
            help: problem.help.clone(),
        };
        let other = problem.other.as_ref().and_then(|place| self.spot(place));
        diagnostic.spots.extend(other.filter(|other| diagnostic.spots.first() != Some(other)));
        if problem.at == Place::App && self.manifest.is_none() {
            diagnostic.help = Some("write a line such as `web: npm start`".to_owned());
        }
        diagnostic
    }

    /// Where that stands: as near as was written.
    fn spot(&self, place: &Place) -> Option<Spot> {
        let in_manifest =
            |place: &Place| self.manifest.as_ref().and_then(|m| Some(m.source.spot(m.places.get(place)?.clone())));
        if let Some(spot) = in_manifest(place) {
            return Some(spot);
        }
        match place {
            Place::Process(name) => self.procfile.as_ref().and_then(|procfile| {
                let entry = procfile.entries.iter().find(|entry| entry.name == *name)?;
                Some(procfile.source.spot(entry.span.clone()))
            }),
            Place::Key(name, _) | Place::Use(name, _) | Place::Port(name, _) => {
                self.spot(&Place::Process(name.clone()))
            }
            Place::App | Place::Resource(_) => {
                let source = self.manifest.as_ref().map(|m| &m.source);
                source.or(self.procfile.as_ref().map(|p| &p.source)).map(|source| source.everywhere())
            }
        }
    }
}
