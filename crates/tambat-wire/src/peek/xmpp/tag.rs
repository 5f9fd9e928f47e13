//! One start tag of XML with its attributes and namespaces (XML 1.0 §3.1, Namespaces in XML 1.0), and the XML declaration.

use super::StreamError;

/// How many attributes a tag may have: headers have six.
const ATTRIBUTES_MAX: usize = 32;

/// The namespace of the prefix `xml`, which nobody has to declare (Namespaces in XML 1.0 §3).
const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";

/// That of `xmlns`, which nobody may use.
const XMLNS_NAMESPACE: &str = "http://www.w3.org/2000/xmlns/";

/// A start tag, or that of an empty element.
#[derive(Debug)]
pub(crate) struct Tag<'a> {
    name: &'a str,
    attributes: Vec<(&'a str, String)>,
    /// Does it end itself: `<starttls/>`?
    pub(crate) is_empty_element: bool,
}

impl<'a> Tag<'a> {
    /// Reads what stands between `<` and `>`.
    pub(crate) fn of(content: &'a [u8]) -> Result<Self, StreamError> {
        let content = text(content)?;
        let (content, is_empty_element) = content.strip_suffix('/').map_or((content, false), |content| (content, true));
        let end = content.find(is_blank).unwrap_or(content.len());
        let (name, rest) = content.split_at(end);
        if !is_qualified(name) {
            return Err(StreamError::NotWellFormed);
        }
        let tag = Self { name, attributes: attributes(rest)?, is_empty_element };
        tag.check_namespaces()?;
        Ok(tag)
    }

    /// The name without its prefix.
    pub(crate) fn local(&self) -> &str {
        split(self.name).1
    }

    /// The namespace of the element; none: it has none, or one that was declared before.
    pub(crate) fn namespace(&self) -> Option<&str> {
        match split(self.name).0 {
            "" => self.default_namespace(),
            prefix => self.declared(prefix),
        }
    }

    /// That of elements without a prefix.
    pub(crate) fn default_namespace(&self) -> Option<&str> {
        self.attribute("xmlns")
    }

    /// All that are declared here for a prefix.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().filter(|(name, _)| name.starts_with("xmlns:")).map(|(_, value)| value.as_str())
    }

    /// The value of the attribute that is written so.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(there, _)| *there == name).map(|(_, value)| value.as_str())
    }

    fn declared(&self, prefix: &str) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| name.strip_prefix("xmlns:") == Some(prefix)).map(|(_, value)| &**value)
    }

    /// Namespaces in XML 1.0 §3 and §5: what is reserved is not declared, and what is used is declared, here or before.
    /// The stream's header is the first element of all; for others that is whoever reads them to say.
    fn check_namespaces(&self) -> Result<(), StreamError> {
        for (name, value) in &self.attributes {
            let is_right = match split(name) {
                ("", "xmlns") => value != XML_NAMESPACE && value != XMLNS_NAMESPACE,
                ("xmlns", "xmlns") => false,
                ("xmlns", "xml") => value == XML_NAMESPACE,
                ("xmlns", _) => !value.is_empty() && value != XML_NAMESPACE && value != XMLNS_NAMESPACE,
                ("" | "xml", _) => true,
                (prefix, _) => self.declared(prefix).is_some(),
            };
            if !is_right {
                return Err(StreamError::NotWellFormed);
            }
        }
        match split(self.name).0 {
            "" => Ok(()),
            prefix => self.declared(prefix).map(drop).ok_or(StreamError::NotWellFormed),
        }
    }
}

/// Reads what stands between `<?` and `?>` at the very beginning: the XML declaration and nothing else, of UTF-8 (RFC 6120
/// §11.6).
pub(super) fn declaration(content: &[u8]) -> Result<(), StreamError> {
    let content = text(content)?;
    let Some(rest) = content.strip_prefix("xml").filter(|rest| rest.starts_with(is_blank)) else {
        return Err(StreamError::RestrictedXml);
    };
    let attributes = attributes(rest)?;
    let places: Vec<_> = attributes
        .iter()
        .map(|(name, _)| ["version", "encoding", "standalone"].iter().position(|known| known == name))
        .collect();
    if places.first() != Some(&Some(0)) || !places.is_sorted() || places.contains(&None) {
        return Err(StreamError::NotWellFormed);
    }
    for (name, value) in &attributes {
        match *name {
            "encoding" if !value.eq_ignore_ascii_case("utf-8") => return Err(StreamError::UnsupportedEncoding),
            "version" if !value.starts_with("1.") => return Err(StreamError::NotWellFormed),
            _ => {}
        }
    }
    Ok(())
}

