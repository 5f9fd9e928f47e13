//! What other programs wrote, made fit to be shown: their control sequences (ECMA-48) taken out.

use std::iter::Peekable;
use std::str::Chars;

/// The text with its colours (SGR, ECMA-48 §8.3.117) and nothing else that a terminal obeys: what would move the cursor,
/// clear the screen, set the title or ring is taken out. Tabs stay. After a lone carriage return the line begins anew, as
/// it would on a terminal of its own. Blanks at the end are left out: in a narrow window they would be a line of their
/// own.
pub fn colours_only(text: &str) -> String {
    Shown::default().scan(text, true)
}

/// The text as words alone: as [`colours_only`], without the colours and with a blank for a tab. No control character is
/// left in it, so it can stand inside any sentence.
pub fn plain(text: &str) -> String {
    Shown::default().scan(text, false)
}

/// A line as it comes to be shown.
#[derive(Default)]
struct Shown {
    text: String,
    /// Where in `text` what follows the last carriage return begins.
    begin: usize,
    /// Something to be seen follows that carriage return: what was before it has been written over.
    begun: bool,
}

impl Shown {
    fn scan(mut self, text: &str, colours: bool) -> String {
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            let opener = if c == '\u{1b}' { escape(&mut rest) } else { of_c1(c) };
            match (opener, c) {
                (Some(Opener::Control), _) => {
                    let sequence = control_sequence(&mut rest);
                    if let Some(parameters) = sequence.filter(|_| colours) {
                        self.text.push_str(&format!("\u{1b}[{parameters}m"));
                    }
                }
                (Some(Opener::Text), _) => control_string(&mut rest),
                (None, '\r') => (self.begin, self.begun) = (self.text.len(), false),
                (None, '\t') => self.push(if colours { '\t' } else { ' ' }),
                (None, c) if c.is_control() => {}
                (None, c) => self.push(c),
            }
        }
        self.text.truncate(self.text.trim_end().len());
        self.text
    }

    fn push(&mut self, c: char) {
        if !self.begun {
            self.text.drain(..self.begin);
            (self.begin, self.begun) = (0, true);
        }
        self.text.push(c);
    }
}

/// What begins something longer than itself.
enum Opener {
    /// CSI, ECMA-48 §5.4.
    Control,
    /// A control string, ECMA-48 §5.6: DCS, SOS, OSC, PM, APC.
    Text,
}

/// The openers as single characters of the C1 set (ECMA-48 §5.3), which some terminals obey in UTF-8 too.
fn of_c1(c: char) -> Option<Opener> {
    match c {
        '\u{9b}' => Some(Opener::Control),
        '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => Some(Opener::Text),
        _ => None,
    }
}

/// After ESC: an opener, or an escape sequence that ends here: intermediate bytes and a final one (ECMA-35 §13.2.1).
/// What cannot be part of it is left.
fn escape(rest: &mut Peekable<Chars<'_>>) -> Option<Opener> {
    match rest.next_if(|c| matches!(c, ' '..='~'))? {
        '[' => return Some(Opener::Control),
        'P' | 'X' | ']' | '^' | '_' => return Some(Opener::Text),
        ' '..='/' => {
            while rest.next_if(|c| matches!(c, ' '..='/')).is_some() {}
            rest.next_if(|c| matches!(c, '0'..='~'));
        }
        _ => {}
    }
    None
}

/// After CSI: parameters, intermediates, a final byte (ECMA-48 §5.4). Gives the parameters where it is a colour; private
/// ones (`>`, `?`) are none. What cannot be part of it is left.
fn control_sequence(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut before = String::new();
    while let Some(c) = rest.next_if(|c| matches!(c, ' '..='?')) {
        before.push(c);
    }
    let last = rest.next_if(|c| matches!(c, '@'..='~'))?;
    let colour = last == 'm' && before.chars().all(|c| matches!(c, '0'..='9' | ';' | ':'));
    colour.then_some(before)
}

