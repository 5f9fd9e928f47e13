//! Why nobody serves a process port now, and what its user can do about it: the two sentences of a browser's page.

use std::sync::Arc;

use crate::world::{Cause, InstanceView, Phase, ProcessView};
use crate::{PortPlan, ProcessName, ProcessPlan};

/// Why, and what to do where there is something to do.
pub(crate) type Told = (Cause, Option<Cause>);

/// Its user holds it.
pub(crate) fn paused(process: &ProcessName) -> Told {
    (format!("{process} is paused").into(), Some(format!("`tambat resume {process}` lets it go on").into()))
}

/// An instance is on its way.
pub(crate) fn coming(instance: &InstanceView, process: &ProcessPlan, port: &PortPlan) -> Told {
    let (name, of) = (&instance.name, &process.name);
    if let Some(ill) = &instance.ill {
        let mend = format!("`tambat logs {of}` shows what it wrote");
        return (format!("{name} is not well: it {ill}").into(), Some(mend.into()));
    }
    match &instance.phase {
        Phase::Backoff { cause } => {
            let mend = format!("`tambat logs {of}` shows what it wrote");
            (format!("{cause}; it is started again in a moment").into(), Some(mend.into()))
        }
        Phase::Binding { port: told, elsewhere: Some(elsewhere), .. } => {
            let told = told.map(|port| format!(" {port}")).unwrap_or_default();
            let cause = format!("{name} listens on {elsewhere}, not on its PORT{told}: it ignores PORT");
            (cause.into(), Some(how_to_bind(&process.command).into()))
        }
        Phase::Ready { .. } => not_bound(instance, process, port),
        phase => (format!("{name} is {}", phase.as_str()).into(), None),
    }
}

/// No instance is there or on its way.
pub(crate) fn absent(process: &ProcessPlan, port: &PortPlan, view: &ProcessView) -> Told {
    let of = &process.name;
    let of_instance = view.instances.iter().rev().find_map(|instance| match &instance.phase {
        Phase::Failed { cause } => {
            let mend = format!("`tambat logs {of}` shows what it wrote; `tambat restart {of}` tries anew");
            Some((Arc::clone(cause), Some(mend.into())))
        }
        Phase::Ended { cause } => {
            Some((Arc::clone(cause), Some(format!("`tambat restart {of}` starts it again").into())))
        }
        Phase::Ready { .. } => Some(not_bound(instance, process, port)),
        _ => None,
    });
    of_instance.unwrap_or_else(|| {
        (format!("{of} is not running").into(), Some(format!("`tambat restart {of}` starts it").into()))
    })
}

/// It runs and counts as ready, and this port of it is not there.
fn not_bound(instance: &InstanceView, process: &ProcessPlan, port: &PortPlan) -> Told {
    let name = &instance.name;
    match &port.name {
        Some(port) => (
            format!("{name} has not bound its port {port}").into(),
            Some(format!("make it listen on the number in the variable {}", port.variable()).into()),
        ),
        None => (format!("{name} has not bound its PORT").into(), Some(how_to_bind(&process.command).into())),
    }
}

/// What to write so that the program of this command line binds the number in `PORT`, by what the command runs.
pub fn how_to_bind(command: &str) -> String {
    let words = words(command);
    if let Some((_, option)) = OPTIONS.iter().find(|(program, _)| words.iter().any(|word| program_of(word) == *program))
    {
        return format!("in its command say {option}");
    }
    let runs = |language: &&Language| words.iter().any(|word| language.programs.contains(&program_of(word)));
    let Some(language) = LANGUAGES.iter().find(runs) else {
        return "make it listen on the number in the variable PORT, or put $PORT in its command".to_owned();
    };
    let is_file = |word: &&&str| !word.starts_with('-') && language.files.iter().any(|end| word.ends_with(end));
    match words.iter().find(is_file) {
        Some(file) => format!("in {file} use {}", language.code),
        None => format!("in the server's file use {}", language.code),
    }
}

/// The words of a command line, as far as they can be told without being a shell.
fn words(command: &str) -> Vec<&str> {
    let words = command.split(|c: char| c.is_whitespace() || ";&|()<>\"'`".contains(c));
    words.filter(|word| !word.is_empty()).collect()
}

/// A word as the name of a program: without its directory and its version.
fn program_of(word: &str) -> &str {
    let name = word.rsplit('/').next().unwrap_or(word);
    let unversioned = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if unversioned.is_empty() { name } else { unversioned }
}

