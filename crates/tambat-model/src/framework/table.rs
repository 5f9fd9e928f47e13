//! The table. Of two that a command names, or that an app declares, the one that stands first is meant: what serves
//! comes before what is served by it, and a framework before the library it is made of.

use super::{Framework, Language, Line, Row};

/// In the order of [`Framework`].
pub(crate) const TABLE: &[Row] = &[
    // Python
    Row {
        flag: flag("gunicorn -b ${HOST:-0.0.0.0}:$PORT"),
        ..python(Framework::Gunicorn, "gunicorn", &["gunicorn"], &["gunicorn"])
    },
    Row {
        flag: flag("hypercorn -b ${HOST:-0.0.0.0}:$PORT"),
        ..python(Framework::Hypercorn, "Hypercorn", &["hypercorn"], &["hypercorn"])
    },
    Row {
        flag: with_host("fastapi run --port $PORT", "fastapi run --host ${HOST:-0.0.0.0} --port $PORT"),
        code: UVICORN_RUN,
        ..python(Framework::FastApi, "FastAPI", &["fastapi"], &["fastapi"])
    },
    Row {
        flag: with_host("uvicorn --port $PORT", "uvicorn --host ${HOST:-0.0.0.0} --port $PORT"),
        code: UVICORN_RUN,
        ..python(Framework::Uvicorn, "uvicorn", &["uvicorn"], &["uvicorn", "starlette"])
    },
    Row {
        flag: with_host("flask run --port $PORT", "flask run --host ${HOST:-0.0.0.0} --port $PORT"),
        code: with_host(
            "app.run(port=int(os.environ[\"PORT\"]))",
            "app.run(host=os.environ.get(\"HOST\", \"0.0.0.0\"), port=int(os.environ[\"PORT\"]))",
        ),
        ..python(Framework::Flask, "Flask", &["flask"], &["flask", "quart"])
    },
    Row {
        flag: with_host("manage.py runserver $PORT", "manage.py runserver ${HOST:-0.0.0.0}:$PORT"),
        ..python(Framework::Django, "Django", &["manage.py", "django-admin runserver"], &["django"])
    },
    Row {
        code: with_host(
            "app.listen(int(os.environ[\"PORT\"]))",
            "app.listen(int(os.environ[\"PORT\"]), os.environ.get(\"HOST\", \"0.0.0.0\"))",
        ),
        ..python(Framework::Tornado, "Tornado", &[], &["tornado"])
    },
    Row {
        flag: flag("waitress-serve --listen=${HOST:-0.0.0.0}:$PORT"),
        code: with_host(
            "serve(app, port=int(os.environ[\"PORT\"]))",
            "serve(app, host=os.environ.get(\"HOST\", \"0.0.0.0\"), port=int(os.environ[\"PORT\"]))",
        ),
        ..python(Framework::Waitress, "Waitress", &["waitress-serve"], &["waitress"])
    },
    Row {
        code: with_host(
            "web.run_app(app, port=int(os.environ[\"PORT\"]))",
            "web.run_app(app, host=os.environ.get(\"HOST\", \"0.0.0.0\"), port=int(os.environ[\"PORT\"]))",
        ),
        ..python(Framework::Aiohttp, "aiohttp", &[], &["aiohttp"])
    },
    Row {
        flag: with_host("sanic --port $PORT", "sanic --host ${HOST:-0.0.0.0} --port $PORT"),
        code: with_host(
            "app.run(port=int(os.environ[\"PORT\"]))",
            "app.run(host=os.environ.get(\"HOST\", \"0.0.0.0\"), port=int(os.environ[\"PORT\"]))",
        ),
        ..python(Framework::Sanic, "Sanic", &["sanic"], &["sanic"])
    },
    Row {
        code: with_host(
            "run(port=int(os.environ[\"PORT\"]))",
            "run(host=os.environ.get(\"HOST\", \"0.0.0.0\"), port=int(os.environ[\"PORT\"]))",
        ),
        ..python(Framework::Bottle, "Bottle", &[], &["bottle"])
    },
    Row {
        code: with_host(
            "cherrypy.config.update({\"server.socket_port\": int(os.environ[\"PORT\"])})",
            "cherrypy.config.update({\"server.socket_host\": os.environ.get(\"HOST\", \"0.0.0.0\"), \
             \"server.socket_port\": int(os.environ[\"PORT\"])})",
        ),
        ..python(Framework::CherryPy, "CherryPy", &[], &["cherrypy"])
    },
    // After the others: an app of theirs may be a client of gRPC.
    Row {
        code: with_host(
            "server.add_insecure_port(f\"0.0.0.0:{os.environ['PORT']}\")",
            "server.add_insecure_port(f\"{os.environ.get('HOST', '0.0.0.0')}:{os.environ['PORT']}\")",
        ),
        ..python(Framework::Grpcio, "grpcio", &[], &["grpcio"])
    },
    Row {
        flag: with_host("python3 -m http.server $PORT", "python3 -m http.server --bind ${HOST:-0.0.0.0} $PORT"),
        ..python(Framework::PythonHttpServer, "Python's http.server", &["http.server"], &[])
    },
    // Ruby
    Row {
        flag: with_host("rails server -p $PORT", "rails server -b ${HOST:-0.0.0.0} -p $PORT"),
        ..ruby(Framework::Rails, "Rails", &["rails"], &["rails", "railties"])
    },
    Row {
        code: with_host("set :port, ENV[\"PORT\"]", "set port: ENV[\"PORT\"], bind: ENV.fetch(\"HOST\", \"0.0.0.0\")"),
        ..ruby(Framework::Sinatra, "Sinatra", &[], &["sinatra"])
    },
    Row {
        flag: with_host("thin start -p $PORT", "thin start -a ${HOST:-0.0.0.0} -p $PORT"),
        ..ruby(Framework::Thin, "Thin", &["thin"], &["thin"])
    },
    Row {
        flag: with_host("puma -p $PORT", "puma -b tcp://${HOST:-0.0.0.0}:$PORT"),
        code: in_file(
            "config/puma.rb",
            "port ENV[\"PORT\"]",
            "bind \"tcp://#{ENV.fetch(\"HOST\", \"0.0.0.0\")}:#{ENV[\"PORT\"]}\"",
        ),
        ..ruby(Framework::Puma, "Puma", &["puma"], &["puma"])
    },
    Row {
        flag: flag("unicorn -l ${HOST:-0.0.0.0}:$PORT"),
        ..ruby(Framework::Unicorn, "Unicorn", &["unicorn"], &["unicorn"])
    },
    Row {
        code: with_host(
            "WEBrick::HTTPServer.new(Port: ENV[\"PORT\"])",
            "WEBrick::HTTPServer.new(BindAddress: ENV.fetch(\"HOST\", \"0.0.0.0\"), Port: ENV[\"PORT\"])",
        ),
        ..ruby(Framework::Webrick, "WEBrick", &[], &["webrick"])
    },
    Row {
        flag: with_host("rackup -p $PORT", "rackup -o ${HOST:-0.0.0.0} -p $PORT"),
        ..ruby(Framework::Rack, "Rack", &["rackup"], &["rack", "rackup"])
    },
    // The JVM
    Row {
        code: in_file(
            "application.properties",
            "server.port=${PORT}",
            "server.port=${PORT} and server.address=${HOST:0.0.0.0}",
        ),
        ..jvm(
            Framework::SpringBoot,
            "Spring Boot",
            &["spring-boot:run", "bootRun"],
            &["spring-boot-starter-web", "spring-boot-starter-webmvc", "spring-boot-starter-webflux"],
        )
    },
    Row {
        code: in_file(
            "application.properties",
            "quarkus.http.port=${PORT}",
            "quarkus.http.port=${PORT} and quarkus.http.host=${HOST:0.0.0.0}",
        ),
        ..jvm(
            Framework::Quarkus,
            "Quarkus",
            &["quarkus:dev", "quarkusDev"],
            &["quarkus-rest", "quarkus-resteasy", "quarkus-vertx-http", "quarkus-undertow"],
        )
    },
    Row {
        code: in_file(
            "application.properties",
            "micronaut.server.port=${PORT}",
            "micronaut.server.port=${PORT} and micronaut.server.host=${HOST:0.0.0.0}",
        ),
        ..jvm(Framework::Micronaut, "Micronaut", &["mn:run"], &["micronaut-http-server-netty"])
    },
    Row {
        code: with_host(
            "embeddedServer(Netty, port = System.getenv(\"PORT\").toInt())",
            "embeddedServer(Netty, host = System.getenv(\"HOST\") ?: \"0.0.0.0\", port = System.getenv(\"PORT\").toInt())",
        ),
        ..jvm(
            Framework::Ktor,
            "Ktor",
            &[],
            &["ktor-server-core", "ktor-server-core-jvm", "ktor-server-netty", "ktor-server-netty-jvm"],
        )
    },
    Row {
        code: everywhere("app.start(Integer.parseInt(System.getenv(\"PORT\")))"),
        ..jvm(Framework::Javalin, "Javalin", &[], &["javalin"])
    },
    Row {
        code: everywhere("server.listen(Integer.parseInt(System.getenv(\"PORT\")))"),
        ..jvm(Framework::Vertx, "Vert.x", &[], &["vertx-core", "vertx-web"])
    },
    Row {
        flag: with_host(
            "java -jar start.jar jetty.http.port=$PORT",
            "java -jar start.jar jetty.http.host=${HOST:-0.0.0.0} jetty.http.port=$PORT",
        ),
        code: everywhere("new Server(Integer.parseInt(System.getenv(\"PORT\")))"),
        ..jvm(Framework::Jetty, "Jetty", &["start.jar"], &["jetty-server", "jetty-servlet", "jetty-webapp"])
    },
    Row {
        flag: with_host(
            "CATALINA_OPTS=-DPORT=$PORT catalina.sh run, and in conf/server.xml <Connector port=\"${PORT}\">",
            "CATALINA_OPTS=\"-DPORT=$PORT -DHOST=${HOST:-0.0.0.0}\" catalina.sh run, and in conf/server.xml \
             <Connector address=\"${HOST}\" port=\"${PORT}\">",
        ),
        code: everywhere("tomcat.setPort(Integer.parseInt(System.getenv(\"PORT\")))"),
        ..jvm(
            Framework::Tomcat,
            "Tomcat",
            &["catalina.sh"],
            &["tomcat-embed-core", "tomcat-embed-jasper", "tomcat-catalina"],
        )
    },
    Row {
        code: everywhere("Undertow.builder().addHttpListener(Integer.parseInt(System.getenv(\"PORT\")), \"0.0.0.0\")"),
        ..jvm(Framework::Undertow, "Undertow", &[], &["undertow-core", "undertow-servlet"])
    },
    // Node.js
    Row {
        flag: with_host("next dev -p $PORT", "next dev -H ${HOST:-0.0.0.0} -p $PORT"),
        ..node(Framework::Next, "Next.js", &["next"], &["next"])
    },
    Row {
        flag: with_host("nuxt dev --port $PORT", "nuxt dev --host ${HOST:-0.0.0.0} --port $PORT"),
        ..node(Framework::Nuxt, "Nuxt", &["nuxt", "nuxi"], &["nuxt"])
    },
    Row {
        flag: with_host("astro dev --port $PORT", "astro dev --host ${HOST:-0.0.0.0} --port $PORT"),
        ..node(Framework::Astro, "Astro", &["astro"], &["astro"])
    },
    Row { code: NODE_APP_LISTEN, ..node(Framework::Nest, "NestJS", &[], &["@nestjs/core"]) },
    Row { code: NODE_APP_LISTEN, ..node(Framework::Express, "Express", &[], &["express"]) },
    Row {
        code: with_host(
            "app.listen({ port: process.env.PORT })",
            "app.listen({ port: process.env.PORT, host: process.env.HOST ?? \"0.0.0.0\" })",
        ),
        ..node(Framework::Fastify, "Fastify", &[], &["fastify"])
    },
    Row { code: NODE_APP_LISTEN, ..node(Framework::Koa, "Koa", &[], &["koa"]) },
    Row {
        code: with_host(
            "Hapi.server({ port: process.env.PORT })",
            "Hapi.server({ port: process.env.PORT, host: process.env.HOST ?? \"0.0.0.0\" })",
        ),
        ..node(Framework::Hapi, "hapi", &[], &["@hapi/hapi"])
    },
    Row {
        code: with_host(
            "serve({ fetch: app.fetch, port: Number(process.env.PORT) })",
            "serve({ fetch: app.fetch, port: Number(process.env.PORT), hostname: process.env.HOST })",
        ),
        ..node(Framework::Hono, "Hono", &[], &["@hono/node-server"])
    },
    Row {
        flag: with_host("vite --port $PORT --strictPort", "vite --host ${HOST:-0.0.0.0} --port $PORT --strictPort"),
        ..node(Framework::Vite, "Vite", &["vite"], &["vite"])
    },
    Row {
        flag: with_host("webpack serve --port $PORT", "webpack serve --host ${HOST:-0.0.0.0} --port $PORT"),
        ..node(Framework::Webpack, "webpack", &["webpack serve", "webpack-dev-server"], &["webpack-dev-server"])
    },
    Row {
        flag: with_host("ng serve --port $PORT", "ng serve --host ${HOST:-0.0.0.0} --port $PORT"),
        ..node(Framework::Angular, "Angular", &["ng serve"], &["@angular/cli"])
    },
    Row {
        code: with_host("server.listen(process.env.PORT)", "server.listen(process.env.PORT, process.env.HOST)"),
        ..node(Framework::NodeHttp, "Node http", &[], &["node"])
    },
    // Go
    Row {
        code: with_host(
            "r.Run(\":\" + os.Getenv(\"PORT\"))",
            "r.Run(os.Getenv(\"HOST\") + \":\" + os.Getenv(\"PORT\"))",
        ),
        ..go(Framework::Gin, "Gin", &["github.com/gin-gonic/gin"])
    },
    Row {
        code: with_host(
            "e.Start(\":\" + os.Getenv(\"PORT\"))",
            "e.Start(os.Getenv(\"HOST\") + \":\" + os.Getenv(\"PORT\"))",
        ),
        ..go(Framework::Echo, "Echo", &["github.com/labstack/echo"])
    },
    Row {
        code: with_host(
            "app.Listen(\":\" + os.Getenv(\"PORT\"))",
            "app.Listen(os.Getenv(\"HOST\") + \":\" + os.Getenv(\"PORT\"))",
        ),
        ..go(Framework::Fiber, "Fiber", &["github.com/gofiber/fiber"])
    },
    Row {
        code: with_host(
            "http.ListenAndServe(\":\"+os.Getenv(\"PORT\"), nil)",
            "http.ListenAndServe(os.Getenv(\"HOST\")+\":\"+os.Getenv(\"PORT\"), nil)",
        ),
        ..go(Framework::GoNetHttp, "Go net/http", &["net/http"])
    },
    // Rust
    Row { code: RUST_LISTENER, ..rust(Framework::Axum, "axum", &["axum"]) },
    Row {
        code: everywhere("HttpServer::new(app).bind((\"0.0.0.0\", std::env::var(\"PORT\")?.parse::<u16>()?))?"),
        ..rust(Framework::Actix, "actix-web", &["actix-web"])
    },
    Row {
        flag: with_host("ROCKET_PORT=$PORT cargo run", "ROCKET_ADDRESS=${HOST:-0.0.0.0} ROCKET_PORT=$PORT cargo run"),
        ..rust(Framework::Rocket, "Rocket", &["rocket"])
    },
    Row {
        code: everywhere("warp::serve(routes).run(([0, 0, 0, 0], std::env::var(\"PORT\")?.parse()?)).await"),
        ..rust(Framework::Warp, "warp", &["warp"])
    },
    Row {
        code: everywhere("tambat_app::Port::from_env()?, which reads PORT"),
        ..rust(Framework::TambatApp, "tambat-app", &["tambat-app"])
    },
    Row {
        code: RUST_LISTENER,
        ..rust(Framework::Hyper, "hyper", &["hyper", "poem", "salvo", "tide", "tiny_http", "tonic"])
    },
    // PHP
    Row {
        flag: with_host("php artisan serve --port $PORT", "php artisan serve --host ${HOST:-0.0.0.0} --port $PORT"),
        ..php(Framework::Laravel, "Laravel", &["php artisan"], &["laravel/framework", "laravel/octane"])
    },
    Row {
        flag: flag("php -S ${HOST:-0.0.0.0}:$PORT -t public"),
        ..php(Framework::Symfony, "Symfony", &["symfony"], &["symfony/framework-bundle", "symfony/runtime"])
    },
    Row { flag: flag("php -S ${HOST:-0.0.0.0}:$PORT -t public"), ..php(Framework::Slim, "Slim", &[], &["slim/slim"]) },
    Row {
        code: everywhere("new React\\Socket\\SocketServer('0.0.0.0:' . getenv('PORT'))"),
        ..php(Framework::ReactPhp, "ReactPHP", &[], &["react/http"])
    },
    Row {
        flag: flag("php -S ${HOST:-0.0.0.0}:$PORT"),
        ..php(Framework::PhpBuiltIn, "PHP's own server", &["php -S"], &[])
    },
    // Servers that are configured and not written for
    Row {
        code: in_file("httpd.conf", "Listen ${PORT}", "Listen ${PORT}"),
        ..server(Framework::Apache, "Apache HTTPD", &["apache", "apachectl", "apache2ctl", "httpd"])
    },
    Row {
        flag: with_host("hugo server --port $PORT", "hugo server --bind ${HOST:-0.0.0.0} --port $PORT"),
        ..server(Framework::Hugo, "Hugo", &["hugo"])
    },
    Row {
        flag: with_host("redis-server --port $PORT", "redis-server --bind ${HOST:-0.0.0.0} --port $PORT"),
        ..server(Framework::Redis, "Redis", &["redis-server"])
    },
    Row {
        flag: with_host("postgres -p $PORT", "postgres -h ${HOST:-0.0.0.0} -p $PORT"),
        ..server(Framework::Postgres, "PostgreSQL", &["postgres"])
    },
    Row {
        // Its configuration knows no environment before 24.12.
        flag: with_host(
            "sed \"s/@PORT@/$PORT/\" ejabberd.yml.in > ejabberd.yml && ejabberdctl foreground",
            "sed \"s/@PORT@/$PORT/; s/@HOST@/${HOST:-0.0.0.0}/\" ejabberd.yml.in > ejabberd.yml && ejabberdctl foreground",
        ),
        ..server(Framework::Ejabberd, "ejabberd", &["ejabberdctl", "erl ejabberd"])
    },
];