/// After the opener of a control string: up to ST, or BEL as xterm takes it. Another escape sequence breaks it off, and
/// so do CAN and SUB.
fn control_string(rest: &mut Peekable<Chars<'_>>) {
    while let Some(c) = rest.next_if(|c| *c != '\u{1b}') {
        if matches!(c, '\u{7}' | '\u{9c}' | '\u{18}' | '\u{1a}') {
            return;
        }
    }
    // ST is an escape sequence by itself: the next round takes it.
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colours_stay_and_nothing_else() {
        let text = "\u{1b}[2J\u{1b}[31mred\u{1b}[0m\u{1b}]0;title\u{7}\u{7}\u{1b}[H ok\tx\u{1b}]8;;u\u{1b}\\link";
        assert_eq!(colours_only(text), "\u{1b}[31mred\u{1b}[0m ok\txlink");
        assert_eq!(plain(text), "red ok xlink");
        for colour in ["\u{1b}[m", "\u{1b}[38;2;1;2;3m", "\u{1b}[4:3m"] {
            assert_eq!(colours_only(colour), colour);
            assert_eq!(plain(colour), "");
        }
    }

    #[test]
    fn a_sequence_is_taken_out_whole() {
        let sequences = [
            "\u{1b}(B",
            "\u{1b} F",
            "\u{1b}#8",
            "\u{1b}$(C",
            "\u{1b}7",
            "\u{1b}c",
            "\u{1b}[>4;2m",
            "\u{1b}[?25l",
            "\u{1b}[1 m",
            "\u{1b}[!p",
            "\u{1b}P1$r0m\u{1b}\\",
            "\u{1b}_payload\u{1b}\\",
            "\u{1b}^payload\u{7}",
            "\u{1b}Xpay\rload\u{9c}",
            "\u{9b}2J",
            "\u{9d}0;title\u{7}",
            "\u{90}payload\u{1b}\\",
            "\u{8}\u{0}\u{7f}",
        ];
        for sequence in sequences {
            assert_eq!(colours_only(&format!("a{sequence}b")), "ab", "{sequence:?}");
            assert_eq!(plain(&format!("a{sequence}b")), "ab", "{sequence:?}");
        }
    }

    #[test]
    fn what_is_broken_off_takes_nothing_with_it() {
        assert_eq!(plain("a\u{1b}é"), "aé");
        assert_eq!(plain("a\u{1b}[31é"), "aé");
        assert_eq!(colours_only("a\u{1b}[3\u{1b}[31mb"), "a\u{1b}[31mb");
        assert_eq!(colours_only("a\u{1b}]0;t\u{1b}[31mb"), "a\u{1b}[31mb");
        for open in ["a\u{1b}", "a\u{1b}[", "a\u{1b}[31", "a\u{1b}(", "a\u{1b}]0;t"] {
            assert_eq!(colours_only(open), "a", "{open:?}");
        }
    }

    #[test]
    fn after_a_carriage_return_the_line_begins_anew() {
        assert_eq!(plain("10 %\r20 %\r"), "20 %");
        assert_eq!(colours_only("10 %\r\u{1b}[32m20 %\r\u{1b}[0m"), "\u{1b}[32m20 %\u{1b}[0m");
        assert_eq!(plain("  _._  \t "), "  _._");
    }

    proptest! {
        #[test]
        fn plain_text_has_no_control_characters(
            text in "([\u{1b}\u{9b}\u{90}\r\t\u{7}]|[\\[\\]P(>;0-9mé\\\\]|\\PC|.){0,60}"
        ) {
            let clean = plain(&text);
            prop_assert!(!clean.chars().any(char::is_control), "{clean:?}");
            prop_assert_eq!(plain(&clean), clean.clone());
            prop_assert_eq!(plain(&colours_only(&text)), plain(&text));
        }
    }
}
