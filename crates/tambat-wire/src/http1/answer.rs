//! What the router itself answers: an error with its cause and its mend, or a plain `200`.
//!
//! A browser gets a page, a client of gRPC trailers, any other program one line of JSON, and all get the code in
//! `Tambat-Error`. Whatever came from outside stands escaped in each.

use std::fmt::Write as _;

use tambat_model::ErrorCode;

use super::grpc;

/// What `CONNECT` and `TRACE` are told (RFC 9110 §15.5.6), and an `OPTIONS` that is answered here (§9.3.7).
const ALLOW: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH";

/// The look of every page that the router itself makes: no script, nothing loaded from elsewhere.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2433;--soft:#5b6579;--line:#d8dde6;--paper:#fff;--box:#f4f6fa;--accent:#0b63ce;--bad:#b3261e}\
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf2;--soft:#9aa5b8;--line:#333b4a;--paper:#151922;--box:#1e2430;--accent:#7db4ff;--bad:#ff8a80}}\
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
main{max-width:44rem;margin:0 auto;padding:12vh 1.5rem 3rem}h1{margin:0 0 1rem;font-size:1.5rem;line-height:1.25;text-wrap:balance}\
p{margin:0 0 1rem;overflow-wrap:anywhere}.mend{padding:.9rem 1.1rem;background:var(--box);border-left:4px solid var(--accent);border-radius:4px}\
small,.soft{color:var(--soft)}small{display:block;margin-top:2rem;padding-top:1rem;border-top:1px solid var(--line);overflow-wrap:anywhere}\
code{font:.9em ui-monospace,monospace}a{color:var(--accent)}table{width:100%;border-collapse:collapse}\
td,th{padding:.5rem .75rem .5rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;overflow-wrap:anywhere}\
th{color:var(--soft);font-weight:400;font-size:.9rem;white-space:nowrap;overflow-wrap:normal}h2{margin:2rem 0 .25rem;font-size:1.1rem}.bad{color:var(--bad)}";

/// The fields that every answer of ours has: nobody keeps it, guesses its type, or runs what stands in it.
const GUARD: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
    Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'\r\n";

/// An error that the router itself answers with.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Which.
    pub code: ErrorCode,
    /// Why, in words for the reader.
    pub cause: &'a str,
    /// What to do about it.
    pub mend: Option<&'a str>,
    /// The process port that the request was for, where that is known.
    pub route: Option<&'a str>,
    /// The request's id, where it has one.
    pub request_id: Option<&'a str>,
    /// How the client and its connection want it.
    pub form: Form<'a>,
    /// When the client may try again, seconds.
    pub retry_after_s: Option<u32>,
}

/// How an answer of ours is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Form<'a> {
    /// What the client reads.
    pub media: Media,
    /// The request was a `HEAD`: the fields without the body (RFC 9110 §9.3.2).
    pub head_only: bool,
    /// The connection is closed after it.
    pub close: bool,
    /// Now, as a `Date` field has it (RFC 9110 §5.6.7).
    pub date: Option<&'a str>,
}

/// What the body of an answer of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Media {
    /// One line, for a program.
    #[default]
    Json,
    /// A page, for a browser.
    Html,
    /// None: for a client of gRPC an error is all trailers, in an answer of 200 ("Trailers-Only" of its protocol over
    /// HTTP/2). What is no error is JSON.
    Grpc,
}

