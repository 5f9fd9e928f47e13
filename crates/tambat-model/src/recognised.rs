//! What serves behind a command: the framework or server that it starts, by its words and by what the app declares.
//!
//! The words of the command count first (`npx vite`, `npm start` with its script, `manage.py runserver`), then the
//! dependencies of the language that it runs, then what that language brings itself. A shell script, a Makefile and a
//! compiled program say nothing: then the dependency files speak, if they are of one language.

use std::collections::BTreeSet;

use crate::dependency_file::DependencyFile;
use crate::framework::{Framework, LANGUAGES, Language, Line, Row, TABLE};

/// What was recognised of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recognised {
    framework: Option<Framework>,
    by: By,
    language: Option<Language>,
    /// The source that the command names.
    source: Option<String>,
    declared: Declared,
}

/// What told the framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum By {
    /// A word of the command: the line to change is there.
    Command,
    /// A dependency of an app whose command runs its source: the line to change is in it.
    Source,
    /// A dependency, and the command says nothing.
    #[default]
    Dependency,
}

/// Does an app declare the library that it serves with?
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Declared {
    /// It has no dependency file of the language it is written in, so nothing can be said.
    #[default]
    Nowhere,
    /// It has one, and that names none of the libraries known here.
    Without {
        /// The file's name.
        file: &'static str,
    },
    /// It does.
    Library {
        /// The file's name.
        file: &'static str,
        /// The library.
        library: Framework,
    },
}

/// Package runners, whose next word but `run` is the name of a script.
const SCRIPT_RUNNERS: &[&str] = &["npm", "pnpm", "yarn", "bun"];

/// The word after these is a folder, and no program.
const BEFORE_A_FOLDER: &[&str] = &["cd", "-C", "--prefix", "--dir", "--cwd"];

impl Recognised {
    /// Looks at a command line and at the dependency files of its directory.
    pub fn of(command: &str, files: &[DependencyFile]) -> Self {
        let mut words = words(command);
        let script = script(&words, files).map(self::words).unwrap_or_default();
        words.extend(script);
        // Once for each word, and not for each row: a command may be as long as a manifest.
        let programs: BTreeSet<&str> = words.iter().map(|word| program_of(word)).collect();
        let by_command = TABLE.iter().find(|row| row.commands.iter().any(|sign| is_said(&programs, sign)));
        let said = by_command.map_or_else(|| language_of(&programs), |row| row.language);
        let language = said.or_else(|| only_language(files).filter(|_| by_command.is_none()));
        let (by, row) = match (by_command, said) {
            (Some(row), _) => (By::Command, Some(row)),
            (None, Some(language)) => (By::Source, of_source(language, files)),
            (None, None) => (By::Dependency, language.and_then(|l| declared_in(l, files).next()).map(|(_, row)| row)),
        };
        Self {
            framework: row.map(|row| row.framework),
            by,
            language,
            source: language.and_then(|language| source(&words, language)),
            declared: declared(language, by_command, files),
        }
    }

    /// The framework or server, if it is one that is known here.
    pub fn framework(&self) -> Option<Framework> {
        self.framework
    }

    /// Whether and where the app declares the library that it serves with.
    pub fn declared(&self) -> &Declared {
        &self.declared
    }

    /// What to write so that it binds the number in `PORT`: "Express: in app.js say app.listen(process.env.PORT)".
    /// `program`: the name of the process that listens, or is to, where one was seen.
    pub fn bind_port(&self, program: Option<&str>) -> String {
        self.advice(program, |line| line.port)
    }

    /// What to write so that it also listens where `HOST` says, and at every address where nothing says so.
    pub fn bind_all(&self, program: Option<&str>) -> String {
        self.advice(program, |line| line.host)
    }