const UVICORN_RUN: Option<Line> = with_host(
    "uvicorn.run(app, port=int(os.environ[\"PORT\"]))",
    "uvicorn.run(app, host=os.environ.get(\"HOST\", \"0.0.0.0\"), port=int(os.environ[\"PORT\"]))",
);

const NODE_APP_LISTEN: Option<Line> =
    with_host("app.listen(process.env.PORT)", "app.listen(process.env.PORT, process.env.HOST)");

const RUST_LISTENER: Option<Line> =
    everywhere("TcpListener::bind(format!(\"0.0.0.0:{}\", std::env::var(\"PORT\")?)).await?");

/// A command that has to name an address in any case.
const fn flag(line: &'static str) -> Option<Line> {
    with_host(line, line)
}

/// A line of code that listens at all addresses already.
const fn everywhere(line: &'static str) -> Option<Line> {
    with_host(line, line)
}

#[expect(clippy::unnecessary_wraps, reason = "rows say less than `Some` forty times")]
const fn with_host(port: &'static str, host: &'static str) -> Option<Line> {
    Some(Line { port, host, file: None })
}

#[expect(clippy::unnecessary_wraps, reason = "rows say less than `Some` forty times")]
const fn in_file(file: &'static str, port: &'static str, host: &'static str) -> Option<Line> {
    Some(Line { port, host, file: Some(file) })
}