/// Programs that take the number as an option, and how it is written. They come first: `python manage.py runserver`.
const OPTIONS: &[(&str, &str)] = &[
    ("vite", "vite --port $PORT --strictPort"),
    ("next", "next dev -p $PORT"),
    ("uvicorn", "uvicorn --port $PORT"),
    ("hypercorn", "hypercorn -b 127.0.0.1:$PORT"),
    ("gunicorn", "gunicorn -b 127.0.0.1:$PORT"),
    ("flask", "flask run --port $PORT"),
    ("manage.py", "manage.py runserver $PORT"),
    ("http.server", "python3 -m http.server $PORT"),
    ("rails", "rails server -p $PORT"),
    ("puma", "puma -p $PORT"),
    ("rackup", "rackup -p $PORT"),
    ("thin", "thin start -p $PORT"),
    ("-S", "php -S 127.0.0.1:$PORT"),
    ("artisan", "php artisan serve --port $PORT"),
    ("hugo", "hugo server --port $PORT"),
    ("redis-server", "redis-server --port $PORT"),
    ("postgres", "postgres -p $PORT"),
];

/// How the programs of one language read a variable.
struct Language {
    /// What runs them, without version numbers.
    programs: &'static [&'static str],
    /// How the names of their files end.
    files: &'static [&'static str],
    /// The expression.
    code: &'static str,
}

/// In this order: a command that names several is of the first.
const LANGUAGES: &[Language] = &[
    language(
        &["java", "kotlin", "scala", "mvn", "mvnw", "gradle", "gradlew", "sbt"],
        &[".java", ".kt"],
        "System.getenv(\"PORT\"); for Spring say server.port=${PORT} in application.properties",
    ),
    language(&["deno"], &[".ts", ".js", ".mjs"], "Deno.env.get(\"PORT\")"),
    language(
        &["node", "nodemon", "npm", "npx", "pnpm", "yarn", "bun", "bunx", "tsx", "ts-node"],
        &[".js", ".mjs", ".cjs", ".ts", ".mts"],
        "process.env.PORT",
    ),
    language(&["python", "pypy", "uv", "poetry", "pipenv"], &[".py"], "os.environ[\"PORT\"]"),
    language(&["ruby", "jruby", "bundle"], &[".rb", ".ru"], "ENV[\"PORT\"]"),
    language(&["php"], &[".php"], "getenv(\"PORT\")"),
    language(&["go", "air"], &[".go"], "os.Getenv(\"PORT\")"),
    language(&["cargo"], &[".rs"], "std::env::var(\"PORT\")"),
    language(&["mix", "elixir"], &[".exs", ".ex"], "System.get_env(\"PORT\")"),
    language(&["dotnet"], &[".cs"], "Environment.GetEnvironmentVariable(\"PORT\")"),
    language(&["perl", "plackup"], &[".pl", ".psgi"], "$ENV{PORT}"),
];

const fn language(programs: &'static [&'static str], files: &'static [&'static str], code: &'static str) -> Language {
    Language { programs, files, code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_write_by_what_the_command_runs() {
        let cases = [
            ("node server.js", "in server.js use process.env.PORT"),
            ("exec node --inspect src/index.mjs --quiet", "in src/index.mjs use process.env.PORT"),
            ("npm start", "in the server's file use process.env.PORT"),
            ("cd app && yarn dev", "in the server's file use process.env.PORT"),
            ("bun run server.ts", "in server.ts use process.env.PORT"),
            ("npx vite", "in its command say vite --port $PORT --strictPort"),
            ("deno run --allow-net main.ts", "in main.ts use Deno.env.get(\"PORT\")"),
            ("/usr/bin/python3.11 -u app.py", "in app.py use os.environ[\"PORT\"]"),
            ("python3 -m app", "in the server's file use os.environ[\"PORT\"]"),
            ("python manage.py runserver", "in its command say manage.py runserver $PORT"),
            ("python3 -m http.server", "in its command say python3 -m http.server $PORT"),
            ("A=1 uvicorn app:app", "in its command say uvicorn --port $PORT"),
            ("ruby app.rb", "in app.rb use ENV[\"PORT\"]"),
            ("bundle exec rails s", "in its command say rails server -p $PORT"),
            ("bundle exec puma", "in its command say puma -p $PORT"),
            ("php -S localhost:8000", "in its command say php -S 127.0.0.1:$PORT"),
            ("php worker.php", "in worker.php use getenv(\"PORT\")"),
            (
                "java -jar app.jar",
                "in the server's file use System.getenv(\"PORT\"); for Spring say server.port=${PORT} in application.properties",
            ),
            (
                "./mvnw spring-boot:run",
                "in the server's file use System.getenv(\"PORT\"); for Spring say server.port=${PORT} in application.properties",
            ),
            ("go run main.go", "in main.go use os.Getenv(\"PORT\")"),
            ("cargo run --release", "in the server's file use std::env::var(\"PORT\")"),
            ("sh -c 'node \"web.js\"'", "in web.js use process.env.PORT"),
            ("./server", "make it listen on the number in the variable PORT, or put $PORT in its command"),
            ("", "make it listen on the number in the variable PORT, or put $PORT in its command"),
        ];
        for (command, mend) in cases {
            assert_eq!(how_to_bind(command), mend, "{command}");
        }
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
