use std::fmt::{self, Display, Write};

use crate::client::{Away, Book, Draft, Entry};

/// What the form lets through, so that nobody types in vain; entries decides.
const NAME_CHARS_HINT: usize = 80;
const TEXT_CHARS_HINT: usize = 1_000;

/// The page: the form, and the book below it.
pub(crate) struct Page<'a> {
    /// Something to say first.
    pub(crate) notice: Option<Notice<'a>>,
    /// What stands in the form.
    pub(crate) draft: &'a Draft,
    /// None where there is no book to show.
    pub(crate) book: Option<&'a Book>,
}

/// What went wrong, and what the visitor can do.
pub(crate) enum Notice<'a> {
    /// Entries is away while the book was to be shown.
    Away(&'a Away),
    /// Entries went away over a draft: it may be in the book or not.
    NotKnown(&'a Away),
    /// Entries refused the draft.
    Refused(&'a str),
    /// The form came from another site's page.
    CrossOrigin,
}

impl Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(concat!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Guestbook</title>\n",
            "<link rel=\"icon\" href=\"/icon.svg\">\n<link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n",
            "<body>\n<main>\n<h1><a href=\"/\">Guestbook</a></h1>\n"
        ))?;
        if let Some(notice) = &self.notice {
            writeln!(f, "<p class=\"notice\" role=\"alert\">{notice}</p>")?;
        }
        write_form(f, self.draft)?;
        if let Some(book) = self.book {
            write_book(f, book)?;
        }
        f.write_str("</main>\n</body>\n</html>\n")
    }
}

impl Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(away) => write!(
                f,
                "<strong>The entries are away right now</strong>: {}. Nothing in the book is lost. \
                 <a href=\"/\">Try again</a> in a moment.",
                Escaped(&away.to_string())
            ),
            Self::NotKnown(away) => write!(
                f,
                "<strong>The entries went away</strong>: {}. <a href=\"/\">Look</a> whether yours is in the book; \
                 what you wrote is still below, to send it again.",
                Escaped(&away.to_string())
            ),
            Self::Refused(reason) => write!(f, "<strong>Not yet</strong>: {}.", Escaped(reason)),
            Self::CrossOrigin => f.write_str(
                "<strong>This form came from another site's page.</strong> Please write your entry <a href=\"/\">here</a>.",
            ),
        }
    }
}

fn write_form(f: &mut fmt::Formatter<'_>, draft: &Draft) -> fmt::Result {
    // A text area loses its first line end (HTML, "leading newline"): give it one.
    write!(
        f,
        "<form method=\"post\" action=\"/entries\">\n\
         <label>Your name<input name=\"name\" required maxlength=\"{NAME_CHARS_HINT}\" autocomplete=\"name\" value=\"{}\"></label>\n\
         <label>Your line<textarea name=\"text\" required maxlength=\"{TEXT_CHARS_HINT}\">\n{}</textarea></label>\n\
         <button>Sign the book</button>\n</form>\n",
        Escaped(&draft.name),
        Escaped(&draft.text)
    )
}

fn write_book(f: &mut fmt::Formatter<'_>, book: &Book) -> fmt::Result {
    if book.entries.is_empty() {
        f.write_str("<p>Nobody has written here yet. Be the first.</p>\n")?;
    }
    for Entry { id, name, text, at } in &book.entries {
        let (at, shown) = (Escaped(at), at.replace('T', " ").replace('Z', " UTC"));
        writeln!(
            f,
            "<article id=\"entry-{id}\"><h2>{}</h2><time datetime=\"{at}\">{}</time><p>{}</p></article>",
            Escaped(name),
            Escaped(&shown),
            Escaped(text)
        )?;
    }
    match book.next {
        Some(before) => writeln!(f, "<p><a rel=\"next\" href=\"/?before={before}\">Older entries</a></p>"),
        None => Ok(()),
    }
}

/// Text that is safe in an element and in a quoted attribute.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "\"><script>alert('x')</script>&amp;</textarea>";

    #[test]
    fn the_five_characters_are_escaped_and_no_other() {
        assert_eq!(Escaped("a<b>&\"'é\n🚢").to_string(), "a&lt;b&gt;&amp;&quot;&#39;é\n🚢");
        assert_eq!(Escaped("&amp;").to_string(), "&amp;amp;");
    }

    #[test]
    fn nothing_that_comes_from_outside_becomes_markup() {
        let entry = Entry { id: 7, name: EVIL.to_owned(), text: EVIL.to_owned(), at: EVIL.to_owned() };
        let book = Book { entries: vec![entry], next: Some(7) };
        let draft = Draft { name: EVIL.to_owned(), text: EVIL.to_owned() };
        let page = Page { notice: Some(Notice::Refused(EVIL)), draft: &draft, book: Some(&book) }.to_string();
        assert!(!page.contains("<script") && page.matches("</textarea>").count() == 1, "{page}");
        assert_eq!(page.matches("&lt;script&gt;").count(), 7, "{page}");
    }

    #[test]
    fn a_page_has_its_entries_in_order_and_the_way_to_older_ones() {
        let entry =
            |id| Entry { id, name: format!("n{id}"), text: String::new(), at: "2026-11-22T17:46:08Z".to_owned() };
        let book = Book { entries: vec![entry(9), entry(8)], next: Some(8) };
        let page = Page { notice: None, draft: &Draft::default(), book: Some(&book) }.to_string();
        assert!(page.find("n9").expect("shown") < page.find("n8").expect("shown"), "{page}");
        assert!(page.contains("href=\"/?before=8\"") && page.contains("2026-11-22 17:46:08 UTC"), "{page}");
    }

    #[test]
    fn an_empty_book_says_so() {
        let book = Book { entries: Vec::new(), next: None };
        let page = Page { notice: None, draft: &Draft::default(), book: Some(&book) }.to_string();
        assert!(page.contains("Be the first") && !page.contains("rel=\"next\""), "{page}");
    }
}
