//! What the real-program tests need: looked for by running it (a library: by its file), installed where that is possible, else
//! named.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{failure::Failure, run};

/// One thing that is run, and the Debian package that brings it.
pub(crate) struct Need {
    pub(crate) what: &'static str,
    pub(crate) package: &'static str,
    pub(crate) present: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need { what: "curl", package: "curl", present: || run::succeeds("curl", &["--version"]) },
    Need { what: "redis-server", package: "redis-server", present: || run::succeeds("redis-server", &["--version"]) },
    Need {
        // Debian's own interpreter: the first `python3` in PATH may be another one, which sees none of its packages.
        what: "Tornado for /usr/bin/python3",
        package: "python3-tornado",
        present: || run::succeeds("/usr/bin/python3", &["-c", "import tornado"]),
    },
    Need { what: "foreman", package: "ruby-foreman", present: || run::succeeds("foreman", &["version"]) },
    Need { what: "the PostgreSQL server", package: "postgresql", present: postgres },
    Need {
        what: "venv for /usr/bin/python3",
        package: "python3-venv",
        present: || run::succeeds("/usr/bin/python3", &["-c", "import ensurepip"]),
    },
    Need { what: "node", package: "nodejs", present: || run::succeeds("node", &["--version"]) },
    Need { what: "npm", package: "npm", present: || run::succeeds("npm", &["--version"]) },
    Need { what: "psql", package: "postgresql-client", present: || run::succeeds("psql", &["--version"]) },
    Need { what: "thin", package: "thin", present: || run::succeeds("thin", &["--version"]) },
    Need { what: "javac", package: "default-jdk-headless", present: || run::succeeds("javac", &["--version"]) },
    Need { what: "Jetty", package: "libjetty9-java", present: || exists("/usr/share/java/jetty9-server.jar") },
    Need {
        what: "Tomcat as a library",
        package: "libtomcat10-embed-java",
        present: || exists("/usr/share/java/tomcat10-embed-core.jar"),
    },
    Need { what: "Tomcat", package: "tomcat10", present: || exists("/usr/share/tomcat10/bin/catalina.sh") },
    Need { what: "Apache httpd", package: "apache2", present: || run::succeeds("/usr/sbin/apache2", &["-v"]) },
    Need { what: "PHP for Apache httpd", package: "libapache2-mod-php", present: php_module },
    Need { what: "ejabberd", package: "ejabberd", present: || exists("/usr/sbin/ejabberdctl") },
    Need { what: "dnsmasq", package: "dnsmasq-base", present: || exists("/usr/sbin/dnsmasq") },
    Need { what: "dig", package: "bind9-dnsutils", present: || run::succeeds("dig", &["-v"]) },
    Need { what: "openssl", package: "openssl", present: || run::succeeds("openssl", &["version"]) },
    Need { what: "certutil", package: "libnss3-tools", present: || exists("/usr/bin/certutil") },
    Need { what: "chromium", package: "chromium", present: || run::succeeds("chromium", &["--version"]) },
    Need {
        what: "the system's roots",
        package: "ca-certificates",
        present: || exists("/usr/sbin/update-ca-certificates"),
    },
    Need {
        what: "slixmpp for /usr/bin/python3",
        package: "python3-slixmpp",
        present: || run::succeeds("/usr/bin/python3", &["-c", "import slixmpp"]),
    },
    Need {
        what: "MariaDB",
        package: "mariadb-server",
        present: || run::succeeds("/usr/sbin/mariadbd", &["--version"]),
    },
    Need { what: "mariadb", package: "mariadb-client", present: || run::succeeds("mariadb", &["--version"]) },
    Need { what: "mosquitto", package: "mosquitto", present: || exists("/usr/sbin/mosquitto") },
    Need { what: "mosquitto_pub", package: "mosquitto-clients", present: || exists("/usr/bin/mosquitto_pub") },
    Need { what: "sshd", package: "openssh-server", present: || exists("/usr/sbin/sshd") },
    Need { what: "sftp", package: "openssh-client", present: || exists("/usr/bin/sftp") },
    Need { what: "pebble", package: "pebble", present: || exists("/usr/bin/pebble-challtestsrv") },
    Need { what: "nginx", package: "nginx-light", present: || run::succeeds("/usr/sbin/nginx", &["-v"]) },
    Need { what: "haproxy", package: "haproxy", present: || run::succeeds("/usr/sbin/haproxy", &["-v"]) },
    Need { what: "nghttp", package: "nghttp2-client", present: || run::succeeds("nghttp", &["--version"]) },
    Need { what: "h2load", package: "nghttp2-client", present: || run::succeeds("h2load", &["--version"]) },
    Need { what: "testssl", package: "testssl.sh", present: || run::succeeds("testssl", &["--version"]) },
    // Of docs/recipes.
    Need { what: "puma", package: "puma", present: || run::succeeds("puma", &["--version"]) },
    Need {
        what: "Rails for /usr/bin/ruby",
        package: "ruby-railties",
        present: || run::succeeds("/usr/bin/ruby", &["-e", "require 'rails'; require 'action_controller/railtie'"]),
    },
    Need { what: "go", package: "golang-go", present: || run::succeeds("go", &["version"]) },
];

