use serde::{Deserialize, Serialize};

/// How long a name may be: a line on a phone, twice.
pub(crate) const NAME_CHARS_MAX: usize = 80;

/// How long a text may be: a guestbook, not a blog.
pub(crate) const TEXT_CHARS_MAX: usize = 1_000;

/// What is in the book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    /// Rises with every entry.
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) text: String,
    /// When it was added, in UTC: `2026-11-22T17:46:08Z`.
    pub(crate) at: String,
}

/// What somebody sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    name: String,
    text: String,
}

/// What may go into the book: both parts trimmed, not empty, not too long, without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewEntry {
    name: String,
    text: String,
}

impl NewEntry {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// Why a draft may not go into the book, in words for its writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("please write a {0}")]
    Empty(&'static str),
    #[error("the {part} has {chars} characters; {max} is the most")]
    TooLong { part: &'static str, chars: usize, max: usize },
    #[error("the {0} has a control character in it")]
    Control(&'static str),
}

impl TryFrom<Draft> for NewEntry {
    type Error = Refusal;

    fn try_from(draft: Draft) -> Result<Self, Refusal> {
        Ok(Self {
            name: part("name", &draft.name, NAME_CHARS_MAX, char::is_control)?,
            text: part("text", &draft.text, TEXT_CHARS_MAX, |c| c.is_control() && !matches!(c, '\n' | '\t'))?,
        })
    }
}

fn part(part: &'static str, sent: &str, max: usize, banned: fn(char) -> bool) -> Result<String, Refusal> {
    // Forms send CRLF, whatever was typed (HTML, "constructing the entry list").
    let text = sent.trim().replace("\r\n", "\n");
    let chars = text.chars().count();
    if chars == 0 {
        Err(Refusal::Empty(part))
    } else if chars > max {
        Err(Refusal::TooLong { part, chars, max })
    } else if text.chars().any(banned) {
        Err(Refusal::Control(part))
    } else {
        Ok(text)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn new_entry(name: &str, text: &str) -> Result<NewEntry, Refusal> {
        Draft { name: name.to_owned(), text: text.to_owned() }.try_into()
    }

    #[test]
    fn parts_are_trimmed_and_line_ends_made_one() {
        let entry = new_entry("  Ayu\t", "\r\n one\r\n\ttwo \n").expect("fine");
        assert_eq!((entry.name(), entry.text()), ("Ayu", "one\n\ttwo"));
    }

    #[test]
    fn limits_count_characters_and_are_inclusive() {
        let (name, text) = ("é".repeat(NAME_CHARS_MAX), "🚢".repeat(TEXT_CHARS_MAX));
        assert!(new_entry(&format!(" {name} "), &text).is_ok());
        assert_eq!(
            new_entry(&format!("{name}x"), &text),
            Err(Refusal::TooLong { part: "name", chars: NAME_CHARS_MAX + 1, max: NAME_CHARS_MAX })
        );
        assert_eq!(
            new_entry(&name, &format!("{text}x")),
            Err(Refusal::TooLong { part: "text", chars: TEXT_CHARS_MAX + 1, max: TEXT_CHARS_MAX })
        );
    }

    #[test]
    fn empty_parts_and_control_characters_are_refused() {
        assert_eq!(new_entry(" \u{a0}\n", "x"), Err(Refusal::Empty("name")));
        assert_eq!(new_entry("x", "\r\n"), Err(Refusal::Empty("text")));
        for name in ["a\nb", "a\tb", "a\0b", "a\u{1b}[31mb", "a\u{85}b"] {
            assert_eq!(new_entry(name, "x"), Err(Refusal::Control("name")), "{name:?}");
        }
        for text in ["a\0b", "a\rb", "a\u{7f}b"] {
            assert_eq!(new_entry("x", text), Err(Refusal::Control("text")), "{text:?}");
        }
    }
}
