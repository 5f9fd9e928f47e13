//! JSON (RFC 8259), as far as it is strings two objects deep: `"dependencies": {"express": "^4"}`.

use std::iter::Peekable;
use std::str::Chars;

/// A string in an object of the outermost object.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: String,
}

/// npm's names. Those for development count: a bundler's server is declared there. `engines.node` is the declaration of
/// Node.js itself, which brings a server: it counts as "node".
pub(super) fn package(entries: &[Entry]) -> impl Iterator<Item = String> {
    entries.iter().flat_map(|entry| match entry.section.as_str() {
        "dependencies" | "devDependencies" | "optionalDependencies" => {
            let alias = entry.value.strip_prefix("npm:").map(|target| match target.rfind('@') {
                Some(at) if at > 0 => target[..at].to_owned(),
                _ => target.to_owned(),
            });
            [Some(entry.key.clone()), alias].into_iter().flatten().collect()
        }
        "engines" if entry.key == "node" => vec![entry.key.clone()],
        _ => Vec::new(),
    })
}

/// Composer's names, which it compares in small letters.
pub(super) fn composer(entries: &[Entry]) -> impl Iterator<Item = String> {
    entries.iter().filter(|entry| entry.section == "require").map(|entry| entry.key.to_ascii_lowercase())
}

/// Every such string, up to where the text is no JSON any more.
pub(super) fn entries(text: &str) -> Vec<Entry> {
    let mut walk = Walk { chars: text.chars().peekable(), open: Vec::new(), found: Vec::new() };
    while walk.step().is_some() {}
    walk.found
}

/// What is open around the place that has been reached.
enum Open {
    Array,
    /// With the key whose value comes next, once that has been read.
    Object(Option<String>),
}

struct Walk<'t> {
    chars: Peekable<Chars<'t>>,
    open: Vec<Open>,
    found: Vec<Entry>,
}

impl Walk<'_> {
    /// One character of structure, or one string.
    fn step(&mut self) -> Option<()> {
        match self.chars.next()? {
            '{' => self.open.push(Open::Object(None)),
            '[' => self.open.push(Open::Array),
            '}' | ']' => {
                self.open.pop()?;
            }
            ',' => {
                if let Some(Open::Object(key)) = self.open.last_mut() {
                    *key = None;
                }
            }
            '"' => {
                let string = self.string()?;
                self.place(string);
            }
            _ => {}
        }
        Some(())
    }

    /// A string is a key, or the value of one.
    fn place(&mut self, string: String) {
        let is_key = matches!(self.open.last(), Some(Open::Object(None)));
        match self.open.as_mut_slice() {
            [.., Open::Object(key)] if is_key => *key = Some(string),
            [Open::Object(Some(section)), Open::Object(Some(key))] => {
                self.found.push(Entry { section: section.clone(), key: key.clone(), value: string });
            }
            _ => {}
        }
    }

    /// The rest of a string, its quote being read.
    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.chars.next()? {
                '"' => return Some(text),
                '\\' => match self.chars.next()? {
                    'n' | 'r' | 't' | 'b' | 'f' => text.push(' '),
                    'u' => {
                        let digits: String = (0..4).filter_map(|_| self.chars.next()).collect();
                        let code = u32::from_str_radix(&digits, 16).ok()?;
                        // Half a surrogate pair is of no name that matters here.
                        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    other => text.push(other),
                },
                other => text.push(other),
            }
        }
    }
}