impl Answer<'_> {
    /// Appends the whole answer.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (mut head, body) = match self.form.media {
            Media::Json => self.with(self.json()),
            Media::Html => self.with(self.page()),
            Media::Grpc => (self.trailers_only(), String::new()),
        };
        // Writing to a String cannot fail, here and below.
        let _ = write!(head, "Tambat-Error: {}\r\n", self.code);
        if let Some(id) = self.request_id.filter(|id| id.bytes().all(|b| b.is_ascii_graphic())) {
            let _ = write!(head, "X-Request-ID: {id}\r\n");
        }
        if let Some(seconds) = self.retry_after_s {
            let _ = write!(head, "Retry-After: {seconds}\r\n");
        }
        if self.code == ErrorCode::MethodRefused {
            let _ = write!(head, "Allow: {ALLOW}\r\n");
        }
        self.form.finish(&head, &body, out);
    }

    fn with(&self, body: String) -> (String, String) {
        (self.form.head(self.code.status(), body.len()), body)
    }

    fn trailers_only(&self) -> String {
        let mut head = self.form.head_without_body(200);
        let status = grpc::status(self.code.status());
        let _ = write!(head, "Content-Type: {}\r\nContent-Length: 0\r\ngrpc-status: {status}\r\n", grpc::TYPE);
        head.push_str("grpc-message: ");
        grpc::put_message(&mut head, self.cause);
        if let Some(mend) = self.mend {
            head.push_str("; ");
            grpc::put_message(&mut head, mend);
        }
        head.push_str("\r\n");
        head
    }

    fn json(&self) -> String {
        let mut line = format!("{{\"error\":\"{}\",\"status\":{},\"cause\":", self.code, self.code.status());
        json_string(&mut line, self.cause);
        for (key, value) in [("mend", self.mend), ("route", self.route), ("request_id", self.request_id)] {
            if let Some(value) = value {
                let _ = write!(line, ",\"{key}\":");
                json_string(&mut line, value);
            }
        }
        line.push_str("}\n");
        line
    }

    fn page(&self) -> String {
        let status = self.code.status();
        let mut page = page_head(&format!("{status} {}", reason(status)));
        let _ = write!(page, "<h1>{}</h1><p>", heading(self.code));
        prose(&mut page, self.cause);
        page.push_str("</p>");
        if let Some(mend) = self.mend {
            page.push_str("<p class=mend>");
            prose(&mut page, mend);
            page.push_str("</p>");
        }
        let _ = write!(page, "<small>{status} {} · <code>{}</code>", reason(status), self.code);
        for (name, value) in [("process", self.route), ("request", self.request_id)] {
            if let Some(value) = value {
                let _ = write!(page, " · {name} <code>");
                escape(&mut page, value);
                page.push_str("</code>");
            }
        }
        page.push_str("</small></main></html>\n");
        page
    }
}

/// Appends the answer to an `OPTIONS` that is for nobody behind us: `OPTIONS *`, or one whose hops are used up
/// (RFC 9110 §7.6.2).
pub fn write_options(form: Form<'_>, out: &mut Vec<u8>) {
    let mut head = form.head_without_body(204);
    let _ = write!(head, "Allow: {ALLOW}\r\n");
    form.finish(&head, "", out);
}

/// Appends the answer to a request that is to be made at another URL, now and the next time (RFC 9110 §15.4.9). The URL
/// is made of parts of a head that was read.
pub fn write_redirect(location: &str, form: Form<'_>, out: &mut Vec<u8>) {
    let mut head = form.head_without_body(308);
    let _ = write!(head, "Location: {location}\r\nContent-Length: 0\r\n{GUARD}");
    form.finish(&head, "", out);
}

/// Appends the answer to the question of an ACME CA (RFC 8555 §8.3).
pub fn write_challenge(answer: &str, form: Form<'_>, out: &mut Vec<u8>) {
    let mut head = form.head_without_body(200);
    let bytes = answer.len();
    let _ = write!(head, "Content-Type: application/octet-stream\r\nContent-Length: {bytes}\r\n{GUARD}");
    form.finish(&head, answer, out);
}

/// A list of apps with their processes: what a shared listener answers at `localhost`.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// The apps, in the order they are shown.
    pub apps: Vec<CatalogueApp>,
}

/// One app of the catalogue.
#[derive(Debug, Clone, Default)]
pub struct CatalogueApp {
    /// Its name; empty: the routes have no app.
    pub name: String,
    /// What it answers to.
    pub entries: Vec<CatalogueEntry>,
}

/// One process port of the catalogue.
#[derive(Debug, Clone, Default)]
pub struct CatalogueEntry {
    /// The process port: `web`, `chat:admin`.
    pub name: String,
    /// Where people reach it.
    pub urls: Vec<String>,
    /// Nobody serves it now: why.
    pub cause: Option<String>,
}

impl Catalogue {
    /// Appends the catalogue: a page, or one line of JSON.
    pub fn write(&self, form: Form<'_>, out: &mut Vec<u8>) {
        let body = if form.media == Media::Html { self.page() } else { self.json() };
        form.finish(&form.head(200, body.len()), &body, out);
    }

    fn json(&self) -> String {
        let mut line = String::from("{\"apps\":[");
        for (nth, app) in self.apps.iter().enumerate() {
            line.push_str(if nth == 0 { "{\"app\":" } else { ",{\"app\":" });
            json_string(&mut line, &app.name);
            line.push_str(",\"processes\":[");
            for (nth, entry) in app.entries.iter().enumerate() {
                line.push_str(if nth == 0 { "{\"name\":" } else { ",{\"name\":" });
                json_string(&mut line, &entry.name);
                line.push_str(",\"urls\":[");
                for (nth, url) in entry.urls.iter().enumerate() {
                    line.push_str(if nth == 0 { "" } else { "," });
                    json_string(&mut line, url);
                }
                line.push(']');
                if let Some(cause) = &entry.cause {
                    line.push_str(",\"cause\":");
                    json_string(&mut line, cause);
                }
                line.push('}');
            }
            line.push_str("]}");
        }
        line.push_str("]}\n");
        line
    }

