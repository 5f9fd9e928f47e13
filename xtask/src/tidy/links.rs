//! Relative links in Markdown point at something that is there.

use super::{
    finding::Finding,
    tree::{Tree, has_extension},
};

pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| has_extension(path, "md")) {
        for (index, target) in targets(text) {
            let file = target.split(['#', '?']).next().unwrap_or_default();
            let resolved = resolve(path, file);
            if !resolved.as_deref().is_some_and(|resolved| tree.has(resolved)) {
                let what = format!("the link to `{target}` leads nowhere");
                findings.push(Finding::at(path, index, what, "write the path from this file's folder"));
            }
        }
    }
    findings
}

/// The relative targets of inline links, outside of code.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut targets = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            // Every second piece between backticks is code.
            let prose = line.split('`').step_by(2);
            let links = prose.flat_map(|piece| piece.split("](").skip(1)).filter_map(|rest| rest.split_once(')'));
            let relative = links.map(|(target, _)| target).filter(|target| !is_elsewhere(target));
            targets.extend(relative.map(|target| (index, target)));
        }
    }
    targets
}

fn is_elsewhere(target: &str) -> bool {
    target.starts_with('#') || ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme))
}

/// The path from the root; `None` above it.
fn resolve(from: &str, target: &str) -> Option<String> {
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let tree = Tree::of(&[("docs/a.md", text), ("docs/b.md", ""), ("src/c.rs", "")]);
        findings(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_that_resolve_are_fine() {
        let text =
            "[b](b.md) [b](./b.md#part) [c](../src/c.rs) [folder](../src/) [here](#part) [web](https://example.com/x)";
        assert_eq!(found(text), Vec::<String>::new());
    }

    #[test]
    fn links_that_do_not_are_named_with_their_line() {
        let lines = found("ok\n[b](c.md) and ![picture](../../out.png)\n");
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("docs/a.md:2: the link to `c.md` leads nowhere"), "{lines:?}");
    }

    #[test]
    fn code_is_no_link() {
        assert_eq!(found("`a[0](x)`\n```\n[b](c.md)\n```\n"), Vec::<String>::new());
    }
}