    fn advice(&self, program: Option<&str>, which: fn(&Line) -> &'static str) -> String {
        if let Some((row, line)) = self.framework.map(Framework::row).and_then(|row| Some((row, self.line(row)?))) {
            let source = self.source.as_deref().filter(|_| self.by != By::Command);
            let place = line.file.or(source).map(|file| format!("in {file} say ")).unwrap_or_default();
            return format!("{}: {place}{}", row.name, which(&line));
        }
        let language =
            self.language.or_else(|| program.and_then(|program| language_of(&BTreeSet::from([program_of(program)]))));
        match (language.map(Language::row), &self.source) {
            (Some(language), Some(source)) => format!("in {source} use {}", language.code),
            (Some(language), None) => format!("in the server's file use {}", language.code),
            (None, _) => "make it listen on the number in the variable PORT, or put $PORT in its command".to_owned(),
        }
    }

    /// The framework's line for the place where the port is decided.
    fn line(&self, row: &Row) -> Option<Line> {
        match self.by {
            By::Source => row.code.or(row.flag),
            By::Command | By::Dependency => row.flag.or(row.code),
        }
    }
}

/// The words of a command line that may be programs, their options or their files, as far as they can be told without
/// being a shell. An assignment or an address is none: `DATABASE_URL=postgres://db/postgres node app.js` runs Node.js.
fn words(command: &str) -> Vec<&str> {
    let mut words: Vec<&str> = command.split(|c: char| c.is_whitespace() || ";&|()<>\"'`".contains(c)).collect();
    words.retain(|word| !word.is_empty() && !word.contains('=') && !word.contains("://"));
    let mut before = "";
    words.retain(|word| !BEFORE_A_FOLDER.contains(&std::mem::replace(&mut before, word)));
    words
}

/// A word as the name of a program: without its directory and its version.
fn program_of(word: &str) -> &str {
    let name = word.rsplit('/').next().unwrap_or(word);
    let unversioned = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if unversioned.is_empty() { name } else { unversioned }
}

/// Are all words of this sign among them?
fn is_said(programs: &BTreeSet<&str>, sign: &str) -> bool {
    sign.split(' ').all(|part| programs.contains(part))
}

/// The language of the programs that are known; of several in one command, the first in the table.
fn language_of(programs: &BTreeSet<&str>) -> Option<Language> {
    let runs = |program: &&str| LANGUAGES.iter().find(|row| row.programs.contains(program));
    programs.iter().filter_map(runs).map(|row| row.language).min()
}

/// The language of all files, if it is one.
fn only_language(files: &[DependencyFile]) -> Option<Language> {
    let first = files.first()?.language();
    files.iter().all(|file| file.language() == first).then_some(first)
}

/// The file in the command that is of this language.
fn source(words: &[&str], language: Language) -> Option<String> {
    let is_source = |word: &&&str| !word.starts_with('-') && language.row().files.iter().any(|end| word.ends_with(end));
    words.iter().find(is_source).map(|word| (*word).to_owned())
}

/// What `npm start`, `npm run dev`, `yarn dev` run, by package.json.
fn script<'f>(words: &[&str], files: &'f [DependencyFile]) -> Option<&'f str> {
    let runner = words.iter().position(|word| SCRIPT_RUNNERS.contains(word))?;
    let mut after = words[runner + 1..].iter().filter(|word| !word.starts_with('-'));
    let name = after.find(|word| !matches!(**word, "run" | "run-script"))?;
    files.iter().find_map(|file| file.script(name))
}

/// What a command that runs source serves with: a library whose port is decided in that source, or in a file of the
/// app's, before one that has a command of its own; without any, what the language brings.
fn of_source(language: Language, files: &[DependencyFile]) -> Option<&'static Row> {
    let with_code = declared_in(language, files).map(|(_, row)| row).find(|row| row.code.is_some());
    with_code.or_else(|| language.row().standard.map(Framework::row))
}