    fn page(&self) -> String {
        let mut page = page_head("Apps on this machine");
        page.push_str("<h1>Apps on this machine</h1>");
        if self.apps.is_empty() {
            page.push_str("<p class=soft>None has a name to be visited by.</p>");
        }
        for app in &self.apps {
            page.push_str("<h2>");
            escape(&mut page, &app.name);
            page.push_str("</h2><table>");
            app.entries.iter().for_each(|entry| entry.row(&mut page));
            page.push_str("</table>");
        }
        page.push_str("</main></html>\n");
        page
    }
}

impl CatalogueEntry {
    fn row(&self, page: &mut String) {
        page.push_str("<tr><th scope=row>");
        escape(page, &self.name);
        page.push_str("</th><td>");
        for (nth, url) in self.urls.iter().enumerate() {
            page.push_str(if nth == 0 { "<a href=\"" } else { "<br><a href=\"" });
            escape(page, url);
            page.push_str("\">");
            escape(page, url);
            page.push_str("</a>");
        }
        if let Some(cause) = &self.cause {
            page.push_str("<br><span class=bad>");
            prose(page, cause);
            page.push_str("</span>");
        }
        page.push_str("</td></tr>");
    }
}

impl Form<'_> {
    fn head(&self, status: u16, body_bytes: usize) -> String {
        let mut head = self.head_without_body(status);
        let media = if self.media == Media::Html { "text/html; charset=utf-8" } else { "application/json" };
        let _ = write!(head, "Content-Type: {media}\r\nContent-Length: {body_bytes}\r\n{GUARD}");
        head
    }

    fn head_without_body(&self, status: u16) -> String {
        let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
        if let Some(date) = self.date {
            let _ = write!(head, "Date: {date}\r\n");
        }
        if self.close {
            head.push_str("Connection: close\r\n");
        }
        head
    }

    fn finish(&self, head: &str, body: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(b"\r\n");
        if !self.head_only {
            out.extend_from_slice(body.as_bytes());
        }
    }
}

/// The reason phrase of a status that is answered here (RFC 9110 §15).
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        499 => "Client Closed Request",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        508 => "Loop Detected",
        _ => "Error",
    }
}

/// What a page says at its top.
fn heading(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::NoRoute => "Nothing is served here",
        ErrorCode::NoTarget => "Not ready to answer",
        ErrorCode::QueueFull | ErrorCode::TooManyConnections => "Too busy at the moment",
        ErrorCode::ShuttingDown => "Shutting down",
        ErrorCode::TargetUnreachable | ErrorCode::ConnectTimeout => "The app cannot be reached",
        ErrorCode::TargetClosed | ErrorCode::TargetBroke => "The app closed the connection without an answer",
        ErrorCode::FirstByteTimeout | ErrorCode::ResponseTimeout => "The app takes too long to answer",
        ErrorCode::BadResponse => "The app's answer cannot be understood",
        ErrorCode::Loop => "This request goes round in a circle",
        ErrorCode::BodyTooBig => "That is too large",
        _ => "This request cannot be served",
    }
}

fn page_head(title: &str) -> String {
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><main>"
    )
}

/// A sentence for HTML: what stands in a pair of backticks is code.
fn prose(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some((before, (code, after))) =
        rest.split_once('`').and_then(|(before, behind)| Some((before, behind.split_once('`')?)))
    {
        escape(out, before);
        out.push_str("<code>");
        escape(out, code);
        out.push_str("</code>");
        rest = after;
    }
    escape(out, rest);
}

/// Text for HTML, also within double quotes. What is no printable character is shown as its code.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

