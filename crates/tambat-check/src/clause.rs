//! A clause of the contract, as data: the reports, the manual and `contract/PB-xx.md` all come from it.

use std::fmt::Write as _;

use tambat_model::ClauseId;

use crate::clauses::CLAUSES;
use crate::observed::Observed;
use crate::verdict::Judgement;

/// One clause.
#[derive(Debug)]
pub struct Clause {
    /// Its number.
    pub id: ClauseId,
    /// What the app does that keeps it, to be read after "the app".
    pub title: &'static str,
    /// What it asks, in a sentence or two.
    pub asks: &'static str,
    /// Why.
    pub why: &'static str,
    /// How it is seen from outside.
    pub seen: &'static str,
    /// When it is broken, warned about, or not judged.
    pub broken: &'static str,
    /// How to mend it.
    pub mend: &'static str,
    /// From what was observed to a verdict.
    pub judge: fn(&Observed) -> Judgement,
}

impl PartialEq for Clause {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Clause {}

impl Clause {
    /// The page of this clause: the text of `contract/PB-xx.md`.
    pub fn as_markdown(&self) -> String {
        let mut page = format!("# {}: the app {}\n\n{}\n", self.id, self.title, self.asks);
        let parts = [
            ("Why", self.why),
            ("How it is seen", self.seen),
            ("When it is broken", self.broken),
            ("How to mend it", self.mend),
        ];
        for (heading, text) in parts {
            // Writing to a String cannot fail.
            let _ = write!(page, "\n## {heading}\n\n{text}\n");
        }
        page
    }
}

/// The contract in one table, a row a clause, as the documentation has it.
pub fn contract_as_markdown() -> String {
    let mut table = String::from("| clause | the app... | it is broken when |\n|---|---|---|\n");
    for clause in CLAUSES {
        let broken = clause.broken.replace('\n', " ");
        let id = clause.id;
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| [{id}](../contract/{id}.md) | {} | {broken} |", clause.title);
    }
    table
}

/// Which clauses are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    only: Vec<ClauseId>,
    skip: Vec<ClauseId>,
}

impl Selection {
    /// Of all clauses, or of `only` where it names some, those that `skip` does not name.
    pub fn new(only: Vec<ClauseId>, skip: Vec<ClauseId>) -> Self {
        Self { only, skip }
    }

    /// Is this one asked for?
    pub fn has(&self, id: ClauseId) -> bool {
        (self.only.is_empty() || self.only.contains(&id)) && !self.skip.contains(&id)
    }

    /// Is one of these asked for?
    pub(crate) fn has_any(&self, numbers: &[u8]) -> bool {
        numbers.iter().filter_map(|number| ClauseId::new(*number)).any(|id| self.has(id))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_selection_is_what_is_named_without_what_is_left_out() {
        let [one, two] = [ClauseId::SELF_CONTAINED, ClauseId::BINDS_IN_TIME];
        assert!(Selection::default().has(one));
        assert!(Selection::new(vec![one], vec![]).has(one) && !Selection::new(vec![one], vec![]).has(two));
        assert!(!Selection::new(vec![one], vec![one]).has(one));
        assert!(Selection::new(vec![], vec![one]).has_any(&[1, 2]) && !Selection::new(vec![two], vec![]).has_any(&[1]));
    }

    #[test]
    fn clauses_are_numbered_and_written_as_sentences() {
        assert_eq!(CLAUSES.len(), ClauseId::all().count());
        for (nth, clause) in CLAUSES.iter().enumerate() {
            assert_eq!(usize::from(clause.id.number()), nth + 1);
            assert!(!clause.title.ends_with('.') && clause.title.len() < 60, "{}", clause.title);
            for text in [clause.asks, clause.why, clause.seen, clause.broken, clause.mend] {
                assert!(text.ends_with('.') || text.ends_with("```"), "{}: {text}", clause.id);
                assert!(text.lines().all(|line| line.chars().count() <= 120), "{}: {text}", clause.id);
            }
        }
    }

    /// `UPDATE_CONTRACT=1 cargo test -p tambat-check` writes them.
    #[test]
    fn the_pages_of_the_contract_say_what_the_clauses_say() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contract");
        let bless = std::env::var_os("UPDATE_CONTRACT").is_some();
        for clause in CLAUSES {
            let (file, page) = (folder.join(format!("{}.md", clause.id)), clause.as_markdown());
            if bless {
                std::fs::write(&file, &page).unwrap();
            }
            let written = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert_eq!(written, page, "{}", file.display());
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), CLAUSES.len(), "a page a clause and no other");
        let file = folder.join("../docs/check.md");
        let mut chapter = std::fs::read_to_string(&file).unwrap();
        if bless && let (Some(from), Some(to)) = (chapter.find("| clause |"), chapter.find("\n\nOne cause")) {
            chapter.replace_range(from..to + 1, &contract_as_markdown());
            std::fs::write(&file, &chapter).unwrap();
        }
        assert!(
            chapter.contains(&contract_as_markdown()),
            "the table of docs/check.md is:\n{}",
            contract_as_markdown()
        );
    }
}
