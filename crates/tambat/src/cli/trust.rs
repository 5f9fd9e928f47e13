//! `tambat trust`.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use tambat_certs::{LocalCa, Root};

use super::TrustArgs;
use crate::failure::{CODE_NOT_SO, Failure};
use crate::trust::{self, Machine, Named, RootName, Store, Task, Todo, Wish, shell_line};
use crate::{local_ca, output};

/// `tambat trust`: has this machine's programs believe the local CA, or believe it no more.
pub(crate) fn run(args: &TrustArgs) -> Result<ExitCode, Failure> {
    let dir = local_ca::dir().map_err(|error| Failure::new(error.to_string()))?;
    not_by_sudo(&dir)?;
    let wish = if args.undo { Wish::Undo } else { Wish::Trust };
    let roots = roots(&dir, args)?;
    if roots.is_empty() {
        output::say(&format!(
            "tambat: there is no local CA in {}{}",
            dir.display(),
            match wish {
                Wish::Trust => " yet: `tambat trust` makes it first, and so does `tambat start`",
                Wish::Undo => ", so there is nothing to undo",
            }
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let machine = Machine::here();
    let work = Work { wish, is_root: tambat_os::runtime_dir::uid() == 0, machine, roots };
    let tasks = work.tasks();
    if args.dry_run {
        work.print(&tasks, args.json);
        return Ok(ExitCode::SUCCESS);
    }
    let mut failed = false;
    if tasks.iter().any(|(_, task)| work.runs(task).is_some()) {
        output::say(&work.show(&tasks));
        agreed(args.yes, wish)?;
        failed = work.carry_out(&tasks);
    }
    let after = work.tasks();
    work.print(&after, args.json);
    let is_done = !failed && !after.is_empty() && after.iter().all(|(_, task)| task.todo == Todo::Nothing);
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::from(CODE_NOT_SO) })
}

/// The roots that it is about: the newest, or all there have been. Only asked for in earnest, it is made.
fn roots(dir: &std::path::Path, args: &TrustArgs) -> Result<Vec<Root>, Failure> {
    if !args.undo && !args.dry_run {
        let opening = local_ca::open().map_err(Failure::new)?;
        return Ok(vec![opening.ca.root().clone()]);
    }
    let mut roots = LocalCa::roots(dir).map_err(|error| Failure::new(error.to_string()))?;
    if !args.undo {
        roots.truncate(1);
    }
    Ok(roots)
}

/// By way of sudo it would be root's own CA, which signs for none of its user's apps.
fn not_by_sudo(dir: &std::path::Path) -> Result<(), Failure> {
    let is_other = std::env::var("SUDO_UID").is_ok_and(|uid| uid != "0");
    if tambat_os::runtime_dir::uid() == 0 && is_other && !dir.exists() {
        return Err(Failure::usage(
            "the local CA belongs to the user who runs tambat, and root has none: run `tambat trust` without sudo; it says \
             which command needs it",
        ));
    }
    Ok(())
}

/// Asks, unless it has been answered.
fn agreed(yes: bool, wish: Wish) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::usage("cannot ask without a terminal: --yes answers, --dry-run only shows"));
    }
    let question = match wish {
        Wish::Trust => "Do it? [y/N] ",
        Wish::Undo => "Undo it? [y/N] ",
    };
    let mut stderr = std::io::stderr().lock();
    let asked = write!(stderr, "{question}").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let heard = asked.and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    match (heard, answer.trim().to_ascii_lowercase().as_str()) {
        (Ok(_), "y" | "yes") => Ok(()),
        _ => Err(Failure::new("nothing has been changed")),
    }
}

/// What is asked for, and of whom.
struct Work {
    wish: Wish,
    is_root: bool,
    machine: Machine,
    roots: Vec<Root>,
}

impl Work {
    /// What is to be done about every store, as things are now.
    fn tasks(&self) -> Vec<(&Root, Task)> {
        let certutil = self.machine.program("certutil");
        let of_root = |root| {
            let name = RootName::of(root);
            let found = trust::look(&self.machine, &name, root.pem());
            let named = Named { name, file: root.path().to_owned() };
            let task = |found| (root, trust::task(&found, &named, self.wish, certutil.as_deref()));
            found.into_iter().map(task).collect::<Vec<_>>()
        };
        self.roots.iter().flat_map(of_root).collect()
    }

