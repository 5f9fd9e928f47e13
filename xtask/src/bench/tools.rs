//! What tambat is compared with: Debian packages, and honcho from `PyPI` in a folder of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    failure::Failure,
    packages::{self, Need},
    run,
};

const HAPROXY: Need = Need { what: "haproxy", package: "haproxy", present: || run::succeeds("haproxy", &["-v"]) };
const IP: Need = Need { what: "ip", package: "iproute2", present: || run::succeeds("ip", &["-V"]) };
const UNSHARE: Need =
    Need { what: "unshare", package: "util-linux", present: || run::succeeds("unshare", &["--version"]) };
const TASKSET: Need =
    Need { what: "taskset", package: "util-linux", present: || run::succeeds("taskset", &["--version"]) };

const REDIS_SERVER: Need =
    Need { what: "redis-server", package: "redis-server", present: || run::succeeds("redis-server", &["--version"]) };
const REDIS_BENCHMARK: Need = Need {
    what: "redis-benchmark",
    package: "redis-tools",
    present: || run::succeeds("redis-benchmark", &["--version"]),
};

const NEEDS: &[Need] = &[
    HAPROXY,
    IP,
    UNSHARE,
    TASKSET,
    Need { what: "foreman", package: "ruby-foreman", present: || run::succeeds("foreman", &["version"]) },
    REDIS_SERVER,
    REDIS_BENCHMARK,
    Need {
        what: "venv for python3",
        package: "python3-venv",
        present: || run::succeeds("python3", &["-c", "import ensurepip"]),
    },
];

const HTTP_NEEDS: &[Need] = &[
    HAPROXY,
    IP,
    UNSHARE,
    TASKSET,
    Need { what: "nginx", package: "nginx-light", present: || run::succeeds("nginx", &["-v"]) },
];

/// Debian has the part of nginx that carries streams in a package of its own.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

const STREAM_NEEDS: &[Need] = &[
    Need { what: NGINX_STREAM, package: "libnginx-mod-stream", present: || Path::new(NGINX_STREAM).exists() },
    REDIS_SERVER,
    REDIS_BENCHMARK,
];

const APP_NEEDS: &[Need] = &[IP, UNSHARE, TASKSET];

const ENGINE_NEEDS: &[Need] =
    &[Need { what: "valgrind", package: "valgrind", present: || run::succeeds("valgrind", &["--version"]) }];

/// Figures are compared over years: so are the versions of what they are compared with.
const HONCHO: &str = "honcho==2.0.0";

const VENV: &str = "target/bench/honcho";

/// Finds everything, or installs it.
///
/// # Errors
///
/// When something is missing and cannot be installed from here; the failure is the command that installs it.
pub(super) fn ensure(root: &Path) -> Result<(), Failure> {
    packages::ensure_all(NEEDS, "measure")?;
    if run::succeeds(&honcho(root).to_string_lossy(), &["--version"]) {
        return Ok(());
    }
    let venv = root.join(VENV);
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&venv);
    let mut install = Command::new(venv.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", HONCHO]);
    run::shown(make)
        .and_then(|()| run::shown(install))
        .map_err(|failure| Failure::new(format!("cannot install {HONCHO} into {VENV}"), failure.to_string()))
}

/// The same for `bench http`.
///
/// # Errors
///
/// As above.
pub(super) fn ensure_http() -> Result<(), Failure> {
    packages::ensure_all(HTTP_NEEDS, "measure")
}

/// What `bench stream` needs beside that.
///
/// # Errors
///
/// As above.
pub(super) fn ensure_stream() -> Result<(), Failure> {
    packages::ensure_all(STREAM_NEEDS, "measure")
}

/// The same for `bench engine`.
///
/// # Errors
///
/// As above.
pub(super) fn ensure_engine() -> Result<(), Failure> {
    packages::ensure_all(ENGINE_NEEDS, "count instructions")
}

/// The same for `bench app`.
///
/// # Errors
///
/// As above.
pub(super) fn ensure_app() -> Result<(), Failure> {
    packages::ensure_all(APP_NEEDS, "measure tambat-app")
}

/// Where it is once [`ensure`] has been.
pub(super) fn honcho(root: &Path) -> PathBuf {
    root.join(VENV).join("bin/honcho")
}
