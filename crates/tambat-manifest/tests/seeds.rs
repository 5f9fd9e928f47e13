//! The promises that the fuzz targets check, held with every seed and with arbitrary text.

use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;

#[path = "../../../fuzz/entry.rs"]
mod entry;

/// Every file in the folder of this target's seeds.
fn replay(target: &str, entry: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut replayed = 0;
    for seed in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        entry(&std::fs::read(seed.path()).unwrap_or_default());
        replayed += 1;
    }
    assert!(replayed > 0, "no seed in {}", folder.display());
}

#[test]
fn every_seed_keeps_the_promises() {
    replay("procfile", entry::procfile);
    replay("dotenv", entry::dotenv);
    replay("manifest", entry::manifest);
    replay("resource_url", entry::resource_url);
    replay("route_file", entry::route_file);
    replay("serve_file", entry::serve_file);
    replay("dependency_file", entry::dependency_file);
}

#[test]
fn a_file_that_is_wrong_from_end_to_end_is_refused_in_bounded_time() {
    let fill = |line: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for nth in 0.. {
            let line = line(nth);
            if text.len() + line.len() > 64 * 1024 {
                return text;
            }
            text.push_str(&line);
        }
        text
    };
    let start = Instant::now();
    entry::procfile(fill(&|_| "x\n".to_owned()).as_bytes());
    entry::procfile(fill(&|nth| format!("p{nth}: x\n")).as_bytes());
    entry::procfile(fill(&|_| "web: x\n".to_owned()).as_bytes());
    entry::dotenv(fill(&|_| "A=${\n".to_owned()).as_bytes());
    entry::dotenv(fill(&|nth| format!("A{nth}=x # ${{y}} $z\n")).as_bytes());
    entry::dotenv(format!("A={}", fill(&|_| "${".to_owned())).as_bytes());
    entry::dotenv(format!("A=\"{}\"", fill(&|_| "${x:-".to_owned())).as_bytes());
    entry::manifest(fill(&|nth| format!("[processes.p{nth}]\n")).as_bytes());
    entry::manifest(fill(&|nth| format!("key{nth} = 1\n")).as_bytes());
    entry::manifest(fill(&|nth| format!("[resources.r{nth}]\n")).as_bytes());
    entry::manifest(format!("[processes.web]\nuses = [{}]", fill(&|nth| format!("\"a{nth}\",\n"))).as_bytes());
    entry::manifest(format!("[processes.web.ports]\n{}", fill(&|nth| format!("p{nth}=\"tcp\"\n"))).as_bytes());
    entry::manifest(format!("a = {}", fill(&|_| "[".to_owned())).as_bytes());
    entry::manifest(
        format!("[processes.web]\ncommand=\"x\"\nhosts = [{}]", fill(&|nth| format!("\"h{nth}\",\n"))).as_bytes(),
    );
    entry::manifest(format!("[processes.web.headers]\n{}", fill(&|nth| format!("h{nth}=\"x\"\n"))).as_bytes());
    entry::manifest(
        fill(&|nth| format!("[processes.p{nth}]\ncommand=\"x\"\nprotocol=\"http\"\npath=\"/x\"\n")).as_bytes(),
    );
    let openings = [
        "{\"a\":",
        "[",
        "\"\\\\",
        "'''",
        "\"",
        "a = [\n",
        "/*",
        "//\n",
        "<!--",
        "<dependency>",
        "<artifactId>",
        "require (\n",
        "npm ",
        " ",
    ];
    for opening in openings {
        entry::dependency_file(fill(&|_| opening.to_owned()).as_bytes());
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
}

/// Text that is likely to be understood in part.
fn nearly(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece = prop_oneof![4 => proptest::sample::select(words).prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_procfile(text in nearly(&["web", "api", ":", " ", "\n", "\r\n", "#", "release", "<<<<<<<", "_", "\t", "é"])) {
        entry::procfile(text.as_bytes());
    }

    #[test]
    fn any_dotenv(text in nearly(&["A", "B", "=", "\"", "'", "${", "}", "$", ":-", ":?", "\\", "#", " ", "\n", "\r\n", "export ", "HOME", "é"])) {
        entry::dotenv(text.as_bytes());
    }

    #[test]
    fn any_manifest(text in nearly(&["[processes.web]\n", "[processes.api]\n", "[resources.db]\n", "command", "uses", "ports", "port", "env", "url", "ready", "protocol",
        " = ", "\"x\"", "\"http\"", "\"redis://:é@h\"", "[\"api\", \"web:x\"]", "{ a = \"tcp\" }", "{ path = 1 }", "hosts", "path", "strip_path", "headers", "health", "timeouts", "[router]\n", "trusted", "\"*.é\"", "\"/x\"", "true", "\"web.shop.localhost\"", "1", "0", "\n", "\n---\n", "web: x\n", ".", ",", "é"])) {
        entry::manifest(text.as_bytes());
    }

    #[test]
    fn any_url(text in nearly(&["redis", "://", ":", "@", "/", "[", "]", "::1", "h", "6379", "0", "%40", "{host}", "{port}", "?", "#"])) {
        entry::resource_url(text.as_bytes());
    }

    #[test]
    fn any_bytes(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        entry::procfile(&data);
        entry::dotenv(&data);
        entry::manifest(&data);
        entry::resource_url(&data);
        entry::route_file(&data);
        entry::serve_file(&data);
        entry::dependency_file(&data);
    }

    #[test]
    fn any_dependency_file(text in nearly(&["{", "}", "[", "]", "\"", "'", "\\", "\\u12", "=", "\n", "#", " ", ":", ",", "/*", "*/", "//", "\"\"\"", "'''", "<dependency>", "</dependency>", "<artifactId>", "</artifactId>", "<!--", "-->",
        "\"dependencies\"", "[dependencies]", "[project]", "require (", ")", "gem ", "=begin", "flask", "express", "axum", "-e ", "#egg=", "npm start", "node app.js", "é"])) {
        entry::dependency_file(text.as_bytes());
    }

    #[test]
    fn any_route_file(text in nearly(&["listen = \"127.0.0.1:0\"\n", "[router]\n", "[routes.a]\n", "[routes.b]\n", "targets", "hosts", "path", "strip_path", "health", "headers", "timeouts",
        " = ", "[\"127.0.0.1:1\"]", "[\"[::1]:1\", \"127.0.0.1:0\"]", "\"a.example\"", "\"*.example\"", "\"*\"", "\"/a\"", "\"/\"", "{ path = \"/\" }", "true", "1", "\n", ".", ",", "é"])) {
        entry::route_file(text.as_bytes());
    }
}
