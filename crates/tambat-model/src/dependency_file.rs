//! The files in which an app declares its dependencies, and what each of them names.
//!
//! They are read as text, by what is certain in each format, and no further: what a file includes (`-r other.txt`), what
//! a build computes (a version catalogue of Gradle, a property of Maven) and what a lock file adds is not seen. Whoever
//! cannot be seen is never said to be absent for good: the clause only warns.

mod json;
mod lines;
mod markup;
mod toml;

use std::collections::BTreeSet;

use crate::framework::Language;

/// The kind of a dependency file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Requirements,
    Pyproject,
    Pipfile,
    Gemfile,
    Pom,
    Gradle,
    PackageJson,
    GoMod,
    CargoToml,
    ComposerJson,
}

/// Each file's name, in the order in which they are asked.
const KINDS: &[(&str, Kind)] = &[
    ("requirements.txt", Kind::Requirements),
    ("pyproject.toml", Kind::Pyproject),
    ("Pipfile", Kind::Pipfile),
    ("Gemfile", Kind::Gemfile),
    ("pom.xml", Kind::Pom),
    ("build.gradle", Kind::Gradle),
    ("build.gradle.kts", Kind::Gradle),
    ("package.json", Kind::PackageJson),
    ("go.mod", Kind::GoMod),
    ("Cargo.toml", Kind::CargoToml),
    ("composer.json", Kind::ComposerJson),
];

/// A dependency file that was found in an app's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyFile {
    name: &'static str,
    kind: Kind,
    /// As its ecosystem compares them.
    names: BTreeSet<String>,
    /// What `npm run` knows, by name.
    scripts: Vec<(String, String)>,
}

impl DependencyFile {
    /// The names of the files that are worth looking for.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(name, _)| *name)
    }

    /// Reads one of those files; none: it is another one. A text that is not what its name says names nothing.
    pub fn read(name: &str, text: &str) -> Option<Self> {
        let (name, kind) = KINDS.iter().find(|(known, _)| *known == name)?;
        let text = text.trim_start_matches('\u{feff}');
        let mut names = BTreeSet::new();
        let mut scripts = Vec::new();
        match kind {
            Kind::Requirements => names.extend(lines::requirements(text)),
            Kind::Pyproject => names.extend(toml::pyproject(text)),
            Kind::Pipfile => names.extend(toml::pipfile(text)),
            Kind::CargoToml => names.extend(toml::cargo(text)),
            Kind::Gemfile => names.extend(lines::gemfile(text)),
            Kind::GoMod => names.extend(lines::go_mod(text)),
            Kind::Pom => names.extend(markup::pom(text)),
            Kind::Gradle => names.extend(lines::gradle(text)),
            Kind::PackageJson => {
                let entries = json::entries(text);
                names.extend(json::package(&entries));
                scripts.extend(entries.into_iter().filter(|e| e.section == "scripts").map(|e| (e.key, e.value)));
            }
            Kind::ComposerJson => names.extend(json::composer(&json::entries(text))),
        }
        Some(Self { name, kind: *kind, names, scripts })
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Does it name this one?
    pub(crate) fn declares(&self, package: &str) -> bool {
        self.names.contains(package)
    }

    /// What `npm run NAME` runs.
    pub(crate) fn script(&self, name: &str) -> Option<&str> {
        self.scripts.iter().find(|(known, _)| known == name).map(|(_, command)| command.as_str())
    }

    pub(crate) fn language(&self) -> Language {
        match self.kind {
            Kind::Requirements | Kind::Pyproject | Kind::Pipfile => Language::Python,
            Kind::Gemfile => Language::Ruby,
            Kind::Pom | Kind::Gradle => Language::Jvm,
            Kind::PackageJson => Language::Node,
            Kind::GoMod => Language::Go,
            Kind::CargoToml => Language::Rust,
            Kind::ComposerJson => Language::Php,
        }
    }
}