    /// The commands that are run here: all that do not need privileges that we have not got.
    fn runs<'a>(&self, task: &'a Task) -> Option<&'a [Vec<String>]> {
        match &task.todo {
            Todo::Run(commands) if self.is_root || !task.store.needs_root() => Some(commands),
            _ => None,
        }
    }

    /// True if something has gone wrong.
    fn carry_out(&self, tasks: &[(&Root, Task)]) -> bool {
        let mut failed = false;
        for (_, task) in tasks {
            if let Some(Err(why)) = self.runs(task).map(trust::run) {
                failed = true;
                output::say(&format!("tambat: cannot change {}: {why}", task.store.title()));
            }
        }
        failed
    }

    fn print(&self, tasks: &[(&Root, Task)], json: bool) {
        if json {
            output::print_json(&self.report(tasks));
        } else {
            output::print(&self.show(tasks));
        }
    }

    /// For people: each root, and below it each store, with the commands that are left to run.
    fn show(&self, tasks: &[(&Root, Task)]) -> String {
        let mut text = String::new();
        for root in &self.roots {
            let file = root.path().display();
            text.push_str(&format!("{}\n  {file}\n  SHA-256 {}\n", RootName::of(root).as_str(), root.fingerprint()));
            let of_root: Vec<&Task> = tasks.iter().filter(|(of, _)| *of == root).map(|(_, task)| task).collect();
            if of_root.is_empty() {
                text.push_str("\nno store of roots was found: neither the system's nor a browser's\n");
            }
            of_root.iter().for_each(|task| text.push_str(&self.show_task(task)));
            text.push('\n');
        }
        text.trim_end().to_owned()
    }

    fn show_task(&self, task: &Task) -> String {
        let title = task.store.title();
        let (has, todo) = match self.wish {
            Wish::Trust => ("has it", "does not have it; this adds it:"),
            Wish::Undo => ("does not have it", "has it; this removes it:"),
        };
        match &task.todo {
            Todo::Nothing => format!("\n{title}: {has}\n"),
            Todo::Cannot(why) => format!("\n{title}: {why}\n"),
            Todo::Run(commands) if self.runs(task).is_some() => {
                let lines = commands.iter().map(|command| format!("  {}\n", trust::shell_command(command)));
                format!("\n{title}: {todo}\n{}", lines.collect::<String>())
            }
            Todo::Run(commands) => {
                let line = shell_line(commands, "sudo ");
                format!("\n{title}: {}\n  {line}\n", todo.replacen("; this", "; this needs root, and", 1))
            }
        }
    }

    fn report(&self, tasks: &[(&Root, Task)]) -> Report {
        let roots = self.roots.iter().map(|root| {
            let of_root = tasks.iter().filter(|(of, _)| *of == root);
            RootReport {
                name: RootName::of(root).as_str().to_owned(),
                file: root.path().to_owned(),
                fingerprint: root.fingerprint(),
                stores: of_root.map(|(_, task)| self.report_store(task)).collect(),
            }
        });
        Report { roots: roots.collect() }
    }

    fn report_store(&self, task: &Task) -> StoreReport {
        let (has_it, cause, commands) = match &task.todo {
            Todo::Nothing => (Some(self.wish == Wish::Trust), None, Vec::new()),
            Todo::Cannot(why) => (None, Some(why.clone()), Vec::new()),
            Todo::Run(commands) => (Some(self.wish == Wish::Undo), None, commands.clone()),
        };
        StoreReport {
            store: if matches!(task.store, Store::System(_)) { "system" } else { "nss" },
            title: task.store.title(),
            place: task.store.place().to_owned(),
            needs_root: task.store.needs_root(),
            has_it,
            cause,
            commands,
        }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    roots: Vec<RootReport>,
}

#[derive(Debug, Serialize)]
struct RootReport {
    name: String,
    file: PathBuf,
    /// SHA-256 of the certificate.
    fingerprint: String,
    stores: Vec<StoreReport>,
}

#[derive(Debug, Serialize)]
struct StoreReport {
    store: &'static str,
    title: String,
    place: PathBuf,
    needs_root: bool,
    /// None: that cannot be told; `cause` says why.
    has_it: Option<bool>,
    cause: Option<String>,
    /// What is left to be run, each as its words.
    commands: Vec<Vec<String>>,
}