type Names = &'static [&'static str];

const fn python(framework: Framework, name: &'static str, commands: Names, packages: Names) -> Row {
    Row { commands, packages, ..row(framework, name, Some(Language::Python)) }
}

const fn ruby(framework: Framework, name: &'static str, commands: Names, packages: Names) -> Row {
    Row { commands, packages, ..row(framework, name, Some(Language::Ruby)) }
}

const fn jvm(framework: Framework, name: &'static str, commands: Names, packages: Names) -> Row {
    Row { commands, packages, ..row(framework, name, Some(Language::Jvm)) }
}

const fn node(framework: Framework, name: &'static str, commands: Names, packages: Names) -> Row {
    Row { commands, packages, ..row(framework, name, Some(Language::Node)) }
}

const fn go(framework: Framework, name: &'static str, packages: Names) -> Row {
    Row { packages, ..row(framework, name, Some(Language::Go)) }
}

const fn rust(framework: Framework, name: &'static str, packages: Names) -> Row {
    Row { packages, ..row(framework, name, Some(Language::Rust)) }
}

const fn php(framework: Framework, name: &'static str, commands: Names, packages: Names) -> Row {
    Row { commands, packages, ..row(framework, name, Some(Language::Php)) }
}

const fn server(framework: Framework, name: &'static str, commands: Names) -> Row {
    Row { commands, ..row(framework, name, None) }
}

