//! XML, as far as Maven's dependencies need it.

use std::borrow::Cow;

/// The artifacts of dependencies that are linked in. What is only managed, excluded or tested with does not count.
pub(super) fn pom(text: &str) -> Vec<String> {
    let text = without(text.into(), "<!--", "-->");
    let text = without(text, "<dependencyManagement>", "</dependencyManagement>");
    let text = without(text, "<exclusions>", "</exclusions>");
    let mut names = Vec::new();
    let mut rest = &*text;
    while let Some((dependency, after)) = between(rest, "<dependency>", "</dependency>") {
        let scope = between(dependency, "<scope>", "</scope>").map(|(scope, _)| scope.trim());
        if let Some((artifact, _)) =
            between(dependency, "<artifactId>", "</artifactId>").filter(|_| scope != Some("test"))
        {
            names.push(artifact.trim().to_owned());
        }
        rest = after;
    }
    names
}

/// What stands between the first of these and the next of those, and what comes after.
fn between<'t>(text: &'t str, open: &str, close: &str) -> Option<(&'t str, &'t str)> {
    text.split_once(open)?.1.split_once(close)
}

/// Without all that stands between these; what is not closed goes up to the end.
fn without<'t>(text: Cow<'t, str>, open: &str, close: &str) -> Cow<'t, str> {
    if !text.contains(open) {
        return text;
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some((before, inside)) = rest.split_once(open) {
        kept.push_str(before);
        rest = inside.split_once(close).map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    kept.into()
}