/// A JSON string (RFC 8259 §7).
fn json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: ErrorCode, form: Form<'_>) -> String {
        let answer = Answer {
            code,
            cause: "web.1 listens on 3000, not on its PORT 20003: it ignores PORT",
            mend: Some("in server.js use process.env.PORT"),
            route: Some("web"),
            request_id: Some("0190-abc"),
            form,
            retry_after_s: Some(1),
        };
        let mut out = Vec::new();
        answer.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_program_gets_one_line_of_json() {
        let date = Some("Sun, 22 Nov 2026 20:00:00 GMT");
        let form = Form { close: true, date, ..Form::default() };
        insta::assert_snapshot!(answer(ErrorCode::NoTarget, form).replace("\r\n", "\n"), @r#"
        HTTP/1.1 503 Service Unavailable
        Date: Sun, 22 Nov 2026 20:00:00 GMT
        Connection: close
        Content-Type: application/json
        Content-Length: 188
        Cache-Control: no-store
        X-Content-Type-Options: nosniff
        Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'
        Tambat-Error: no-target
        X-Request-ID: 0190-abc
        Retry-After: 1

        {"error":"no-target","status":503,"cause":"web.1 listens on 3000, not on its PORT 20003: it ignores PORT","mend":"in server.js use process.env.PORT","route":"web","request_id":"0190-abc"}
        "#);
    }

    #[test]
    fn the_length_is_that_of_the_body() {
        for code in ErrorCode::ALL {
            for media in [Media::Json, Media::Html, Media::Grpc] {
                let whole = answer(*code, Form { media, ..Form::default() });
                let (head, body) = whole.split_once("\r\n\r\n").unwrap();
                assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
                let without = answer(*code, Form { media, head_only: true, ..Form::default() });
                assert_eq!(without, format!("{head}\r\n\r\n"));
                assert_ne!(reason(code.status()), "Error");
            }
        }
    }

    #[test]
    fn what_came_from_outside_stands_escaped() {
        let cause = "<script>alert(\"1\")</script>'&\r\nX: y\u{0}";
        let write = |media| {
            let form = Form { media, ..Form::default() };
            let (code, mend, route) = (ErrorCode::NoRoute, Some(cause), Some(cause));
            let answer = Answer { code, cause, mend, route, request_id: Some(cause), form, retry_after_s: None };
            let mut out = Vec::new();
            answer.write(&mut out);
            String::from_utf8(out).unwrap()
        };
        let page = write(Media::Html);
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(&quot;1&quot;)"), "{page}");
        let json = write(Media::Json);
        let (head, body) = json.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("X-Request-ID") && !head.contains("X: y"));
        assert!(body.contains(r#""cause":"<script>alert(\"1\")</script>'&\u000d\u000aX: y\u0000""#), "{body}");
        assert_eq!(body.lines().count(), 1);
        let trailers = write(Media::Grpc);
        assert!(trailers.ends_with("\r\n\r\n") && !trailers.contains("\r\nX: y"), "{trailers}");
        let message = "\r\ngrpc-message: <script>alert(\"1\")</script>'&%0D%0AX: y%00; <script>";
        assert!(trailers.contains(message), "{trailers}");
    }

    #[test]
    fn a_client_of_grpc_gets_its_own_status_in_trailers() {
        insta::assert_snapshot!(answer(ErrorCode::NoTarget, Form { media: Media::Grpc, ..Form::default() }).replace("\r\n", "\n"), @r"
        HTTP/1.1 200 OK
        Content-Type: application/grpc
        Content-Length: 0
        grpc-status: 14
        grpc-message: web.1 listens on 3000, not on its PORT 20003: it ignores PORT; in server.js use process.env.PORT
        Tambat-Error: no-target
        X-Request-ID: 0190-abc
        Retry-After: 1

        ");
    }

    #[test]
    fn pairs_of_backticks_are_code() {
        for (text, expected) in [
            (
                "`tambat logs api` shows <it>, `x` too",
                "<code>tambat logs api</code> shows &lt;it&gt;, <code>x</code> too",
            ),
            ("a lonely ` is itself", "a lonely ` is itself"),
            ("`<b>` and ``", "<code>&lt;b&gt;</code> and <code></code>"),
        ] {
            let mut out = String::new();
            prose(&mut out, text);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn options_and_refused_methods_are_told_what_is_allowed() {
        let mut out = Vec::new();
        write_options(Form::default(), &mut out);
        let allow = format!("Allow: {ALLOW}\r\n");
        assert_eq!(String::from_utf8(out).unwrap(), format!("HTTP/1.1 204 No Content\r\n{allow}\r\n"));
        assert!(answer(ErrorCode::MethodRefused, Form::default()).contains(&allow));
    }

    #[test]
    fn the_catalogue_lists_what_there_is() {
        let entry = |name: &str, cause: Option<&str>| CatalogueEntry {
            name: name.to_owned(),
            urls: vec![format!("http://{name}.shop.localhost:7080/")],
            cause: cause.map(str::to_owned),
        };
        let entries = vec![entry("web", None), entry("api", Some("api.1 exited with code 1"))];
        let catalogue = Catalogue { apps: vec![CatalogueApp { name: "shop".to_owned(), entries }] };
        let mut out = Vec::new();
        catalogue.write(Form::default(), &mut out);
        let json = String::from_utf8(out).unwrap();
        let expected = concat!(
            r#"{"apps":[{"app":"shop","processes":[{"name":"web","urls":["http://web.shop.localhost:7080/"]},"#,
            r#"{"name":"api","urls":["http://api.shop.localhost:7080/"],"cause":"api.1 exited with code 1"}]}]}"#,
        );
        assert!(json.ends_with(&format!("{expected}\n")), "{json}");
        let mut out = Vec::new();
        catalogue.write(Form { media: Media::Html, ..Form::default() }, &mut out);
        let page = String::from_utf8(out).unwrap();
        assert!(page.contains("<a href=\"http://web.shop.localhost:7080/\">"), "{page}");
    }
}
