use tambat_model::ClauseId;

use super::{seen, settle};
use crate::clause::Clause;
use crate::observed::Observed;
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::LIBRARY,
    title: "declares its web server library",
    asks: "The library that serves is among the app's declared dependencies.",
    why: "What is not declared is whatever the machine happens to have: another version, or none.",
    seen: "The file of dependencies in the app's directory is read: requirements.txt, pyproject.toml, Gemfile, pom.xml,
build.gradle, package.json, go.mod, Cargo.toml, composer.json.",
    broken:
        "Never here. Warned: none of the libraries known for that file is in it. Not judged without such a file, nor for
another protocol than HTTP.",
    mend: "Add the server to the file of dependencies, with its version, and start it from there.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    let declared = seen(&observed.declared)?;
    let file = &declared.file;
    Ok(match &declared.library {
        Some(library) => Judgement::kept(format!("{file} declares {library}")),
        None => Judgement::warned(
            format!("{file} declares none of the web server libraries known here"),
            format!("add the server to {file}, with its version"),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::observed::Declared;
    use crate::verdict::Verdict::{Kept, Warned};

    /// PB-19
    #[test]
    fn a_library_in_the_file_is_a_declaration() {
        assert_eq!(judge(&good()).verdict, Kept);
        let none = Declared { file: "Gemfile".to_owned(), library: None };
        assert_eq!(judge(&Observed { declared: Ok(none), ..good() }).verdict, Warned);
    }
}