/// The libraries of a language that the files declare, in the order of the table.
fn declared_in(language: Language, files: &[DependencyFile]) -> impl Iterator<Item = (&DependencyFile, &'static Row)> {
    let rows = TABLE.iter().filter(move |row| row.language == Some(language));
    rows.filter_map(move |row| {
        let mut of_language = files.iter().filter(|file| file.language() == language);
        let file = of_language.find(|file| row.packages.iter().any(|package| file.declares(package)))?;
        Some((file, row))
    })
}

fn declared(language: Option<Language>, by_command: Option<&Row>, files: &[DependencyFile]) -> Declared {
    let languages: Vec<Language> = match (language, by_command) {
        (Some(language), _) => vec![language],
        // Redis is nobody's library.
        (None, Some(_)) => return Declared::Nowhere,
        (None, None) => {
            let of_a_file = |language: &Language| files.iter().any(|file| file.language() == *language);
            LANGUAGES.iter().map(|row| row.language).filter(of_a_file).collect()
        }
    };
    let all: Vec<_> = languages.iter().flat_map(|language| declared_in(*language, files)).collect();
    // What the command starts is what it should declare; else the first.
    let meant = all.iter().find(|(_, row)| by_command.is_some_and(|by| by.framework == row.framework));
    if let Some((file, row)) = meant.or_else(|| all.first()) {
        return Declared::Library { file: file.name(), library: row.framework };
    }
    let first = files.iter().find(|file| languages.contains(&file.language()));
    first.map_or(Declared::Nowhere, |file| Declared::Without { file: file.name() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> Vec<DependencyFile> {
        files.iter().map(|(name, text)| DependencyFile::read(name, text).unwrap()).collect()
    }

    fn bind_port(command: &str) -> String {
        Recognised::of(command, &[]).bind_port(None)
    }

    #[test]
    fn what_to_write_by_what_the_command_runs() {
        let commands = [
            "node server.js",
            "exec node --inspect src/index.mjs --quiet",
            "npm start",
            "cd app && yarn dev",
            "bun run server.ts",
            "npx vite",
            "deno run --allow-net main.ts",
            "/usr/bin/python3.11 -u app.py",
            "python3 -m app",
            "python manage.py runserver",
            "python3 -m http.server",
            "A=1 uvicorn app:app",
            "gunicorn -k uvicorn.workers.UvicornWorker app:app",
            "ruby app.rb",
            "bundle exec rails s",
            "bundle exec puma",
            "cd rails && ruby app.rb",
            "DATABASE_URL=postgres://db/postgres REDIS=redis-server node app.js --to redis://h/redis-server",
            "php -S localhost:8000",
            "php worker.php",
            "postgres -S 1024",
            "java -jar app.jar",
            "java -jar /usr/share/jetty9/start.jar jetty.base=.",
            "./mvnw spring-boot:run",
            "CATALINA_BASE=. /usr/share/tomcat10/bin/catalina.sh run",
            "apache2 -f httpd.conf -D FOREGROUND",
            "erl -noinput -s ejabberd",
            "redis-server --dir data",
            "go run main.go",
            "cargo run --release",
            "mix phx.server",
            "sh -c 'node \"web.js\"'",
            "./server",
            "",
        ];
        let lines: Vec<String> =
            commands.iter().map(|command| format!("{command} -> {}", bind_port(command))).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn what_to_write_by_what_the_app_declares() {
        let express = (
            "package.json",
            r#"{"dependencies": {"express": "4"}, "devDependencies": {"vite": "7"},
            "scripts": {"start": "node server.js", "dev": "vite", "serve": "cross-env A=1 next dev"}}"#,
        );
        let flask = ("requirements.txt", "flask\ngunicorn\n");
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("node server.js", &[express]),
            ("npm start", &[express]),
            ("npm run dev", &[express]),
            ("npm --silent run serve", &[express]),
            ("yarn dev --open", &[express]),
            ("npm run absent", &[express]),
            ("npm start", &[("package.json", "{}")]),
            ("python app.py", &[express, flask]),
            ("node server.js", &[flask]),
            ("./run.sh", &[flask]),
            ("./run.sh", &[flask, express]),
            ("./run.sh", &[("requirements.txt", "requests")]),
            ("gunicorn app:app", &[flask]),
            ("python main.py", &[("requirements.txt", "uvicorn\nfastapi")]),
            ("python main.py", &[("requirements.txt", "gunicorn")]),
            ("python main.py", &[("requirements.txt", "tornado")]),
            ("ruby app.rb", &[("Gemfile", "gem 'sinatra'\ngem 'puma'")]),
            ("bin/start", &[("Gemfile", "gem 'rails'\ngem 'puma'")]),
            ("java -jar app.jar", &[("build.gradle", "implementation 'a:spring-boot-starter-web'")]),
            ("java -cp lib App", &[("pom.xml", "<dependency><artifactId>jetty-server</artifactId></dependency>")]),
            ("go run .", &[("go.mod", "module a\nrequire github.com/gin-gonic/gin v1.9.1\n")]),
            ("./server", &[("go.mod", "module a\n")]),
            ("cargo run", &[("Cargo.toml", "[dependencies]\naxum = \"0.8\"\nhyper = \"1\"")]),
            ("target/release/app", &[("Cargo.toml", "[dependencies]\nrocket = \"0.5\"")]),
            ("php index.php", &[("composer.json", r#"{"require": {"slim/slim": "4"}}"#)]),
        ];
        let mut text = String::new();
        for (command, found) in cases {
            let recognised = Recognised::of(command, &files(found));
            let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
            let declared = match recognised.declared() {
                Declared::Nowhere => "nothing to see".to_owned(),
                Declared::Without { file } => format!("{file} has none"),
                Declared::Library { file, library } => format!("{file} has {}", library.name()),
            };
            text.push_str(&format!("{command} [{}] -> {}; {declared}\n", names.join(" "), recognised.bind_port(None)));
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn where_to_listen_is_told_too() {
        let of = |command: &str| Recognised::of(command, &[]).bind_all(None);
        assert_eq!(of("npx vite"), "Vite: vite --host ${HOST:-0.0.0.0} --port $PORT --strictPort");
        assert_eq!(of("node app.js"), "Node http: in app.js say server.listen(process.env.PORT, process.env.HOST)");
    }

    #[test]
    fn a_program_that_was_seen_tells_its_language_where_nothing_else_does() {
        let silent = Recognised::of("./run", &[]);
        for (program, line) in [
            ("python3", "in the server's file use os.environ[\"PORT\"]"),
            ("gunicorn: maste", "make it listen on the number in the variable PORT, or put $PORT in its command"),
            ("MainThread", "in the server's file use process.env.PORT"),
            ("java", "in the server's file use System.getenv(\"PORT\")"),
            ("a.out", "make it listen on the number in the variable PORT, or put $PORT in its command"),
        ] {
            assert_eq!(silent.bind_port(Some(program)), line, "{program}");
        }
        assert!(Recognised::of("ruby a.rb", &[]).bind_port(Some("node")).contains("ENV["), "the command counts first");
    }

    #[test]
    fn node_and_go_bring_a_server_and_are_declared_where_their_version_is() {
        let declared = |name, text| Recognised::of("./server", &files(&[(name, text)])).declared().clone();
        let node = Declared::Library { file: "package.json", library: Framework::NodeHttp };
        assert_eq!(declared("package.json", r#"{"engines": {"node": ">=20"}}"#), node);
        assert_eq!(
            declared("package.json", r#"{"engines": {"npm": "9"}}"#),
            Declared::Without { file: "package.json" }
        );
        assert_eq!(declared("go.mod", ""), Declared::Library { file: "go.mod", library: Framework::GoNetHttp });
    }

    #[test]
    fn a_program_is_named_without_directory_and_version() {
        for (word, program) in
            [("/usr/bin/python3.11", "python"), ("node", "node"), ("ruby3", "ruby"), ("7", "7"), ("a/", "")]
        {
            assert_eq!(program_of(word), program);
        }
    }
}