/// Characters that XML has (XML 1.0 §2.2).
fn text(bytes: &[u8]) -> Result<&str, StreamError> {
    let text = std::str::from_utf8(bytes).map_err(|_| StreamError::NotWellFormed)?;
    if text.chars().all(is_char) { Ok(text) } else { Err(StreamError::NotWellFormed) }
}

fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..) && !matches!(c, '\u{fffe}' | '\u{ffff}')
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Blanks, a name, `=` and a value in quotes, as often as they are there; then blanks.
fn attributes(mut rest: &str) -> Result<Vec<(&str, String)>, StreamError> {
    let mut attributes: Vec<(&str, String)> = Vec::new();
    loop {
        let trimmed = rest.trim_start_matches(is_blank);
        if trimmed.is_empty() {
            return Ok(attributes);
        }
        let (name, behind) = trimmed.split_once('=').ok_or(StreamError::NotWellFormed)?;
        let name = name.trim_end_matches(is_blank);
        let behind = behind.trim_start_matches(is_blank);
        let quote = behind.chars().next().filter(|c| matches!(c, '"' | '\'')).ok_or(StreamError::NotWellFormed)?;
        let (value, after) = behind[1..].split_once(quote).ok_or(StreamError::NotWellFormed)?;
        let is_new = !attributes.iter().any(|(there, _)| *there == name);
        if trimmed.len() == rest.len() || !is_qualified(name) || !is_new {
            return Err(StreamError::NotWellFormed);
        }
        if attributes.len() == ATTRIBUTES_MAX {
            return Err(StreamError::PolicyViolation);
        }
        attributes.push((name, decoded(value)?));
        rest = after;
    }
}

/// A name, or two with a `:` between (Namespaces in XML 1.0 §4). What is no ASCII is a letter: names that are looked for
/// have none.
fn is_qualified(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    let is_name = |name: &str| {
        name.starts_with(is_letter)
            && name.chars().all(|c| is_letter(c) || c.is_ascii_digit() || matches!(c, '-' | '.'))
    };
    name.split(':').all(is_name) && name.split(':').count() <= 2
}

/// Prefix and name.
fn split(name: &str) -> (&str, &str) {
    name.split_once(':').unwrap_or(("", name))
}

/// An attribute's value as it is meant (XML 1.0 §3.3.3): blanks are spaces, references are what they stand for. Entities
/// beyond XML's own five have no place here (RFC 6120 §11.1).
fn decoded(value: &str) -> Result<String, StreamError> {
    let mut parts = value.split('&');
    let mut text: String = parts.next().unwrap_or_default().replace(is_blank, " ");
    for part in parts {
        let (name, rest) = part.split_once(';').ok_or(StreamError::NotWellFormed)?;
        text.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "apos" => '\'',
            "quot" => '"',
            name => match name.strip_prefix('#') {
                Some(number) => numbered(number).ok_or(StreamError::NotWellFormed)?,
                None if is_qualified(name) => return Err(StreamError::RestrictedXml),
                None => return Err(StreamError::NotWellFormed),
            },
        });
        text.push_str(&rest.replace(is_blank, " "));
    }
    Ok(text)
}

/// The character of `&#65;` or `&#x41;` (XML 1.0 §4.1).
fn numbered(number: &str) -> Option<char> {
    let code = match number.strip_prefix('x') {
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => u32::from_str_radix(digits, 16).ok(),
        None if number.bytes().all(|digit| digit.is_ascii_digit()) => number.parse().ok(),
        _ => None,
    };
    code.and_then(char::from_u32).filter(|c| is_char(*c))
}
