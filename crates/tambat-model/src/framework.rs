//! Frameworks, web server libraries and servers: how each is recognised, and what makes it bind the number in `PORT`.
//!
//! One table has all that is known of them; every sentence about them comes from it.

mod table;

pub(crate) use table::{LANGUAGES, LanguageRow, TABLE};

/// A framework, a web server library, or a server that is a program of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the project of that name")]
pub enum Framework {
    Gunicorn,
    Hypercorn,
    FastApi,
    Uvicorn,
    Flask,
    Django,
    Tornado,
    Waitress,
    Aiohttp,
    Sanic,
    Bottle,
    CherryPy,
    Grpcio,
    PythonHttpServer,
    Rails,
    Sinatra,
    Thin,
    Puma,
    Unicorn,
    Webrick,
    Rack,
    SpringBoot,
    Quarkus,
    Micronaut,
    Ktor,
    Javalin,
    Vertx,
    Jetty,
    Tomcat,
    Undertow,
    Next,
    Nuxt,
    Astro,
    Nest,
    Express,
    Fastify,
    Koa,
    Hapi,
    Hono,
    Vite,
    Webpack,
    Angular,
    NodeHttp,
    Gin,
    Echo,
    Fiber,
    GoNetHttp,
    Axum,
    Actix,
    Rocket,
    Warp,
    TambatApp,
    Hyper,
    Laravel,
    Symfony,
    Slim,
    ReactPhp,
    PhpBuiltIn,
    Apache,
    Hugo,
    Redis,
    Postgres,
    Ejabberd,
}

/// A language, by what its programs and its dependency files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Language {
    Jvm,
    Deno,
    Node,
    Python,
    Ruby,
    Php,
    Go,
    Rust,
    Elixir,
    DotNet,
    Perl,
}

/// The line that makes it bind `PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    /// As short as it can be.
    pub(crate) port: &'static str,
    /// So that it also listens where `HOST` says, and at all addresses where nothing does.
    pub(crate) host: &'static str,
    /// The file of its own that the line belongs in; none: the command, or the app's source.
    pub(crate) file: Option<&'static str>,
}

/// What is known of a framework.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) framework: Framework,
    pub(crate) name: &'static str,
    /// None: a server that is configured and not written for.
    pub(crate) language: Option<Language>,
    /// Words of a command that start it. Several words in one: all of them have to be there.
    pub(crate) commands: &'static [&'static str],
    /// As what it is declared in a dependency file of its language.
    pub(crate) packages: &'static [&'static str],
    /// What to write in a command.
    pub(crate) flag: Option<Line>,
    /// What to write in the app's source, or in a file of the framework's.
    pub(crate) code: Option<Line>,
}

impl Framework {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.framework)
    }

    /// As its project calls it.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    pub(crate) fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

impl Language {
    pub(crate) fn row(self) -> &'static LanguageRow {
        &LANGUAGES[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_where_it_is_looked_for() {
        for (place, row) in TABLE.iter().enumerate() {
            assert_eq!(row.framework as usize, place, "{}", row.name);
        }
        for (place, row) in LANGUAGES.iter().enumerate() {
            assert_eq!(row.language as usize, place, "{}", row.code);
        }
        assert_eq!(Framework::Ejabberd as usize + 1, TABLE.len(), "the last one has its row");
        assert_eq!(Language::Perl as usize + 1, LANGUAGES.len(), "the last one has its row");
    }

    #[test]
    fn each_can_be_recognised_and_has_a_line_with_port() {
        for row in TABLE {
            let stands_for_its_language = row.language.is_some_and(|l| l.row().standard == Some(row.framework));
            assert!(
                !row.commands.is_empty() || !row.packages.is_empty() || stands_for_its_language,
                "{} is recognised by nothing",
                row.name
            );
            let lines: Vec<Line> = row.flag.into_iter().chain(row.code).collect();
            assert!(!lines.is_empty(), "{} has no line", row.name);
            for line in lines {
                assert!(line.port.contains("PORT"), "{}: {}", row.name, line.port);
                assert!(line.host.contains("PORT"), "{}: {}", row.name, line.host);
            }
            assert!(row.commands.is_empty() || row.flag.is_some() || row.code.is_some_and(|l| l.file.is_some()));
        }
    }

    #[test]
    fn no_package_and_no_command_is_of_two() {
        let mut seen = std::collections::BTreeSet::new();
        for row in TABLE {
            let packages = row.packages.iter().map(|package| (row.language, *package));
            let commands = row.commands.iter().map(|command| (None, *command));
            for sign in packages.chain(commands) {
                assert!(seen.insert(sign), "{sign:?} is of two, and one of them is {}", row.name);
            }
        }
    }

    #[test]
    fn every_line_of_the_table() {
        let mut text = String::new();
        for row in TABLE {
            for (kind, line) in row.flag.map(|l| ("flag", l)).into_iter().chain(row.code.map(|l| ("code", l))) {
                let file = line.file.map(|file| format!(" [{file}]")).unwrap_or_default();
                text.push_str(&format!("{} {kind}{file}: {}\n", row.name, line.port));
                if line.host != line.port {
                    text.push_str(&format!("    {}\n", line.host));
                }
            }
        }
        insta::assert_snapshot!(text);
    }
}