/// A name of Python's index as it is compared: small letters, and `-` for any run of `-`, `_` and `.`.
fn python_name(requirement: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = requirement.trim_start().chars().take_while(|c| is_part(*c)).collect();
    let parts: Vec<&str> = name.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join("-").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file names, in one line.
    fn names(file: &str, text: &str) -> String {
        DependencyFile::read(file, text).unwrap().names.into_iter().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn requirements_name_what_is_installed() {
        let text = "\u{feff}# flask\nFlask==3.0.0  # the app\r\nzope.interface_x>=5\n  uvicorn[standard] ~= 0.30\n\
                    -r base.txt\n--index-url https://example.com/tornado\n-e git+https://example.com/x.git#egg=My_App\n\
                    local @ file:///srv/local.whl ; python_version > '3'\n./vendored/django\ngunicorn;sys_platform=='linux'\n\
                    requests \\\n  --hash=sha256:bottle\n";
        assert_eq!(names("requirements.txt", text), "flask gunicorn local my-app requests uvicorn zope-interface-x");
        assert_eq!(names("requirements.txt", ""), "");
    }

    #[test]
    fn pyproject_names_what_the_project_needs_and_not_what_builds_it() {
        let text = r#"
            [build-system]
            requires = ["flask-builder", "setuptools"]
            [project]
            name = "tornado"
            description = """
            dependencies = ["bottle"]
            """
            dependencies = [
              "Fast_API >= 0.1", # "sanic"
              'uvicorn[standard]; python_version < "3.13"',
            ]
            scripts = { flask = "app:main" }
            [project.optional-dependencies]
            server = ["gunicorn>=20"]
            [dependency-groups]
            dev = ["hypercorn"]
            [tool.poetry.dependencies]
            python = "^3.11"
            "waitress" = { version = "3" }
            [tool.poetry.group.dev.dependencies]
            aiohttp = "*"
            [[tool.mypy.overrides]]
            module = ["cherrypy"]
        "#;
        assert_eq!(names("pyproject.toml", text), "fast-api gunicorn python uvicorn waitress");
    }

    #[test]
    fn pipfile_names_its_packages() {
        let text = "[[source]]\nurl = \"https://example.com/flask\"\n[packages]\nflask = \"*\" # x = 1\n\
                    \"Ruamel.yaml\" = {version = \"*\"}\n[dev-packages]\nbottle = \"*\"\n[requires]\npython_version = \"3.11\"\n";
        assert_eq!(names("Pipfile", text), "flask ruamel-yaml");
    }

    #[test]
    fn gemfile_names_its_gems() {
        let text = "source 'https://example.com/thin'\n# gem 'sinatra'\ngem \"puma\", \"~> 6\" # gem 'thin'\n\
                    group :development do\n  gem('rails')\nend\ngemspec\n=begin\ngem 'unicorn'\n=end\n\
                    gem 'rack' if true; gem_name = 'webrick'\ngem name\n";
        assert_eq!(names("Gemfile", text), "puma rack rails");
    }

    #[test]
    fn pom_names_its_dependencies() {
        let text = "<project><artifactId>jetty-server</artifactId>\
            <!-- <dependency><artifactId>undertow-core</artifactId></dependency> -->\
            <dependencyManagement><dependencies><dependency><artifactId>javalin</artifactId></dependency></dependencies>\
            </dependencyManagement><dependencies><dependency><groupId>org.springframework.boot</groupId>\n\
            <artifactId> spring-boot-starter-web </artifactId><exclusions><exclusion>\
            <artifactId>tomcat-embed-core</artifactId></exclusion></exclusions></dependency>\
            <dependency><artifactId>jetty-servlet</artifactId><scope>test</scope></dependency></dependencies>\
            <build><plugins><plugin><artifactId>quarkus-rest</artifactId></plugin></plugins></build>";
        assert_eq!(names("pom.xml", text), "spring-boot-starter-web");
        assert_eq!(names("pom.xml", "<dependency><artifactId>cut off"), "");
    }

    #[test]
    fn gradle_names_its_coordinates() {
        let text = "repositories { maven { url 'https://example.com:8080/javalin' } }\ndependencies {\n\
            implementation 'org.eclipse.jetty:jetty-server:12.0' // 'a:undertow-core:1'\n\
            /* implementation 'a:vertx-core:4' */\n    api(\"io.ktor:ktor-server-netty\")\n\
            testImplementation 'a:tomcat-embed-core:1'\nruntimeOnly('a:b:1') { exclude module: 'quarkus-rest' }\n}\n";
        assert_eq!(names("build.gradle", text), "b jetty-server ktor-server-netty");
        assert_eq!(names("build.gradle.kts", "implementation(\"io.javalin:javalin:6.1\")"), "javalin");
    }

    #[test]
    fn package_json_names_keys_of_its_dependencies_and_no_other_text() {
        let text = r#"{"name": "express", "description": "\"dependencies\": {\"koa\": 1}",
            "keywords": ["fastify", {"dependencies": {"koa": "1"}}],
            "scripts": {"start": "node \"server.js\"", "next": "hapi"},
            "dependencies": {"express": "^4", "@hapi/hapi": "21", "web": "npm:koa@2", "y": "npm:@nestjs/core@9",
                "esc\u0061ped\/x": "1"},
            "devDependencies": {"vite": "7"}, "peerDependencies": {"next": "15"},
            "overrides": {"dependencies": {"astro": "1"}},
            "engines": {"node": ">=20"}}"#;
        let file = DependencyFile::read("package.json", text).unwrap();
        assert_eq!(names("package.json", text), "@hapi/hapi @nestjs/core escaped/x express koa node vite web y");
        assert_eq!(file.script("start"), Some("node \"server.js\""));
        assert_eq!(file.script("dependencies"), None);
        for broken in ["", "{", "[", "\"", "{\"dependencies\": {\"express\"", "{\"dependencies\": \"express\"}", "]}"] {
            assert_eq!(names("package.json", broken), "", "{broken}");
        }
    }

    #[test]
    fn go_mod_names_what_is_required_directly() {
        let text = "module github.com/gofiber/fiber\n\ngo 1.22\n\nrequire github.com/labstack/echo/v4 v4.1.0\n\
            require (\n\tgithub.com/gin-gonic/gin v1.9.1\n\tgolang.org/x/net v0.1.0 // indirect\n\t// a.b/c v1\n)\n\
            replace github.com/x/y => ../y\nexclude (\n\tgithub.com/z/z v1\n)\n";
        assert_eq!(names("go.mod", text), "github.com/gin-gonic/gin github.com/labstack/echo net/http");
    }

    #[test]
    fn cargo_toml_names_the_crates_it_links() {
        let text = r#"
            [package]
            name = "warp"
            [dependencies]
            axum = "0.8"
            tokio.workspace = true
            web = { version = "4", package = "actix-web" }
            [dependencies.hyper]
            version = "1"
            [target.'cfg(unix)'.dependencies]
            "rocket" = "0.5"
            [dev-dependencies]
            poem = "3"
            [features]
            salvo = []
        "#;
        assert_eq!(names("Cargo.toml", text), "actix-web axum hyper rocket tokio web");
    }

    #[test]
    fn composer_json_names_what_it_requires() {
        let text = r#"{"name": "slim/slim", "require": {"php": ">=8.2", "Laravel/Framework": "^11"},
            "require-dev": {"symfony/runtime": "7"}, "autoload": {"psr-4": {"react/http": "src/"}}}"#;
        assert_eq!(names("composer.json", text), "laravel/framework php");
    }

    #[test]
    fn another_file_is_none() {
        assert_eq!(DependencyFile::read("package-lock.json", "{}"), None);
        assert_eq!(DependencyFile::names().count(), 11);
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_much(text in "(?s).{0,300}", pieces in proptest::collection::vec(
            proptest::sample::select(vec!["{", "}", "[", "]", "\"", "'", "\\", "=", "\n", "#", "<dependency>", "</dependency>",
                "<artifactId>", "</artifactId>", "<!--", "-->", "/*", "*/", "//", "\"\"\"", "[dependencies]", "require (", ")", "gem ",
                "dependencies", ":", ",", "\\u12", "é"]), 0..40)) {
            let pieces = pieces.concat();
            for name in DependencyFile::names() {
                for text in [&text, &pieces] {
                    proptest::prop_assert!(DependencyFile::read(name, text).is_some());
                }
            }
        }
    }
}