const fn row(framework: Framework, name: &'static str, language: Option<Language>) -> Row {
    Row { framework, name, language, commands: &[], packages: &[], flag: None, code: None }
}

/// How the programs of one language read a variable.
#[derive(Debug)]
pub(crate) struct LanguageRow {
    pub(crate) language: Language,
    /// What runs them, without version numbers: words of a command, and names of processes.
    pub(crate) programs: Names,
    /// How the names of their files end.
    pub(crate) files: Names,
    /// The expression.
    pub(crate) code: &'static str,
    /// What serves where nothing is declared: the language brings it.
    pub(crate) standard: Option<Framework>,
}

/// In the order of [`Language`]. A command that names several is of the first.
pub(crate) const LANGUAGES: &[LanguageRow] = &[
    language(
        Language::Jvm,
        &["java", "kotlin", "scala", "mvn", "mvnw", "gradle", "gradlew", "sbt"],
        &[".java", ".kt"],
        "System.getenv(\"PORT\")",
    ),
    language(Language::Deno, &["deno"], &[".ts", ".js", ".mjs"], "Deno.env.get(\"PORT\")"),
    LanguageRow {
        standard: Some(Framework::NodeHttp),
        ..language(
            Language::Node,
            &[
                "node",
                "nodemon",
                "npm",
                "npx",
                "pnpm",
                "yarn",
                "bun",
                "bunx",
                "tsx",
                "ts-node",
                "MainThread",
                "next-server",
            ],
            &[".js", ".mjs", ".cjs", ".ts", ".mts"],
            "process.env.PORT",
        )
    },
    language(
        Language::Python,
        &["python", "pypy", "uv", "poetry", "pipenv", "uvicorn", "gunicorn", "flask"],
        &[".py"],
        "os.environ[\"PORT\"]",
    ),
    language(Language::Ruby, &["ruby", "jruby", "bundle", "puma", "thin"], &[".rb", ".ru"], "ENV[\"PORT\"]"),
    language(Language::Php, &["php"], &[".php"], "getenv(\"PORT\")"),
    LanguageRow {
        standard: Some(Framework::GoNetHttp),
        ..language(Language::Go, &["go", "air"], &[".go"], "os.Getenv(\"PORT\")")
    },
    language(Language::Rust, &["cargo"], &[".rs"], "std::env::var(\"PORT\")"),
    language(Language::Elixir, &["mix", "elixir", "beam.smp"], &[".exs", ".ex"], "System.get_env(\"PORT\")"),
    language(Language::DotNet, &["dotnet"], &[".cs"], "Environment.GetEnvironmentVariable(\"PORT\")"),
    language(Language::Perl, &["perl", "plackup"], &[".pl", ".psgi"], "$ENV{PORT}"),
];

const fn language(language: Language, programs: Names, files: Names, code: &'static str) -> LanguageRow {
    LanguageRow { language, programs, files, code, standard: None }
}