/// Debian names PHP's module by its version.
const APACHE_MODULES: &str = "/usr/lib/apache2/modules";

/// Debian keeps one folder a version and leaves the server out of PATH.
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";

const APT_GET: &str = "/usr/bin/apt-get";

/// Finds everything that is needed, installing the rest with apt where this is root; nothing is skipped in silence.
///
/// # Errors
///
/// When something is missing and cannot be installed from here; the failure is the command that installs it.
pub(crate) fn ensure() -> Result<(), Failure> {
    ensure_all(NEEDS, "run the real-program tests")
}

/// The same for these needs of another task, which is to be read after "cannot".
///
/// # Errors
///
/// As above.
pub(crate) fn ensure_all(needs: &[Need], task: &str) -> Result<(), Failure> {
    let absent = missing(needs);
    if absent.is_empty() {
        eprintln!("present: {}", needs.iter().map(|need| need.what).collect::<Vec<_>>().join(", "));
        return Ok(());
    }
    let names = list(&absent, |need| need.what);
    let mut packages: Vec<&str> = absent.iter().map(|need| need.package).collect();
    packages.dedup();
    eprintln!("missing: {names}");
    if !Path::new(APT_GET).exists() || !run::is_root() {
        return Err(by_hand(task, &names, &packages));
    }
    install(&packages)?;
    let still = missing(needs);
    if still.is_empty() {
        eprintln!("installed: {names}");
        return Ok(());
    }
    Err(Failure::new(
        format!("cannot find {}, even after installing {}", list(&still, |need| need.what), packages.join(" ")),
        "run it by hand, and see what it says",
    ))
}

fn missing(needs: &[Need]) -> Vec<&Need> {
    needs.iter().filter(|need| !(need.present)()).collect()
}

fn list(needs: &[&Need], word: fn(&Need) -> &'static str) -> String {
    needs.iter().map(|need| word(need)).collect::<Vec<_>>().join(", ")
}

fn postgres() -> bool {
    let Ok(versions) = fs::read_dir(POSTGRES_VERSIONS) else { return false };
    let servers: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin/postgres")).collect();
    servers.iter().any(|server| run::succeeds(&server.to_string_lossy(), &["--version"]))
}

fn php_module() -> bool {
    let Ok(modules) = fs::read_dir(APACHE_MODULES) else { return false };
    modules.flatten().any(|module| module.file_name().to_string_lossy().starts_with("libphp"))
}

fn exists(path: &str) -> bool {
    Path::new(path).exists()
}

fn by_hand(task: &str, names: &str, packages: &[&str]) -> Failure {
    let list = packages.join(" ");
    let command = if Path::new(APT_GET).exists() {
        format!("sudo apt-get update && sudo apt-get install -y --no-install-recommends {list}")
    } else {
        format!("install what Debian calls: {list}")
    };
    Failure::new(format!("cannot {task}: missing {names}"), command)
}

/// One `update`, then one `install`: package lists of a fresh machine are empty or old.
fn install(packages: &[&str]) -> Result<(), Failure> {
    run::shown(apt(&["-q", "update"]))?;
    let mut install = apt(&["-q", "install", "-y", "--no-install-recommends"]);
    install.args(packages);
    run::shown(install)
}

/// Without questions. Run level 1 keeps `invoke-rc.d` from starting the services: tests start their own.
fn apt(args: &[&str]) -> Command {
    let mut command = Command::new(APT_GET);
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_command_that_brings_it() {
        let failure = by_hand("measure", "foreman, psql", &["ruby-foreman", "postgresql-client"]).to_string();
        assert!(failure.contains("cannot measure: missing foreman, psql"), "{failure}");
        assert!(failure.contains("ruby-foreman postgresql-client"), "{failure}");
    }

    #[test]
    fn apt_asks_nothing() {
        let line = apt(&["install"]);
        assert!(line.get_envs().any(|(name, value)| name == "DEBIAN_FRONTEND" && value.is_some()));
    }
}
